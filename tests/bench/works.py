"""The works: what is done, by whom, how often, and what is hoped for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench import ours, theirs
from tests.bench.figures import Goal
from tests.bench.material import WHISPER
from tests.bench.scene import Contender
from tests.bench.site import DELAY, RATE, Profile

OURS, SYNCED = "modelfetch", "modelfetch, fsync"
"""Names of our two rows: as the peers do it, and as it is by default."""

_ONE, _FEW, _MORE = "modelfetch, 1 file", "modelfetch, 14 files", "modelfetch, 114 files"
"""Our rows of the work ``tiny``."""
_QUERIES = ("list", "show", "path")
"""The commands of the work ``query``."""

LINKS = 32
"""Connections of the paced profile that both sides may use together."""
START = 0.065
"""Seconds until a Python program with an HTTP client can send its first request."""


@dataclass(frozen=True, slots=True)
class Work:
    """One table.

    Attributes:
        name: On the command line.
        title: Above the table.
        material: Which files.
        profile: How they are served.
        contenders: The rows, ours first.
        rounds: How often, where the command line does not say.
        goals: What is hoped for.
        secure: Whether the address says https in a profile without TLS of its own.
    """

    name: str
    title: str
    material: str
    profile: Profile
    contenders: Sequence[Contender]
    rounds: int
    goals: Sequence[Goal] = ()
    secure: bool = False

    @property
    def materials(self) -> list[str]:
        """Every material that is fetched: its own, and those of contenders that have another one."""
        return list(dict.fromkeys(each.material or self.material for each in self.contenders))


def _both(**env: str) -> list[Contender]:
    return [
        ours.fetch(OURS, env={**ours.NO_SYNC, **env}),
        ours.fetch(SYNCED, env=env),
    ]


_HF = "hf download"
_CURL, _CURL_OPENSSL = "curl", "curl, then openssl"
_CURL_SUMS = "curl, then sha256sum"
_REQUESTS = "requests, 8 threads"
_ARIA, _ARIA_SUMS = "aria2c -x16", "aria2c -x16 --checksum"
_PASS = "python -c pass"
_IMPORT = "python -c import httpx"

_SMALL = [
    theirs.curl(_CURL),
    theirs.curl(_CURL_SUMS, "sha256sum"),
    theirs.aria2c(_ARIA),
    theirs.aria2c(_ARIA_SUMS, checksum=True),
    theirs.wget2("wget2, then sha256sum", "sha256sum"),
    theirs.requests(_REQUESTS),
]
_SET = [theirs.curl(_CURL_OPENSSL, "openssl"), *_SMALL]


def _imports() -> Contender:
    """An interpreter of the environment of modelfetch that loads httpx, and does nothing with it."""
    return theirs.only_start(_IMPORT, "python", "-c", "import httpx")


_PACED = {"MODELFETCH_NETWORK_CONNECTIONS": str(LINKS)}
"""As many connections as aria2c takes for the two large files: 16 for each."""


WHISPER_SIZE = sum(WHISPER.values())
"""Bytes fetched over the paced links."""
MEMORY = 64e6
"""Bytes that 32 connections may take."""
PASS_SECONDS = 0.0095
"""What ``python -c pass`` takes on the machine on which the goals for the start were set."""


def _start(name: str, seconds: float) -> list[Goal]:
    """A goal for the start: absolute, and as a multiple of what an interpreter takes that does nothing."""
    there = f"{seconds * 1000:.0f} ms where that takes {PASS_SECONDS * 1000:.1f} ms"
    return [
        Goal(name, seconds, words=f"set where {_PASS} takes {PASS_SECONDS * 1000:.1f} ms"),
        Goal(name, seconds / PASS_SECONDS, _PASS, words=there),
    ]


def floor(size: int) -> float:
    """Seconds in which a Python program can at best have ``size`` bytes over the paced links."""
    return size / (LINKS * RATE) + DELAY + START


WORKS: Sequence[Work] = (
    Work(
        "set-plain",
        "14 files, 494 MB, plain HTTP",
        "set",
        "plain",
        [*_both(), theirs.hf(_HF), *_SET, theirs.pooch("pooch")],
        7,
        [
            Goal(OURS, 0.30, _HF),
            Goal(OURS, 0.35, _HF, "cpu"),
            Goal(OURS, 0.25, _HF, "memory"),
            Goal(SYNCED, 0.40, _HF),
            Goal(OURS, 1.00, _CURL),
            Goal(SYNCED, 1.10, _CURL),
            Goal(OURS, 0.70, _CURL_OPENSSL),
            Goal(SYNCED, 0.85, _CURL_OPENSSL),
            Goal(OURS, 0.14, _ARIA_SUMS),
            Goal(SYNCED, 0.19, _ARIA_SUMS),
            Goal(OURS, 0.58, _ARIA),
            Goal(OURS, 0.85, _REQUESTS),
            Goal(OURS, 0.95, _REQUESTS, "cpu"),
            Goal(SYNCED, 1.08, OURS),
        ],
    ),
    Work(
        "set-tls",
        "14 files, 494 MB, TLS 1.3",
        "set",
        "tls",
        [*_both(), *_SET],
        7,
        [Goal(OURS, 1.25, _CURL), Goal(OURS, 0.85, _CURL_OPENSSL), Goal(OURS, 0.55, _REQUESTS)],
    ),
    Work(
        "one-plain",
        "one file, 208 MB, plain HTTP",
        "one",
        "plain",
        [*_both(), theirs.hf(_HF), *_SET, theirs.pooch("pooch")],
        7,
        [
            Goal(OURS, 1.30, _CURL),
            Goal(SYNCED, 1.30, _CURL),
            Goal(OURS, 0.72, _CURL_OPENSSL),
        ],
    ),
    Work(
        "paced",
        "8 files, 295 MB, each connection 20 MiB/s and 50 ms before each response",
        "whisper",
        "paced",
        [
            *_both(**_PACED),
            theirs.aria2c(_ARIA),
            theirs.aria2c("aria2c -x16, then openssl", then="openssl"),
            theirs.aria2c(_ARIA_SUMS, checksum=True),
            theirs.hf(_HF),
            theirs.curl(_CURL_OPENSSL, "openssl"),
            theirs.requests(_REQUESTS),
        ],
        5,
        [
            Goal(OURS, 0.78, _ARIA),
            Goal(
                *(OURS, floor(WHISPER_SIZE) / 0.80),
                words=f"80 % of what {LINKS} links can do",
                best=floor(WHISPER_SIZE),
            ),
            Goal(OURS, MEMORY, figure="memory", words=f"{LINKS} connections"),
        ],
    ),
    Work(
        "warm",
        "nothing to do: everything is there",
        "whisper",
        "plain",
        [
            ours.warm("modelfetch", "script.py"),
            ours.warm("modelfetch, old pip script", "old-script.py"),
            ours.warm("python -m modelfetch", "-m", "modelfetch"),
            theirs.only_start(_PASS, "python", "-c", "pass"),
            theirs.hf_cached(_HF),
        ],
        21,
        [
            Goal(OURS, 1.2, _PASS),
            Goal("modelfetch, old pip script", 1.6, _PASS),
            Goal(OURS, 0.06, _HF),
        ],
    ),
    Work(
        "verify",
        "verify 14 files, 494 MB",
        "set",
        "plain",
        [
            ours.verify("modelfetch"),
            theirs.checking("sha256sum -c", "sha256sum"),
            theirs.checking("openssl", "openssl", "{xargs} {openssl} dgst -sha256 <{lists[paths]}"),
            theirs.checking("xargs -P2 openssl", "openssl"),
        ],
        9,
        [Goal(OURS, 0.19, "sha256sum -c"), Goal(OURS, 1.05, "xargs -P2 openssl")],
    ),
    Work(
        "small",
        "2,000 files of 4 KiB, plain HTTP",
        "small",
        "plain",
        [*_both(), theirs.hf(_HF), *_SMALL],
        5,
        [
            Goal(OURS, 0.50, _ARIA_SUMS),
            Goal(OURS, 0.11, _HF),
            Goal(SYNCED, 1.0, _ARIA_SUMS),
            Goal(SYNCED, 0.3, _HF),
        ],
    ),
    Work(
        "small-delayed",
        "2,000 files of 4 KiB, 50 ms before each response",
        "small",
        "delayed",
        [*_both(), theirs.hf(_HF), *_SMALL],
        3,
        [Goal(OURS, 0.37, _ARIA_SUMS)],
    ),
    Work(
        "start",
        "from start to first connection, http; or, where an option says so, to the end",
        "tiny",
        "ear",
        [
            ours.first_connection("modelfetch ensure"),
            theirs.only_start("modelfetch --help", "modelfetch", "--help"),
            theirs.only_start(_PASS, "python", "-c", "pass"),
            _imports(),
            theirs.connecting("curl", "curl", "-s"),
            theirs.connecting(
                "requests", "requests", "-c", "import sys, requests; requests.get(sys.argv[1])"
            ),
            theirs.only_start("hf --help", "hf", "--help"),
        ],
        21,
        [Goal("modelfetch ensure", 1.25, _IMPORT), *_start("modelfetch --help", 0.060)],
    ),
    Work(
        "start-https",
        "from start to first connection, https",
        "tiny",
        "ear",
        [
            ours.first_connection("modelfetch ensure"),
            theirs.only_start(_PASS, "python", "-c", "pass"),
            _imports(),
            theirs.connecting("curl", "curl", "-s"),
            theirs.connecting(
                "requests", "requests", "-c", "import sys, requests; requests.get(sys.argv[1])"
            ),
        ],
        21,
        [Goal("modelfetch ensure", 1.35, _IMPORT)],
        secure=True,
    ),
    Work(
        "tiny",
        "few files of 1 kB, plain HTTP",
        "kilo-1",
        "plain",
        [
            ours.fetch(_ONE),
            ours.fetch(_FEW, material="kilo-14"),
            ours.fetch(_MORE, material="kilo-114"),
            _imports(),
            theirs.requests("requests, 1 file"),
            theirs.requests("requests, 14 files", material="kilo-14"),
            theirs.requests("requests, 114 files", material="kilo-114"),
        ],
        15,
        [
            Goal(_ONE, 1.35, _IMPORT),
            Goal(_FEW, 0.010, minus=_ONE),
            Goal(_MORE, 0.050, minus=_FEW, words="0.5 ms for each of 100 files"),
        ],
    ),
    Work(
        "query",
        "what is known of a model of 8 files that is there",
        "whisper",
        "plain",
        [
            *(ours.query(f"modelfetch {name}", name) for name in _QUERIES),
            theirs.only_start(_PASS, "python", "-c", "pass"),
        ],
        15,
        [Goal(f"modelfetch {name}", 6.0, _PASS) for name in _QUERIES],
    ),
    Work(
        "bars",
        "what the bars cost: 14 files, 494 MB, plain HTTP, on a terminal",
        "set",
        "plain",
        [
            ours.fetch("with bars", terminal=True),
            ours.fetch("--quiet", "--quiet", terminal=True),
        ],
        11,
        [Goal("with bars", 1.15, "--quiet")],
    ),
    Work(
        "bars-paced",
        "what the bars cost: 8 files, 295 MB, paced, on a terminal",
        "whisper",
        "paced",
        [
            ours.fetch("with bars", env={**ours.NO_SYNC, **_PACED}, terminal=True),
            ours.fetch("--quiet", "--quiet", env={**ours.NO_SYNC, **_PACED}, terminal=True),
        ],
        7,
        [Goal("with bars", 1.02, "--quiet")],
    ),
)
"""Every work, in the order in which they are done."""

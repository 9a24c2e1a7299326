"""The one table of settings: name, form, default, meaning, and why the default is what it is.

Everything else about settings (reading files and the environment, ``config``, the reference page) is a walk
over these rows.
"""

from __future__ import annotations

from typing import Final

from modelfetch.settings.redaction import endpoint, gateway, template
from modelfetch.settings.types import (
    NONE,
    Address,
    Addresses,
    Directory,
    Flag,
    Integer,
    Kinds,
    Number,
    Rate,
    Setting,
    Size,
)

SOURCE_KINDS: Final = ("local", "peer", "mirror", "ipfs", "huggingface", "url")
"""Every kind of source, in the default order: nearest and cheapest first, shared public services last."""

IDLE_KINDS: Final = ("peer",)
"""Those of them that have no effect yet."""

GATEWAYS: Final = ("https://gateway.pinata.cloud", "https://ipfs.filebase.io", "https://ipfs.4everland.io")
"""Public path gateways of three independent operators that serve whole files to programs.

Left out, each for a reason: cloudflare-ipfs.com (gone since August 2024); w3s.link and nftstorage.link (they
only redirect to dweb.link); ipfs.io and dweb.link (one operator; since 21 September 2026 they answer programs
with 429 and a ``Sunset`` header, see gatewaychanges.ipfs.io); trustless-gateway.link (the same operator; raw
blocks and CAR only, 406 for a file); a node at http://127.0.0.1:8080 (any program may own that port; who runs
a node adds it).
"""

ENVIRONMENT: Final = {
    "MODELFETCH_CONFIG": "The user's configuration file.",
    "MODELFETCH_CATALOG": "More catalogs: directories or TOML files, separated as in PATH. They win.",
    "MODELFETCH_SERVE_TOKEN": "The token of `modelfetch serve`, for the server and for those who ask it.",
    "MODELFETCH_SERVER": "The server that `jobs`, `attach`, `cancel` and `retry` ask, as `--server`.",
}
"""The variables of our own that have no flag and no place in a file, with their meaning."""


_SECONDS: Final = Number(0, 86_400, above=True)
_DAYS: Final = Integer(0, 36_500)
_PARALLEL: Final = Integer(1, 64)

SETTINGS: Final = (
    Setting(
        "sources",
        "order",
        Kinds(SOURCE_KINDS),
        list(SOURCE_KINDS),
        "Kinds of sources that may be used, in the order they are asked; a kind left out is never used.",
        "nearest first; the public services that others pay for last",
    ),
    Setting(
        "sources",
        "mirrors",
        Addresses("a list of URL templates", template),
        [],
        "URL templates of mirrors, with {path}, {sha256}, {name} and {version} filled in.",
        "no mirror is known to serve every model",
    ),
    Setting(
        "ipfs",
        "gateways",
        Addresses("a list of gateway addresses", gateway),
        list(GATEWAYS),
        "IPFS path gateways, asked as `GATEWAY/ipfs/CID`; an empty list turns IPFS off.",
        "three independent operators; a node of your own belongs first",
    ),
    Setting(
        "huggingface",
        "endpoint",
        Address("an http(s) address", endpoint),
        "https://huggingface.co",
        "Hugging Face or a mirror of its shape; the only origin that is sent the token.",
        "where the pinned revisions are published",
    ),
    Setting(
        "network",
        "files",
        _PARALLEL,
        4,
        "Files fetched at the same time.",
        "more files than that at once only split the same link",
        flag="--files",
    ),
    Setting(
        "network",
        "connections",
        _PARALLEL,
        4,
        "Connections to one file at the same time, where one alone is slow.",
        "some hosts hold each connection back; more than a few look like abuse",
        flag="--connections",
    ),
    Setting(
        "network",
        "connect_timeout",
        _SECONDS,
        10,
        "Seconds until a connection must stand, with all addresses of a host and after all redirects.",
        "addresses are tried a quarter of a second apart",
        project="at most",
    ),
    Setting(
        "network",
        "stall_timeout",
        _SECONDS,
        30,
        "Seconds without a byte of the file after which a source is left, whatever else it sends.",
        "a blocked read ends at this limit only, so it also bounds a slow cancel",
        project="at most",
    ),
    Setting(
        "network",
        "min_speed",
        Rate(),
        "1 KiB",
        "Slowest transfer that is let run, in bytes per second; 0 lets every one run.",
        "slower than that, 100 MB take more than a day",
        project="at least",
    ),
    Setting(
        "network",
        "limit_rate",
        Rate(limitless=True),
        NONE,
        "Most bytes per second over all connections together; none or 0 is without limit.",
        "whoever asks for a model usually waits for it",
        flag="--limit-rate",
        project="at most",
    ),
    Setting(
        "retry",
        "attempts",
        Integer(1, 100),
        5,
        "Tries of one source for one file before the next source; 8 MiB of new good bytes start over.",
        "four waits, 7.5 seconds at most, ride out a restart; then another source is quicker",
        project="at most",
    ),
    Setting(
        "retry",
        "base",
        _SECONDS,
        0.5,
        "Seconds the first wait lies below; each further limit is twice the one before (full jitter).",
        "a lost connection is usually good again within a second",
        project="at most",
    ),
    Setting(
        "retry",
        "cap",
        _SECONDS,
        30,
        "Seconds no wait of our own choice exceeds.",
        "longer waits look like a hang",
        project="at most",
    ),
    Setting(
        "retry",
        "retry_after_cap",
        Number(0, 86_400),
        300,
        "Longest Retry-After of a server, in seconds, that is waited for.",
        "rate limits of public services reset within five minutes",
        project="at most",
    ),
    Setting(
        "cache",
        "fsync",
        Flag(),
        True,
        "Whether files are forced to disk before they get their final name.",
        "without it a power cut leaves empty files under final names; it costs about 0.25 s per GiB",
        project="never",
    ),
    Setting(
        "cache",
        "partial_days",
        _DAYS,
        7,
        "Days an interrupted download is kept for resuming.",
        "a week covers an interrupted working week",
        project="never",
        is_idle=True,
    ),
    Setting(
        "cache",
        "quarantine_days",
        _DAYS,
        7,
        "Days bytes that failed verification are kept for inspection.",
        "time to look at them; they are never used",
        project="never",
        is_idle=True,
    ),
    Setting(
        "cache",
        "version_days",
        _DAYS,
        90,
        "Days a version is kept after a newer one of the same model was made present.",
        "going back within a quarter needs no network",
        project="never",
        is_idle=True,
    ),
    Setting(
        "cache",
        "warn_size",
        Size(),
        "20 GiB",
        "Bytes of cache above which a warning is given; 0 never warns.",
        "a share of a laptop's disk that its owner would want to know about",
        project="never",
        is_idle=True,
    ),
    Setting(
        "cache",
        "max_age_days",
        _DAYS,
        90,
        "Days after which a check for a newer version upstream is due.",
        "pins are exact, so age is a hint and never a fault",
        project="never",
        is_idle=True,
    ),
    Setting(
        "cache",
        "stale_days",
        _DAYS,
        7,
        "Days past that age during which a failed check is not reported.",
        "an upstream may be away for a week",
        project="never",
        is_idle=True,
    ),
    Setting(
        "history",
        "days",
        _DAYS,
        30,
        "Days runs, and how sources fared in them, are remembered; 0 remembers nothing.",
        "a month shows what changed; health is judged by the last days anyway",
        project="never",
    ),
    Setting(
        "lan",
        "enabled",
        Flag(),
        False,
        "Whether peers on the local network are looked for (mDNS).",
        "announcing oneself on a network is for its owner to decide",
        project="never",
        is_idle=True,
    ),
    Setting(
        "serve",
        "jobs",
        _PARALLEL,
        2,
        "Jobs `modelfetch serve` runs at the same time; the others wait in its queue.",
        "one small model need not wait behind a large one; more only split the same link",
        project="never",
    ),
)
"""Every setting, in the order of the reference page."""

RUN_SETTINGS: Final = (
    Setting(
        "",
        "cache_dir",
        Directory(),
        "",
        "Directory of the cache; empty is the usual place of this system.",
        "a project must not decide where on this disk is written",
        flag="--cache-dir",
    ),
    Setting(
        "",
        "offline",
        Flag(),
        False,
        "Whether the network must not be used at all.",
        "missing files are usually wanted",
        flag="--offline",
    ),
)
"""What a flag or a variable may set, but no file."""

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
"""Settings by ``section.key``."""

BY_VARIABLE: Final = {setting.variable: setting for setting in (*SETTINGS, *RUN_SETTINGS)}
"""Settings by environment variable."""

SECTIONS: Final = tuple(dict.fromkeys(setting.section for setting in SETTINGS))
"""The names of the TOML tables."""


def keys(section: str) -> tuple[str, ...]:
    """The keys of one section."""
    return tuple(setting.key for setting in SETTINGS if setting.section == section)

"""What each fast path is worth: the same work without it, in the same rounds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.scene import Command, Contender, Scene
from tests.bench.works import Work

_WITHOUT = Path(__file__).with_name("without.py")
_COMMANDS = ("ensure", "verify", "list")
_LARGE = ("set-plain", "set-tls", "one-plain")
_SMALL = ("small", "small-delayed")
_START = ("start", "start-https")


@dataclass(frozen=True, slots=True)
class FastPath:
    """Something that is done to be fast, and can be left out.

    Attributes:
        words: What it is.
        works: Those it matters for.
        env: Variables that switch it off; where there are none, ``without.py`` does.
    """

    words: str
    works: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


FAST_PATHS: Mapping[str, FastPath] = {
    "socket": FastPath("large bodies read from the socket, past the parser", _LARGE),
    "large-buffers": FastPath("1 MiB gathered before a write, not 256 KiB", _LARGE),
    "few-reads": FastPath("reads that wait for 256 KiB", ("set-plain", "one-plain", "paced")),
    "hash-from-memory": FastPath("bytes in order hashed from the memory they came in", _LARGE),
    "hashing-threads": FastPath("hashing in threads of its own", _LARGE),
    "company": FastPath(
        "several connections to a file where one is slow",
        (*_LARGE, "paced"),
        {"MODELFETCH_NETWORK_CONNECTIONS": "1"},
    ),
    "batch": FastPath("small files fetched and stored together", _SMALL),
    "direct": FastPath("requests sent without loading an HTTP client", (*_LARGE, *_SMALL, *_START)),
    "heads": FastPath("ordinary heads of responses parsed without h11", (*_SMALL, *_START)),
    "verify-threads": FastPath("several files verified at the same time", ("verify",)),
    "plain-toml": FastPath("plain manifests read without tomllib", (*_START, "verify", "query")),
    "warm": FastPath("the answer from a stamp when all is there", ("warm",)),
    "typer": FastPath("plain command lines understood without typer", (*_START, "verify", "query")),
    "trust": FastPath("certificates read beside the imports", _START),
    "dataclasses": FastPath("dataclasses that are defined faster", _START),
    "quick-exit": FastPath("the process ended without taking it apart", _LARGE),
}
"""Every fast path that can be left out, by name."""


def name_of(full: Contender, name: str) -> str:
    """What the row without a fast path is called."""
    return f"{full.name}, without {name}"


def ablated(work: Work, names: Collection[str]) -> Work:
    """A work with a row more for each of these fast paths that matters for it."""
    return replace(work, contenders=[*work.contenders, *_rows(work, names)])


def _rows(work: Work, names: Collection[str]) -> Iterable[Contender]:
    full = work.contenders[0]
    for name, path in FAST_PATHS.items():
        if name in names and work.name in path.works:
            yield _without(full, name, path)


def _without(full: Contender, name: str, path: FastPath) -> Contender:
    called = replace(full, name=name_of(full, name), without=name)
    if path.env:
        return replace(called, env={**full.env, **path.env})

    def build(scene: Scene) -> Command:
        command = full.build(scene)
        start = next(n for n, word in enumerate(command.argv) if word in _COMMANDS)
        return replace(
            command, argv=(scene.tools["python"], "-P", str(_WITHOUT), name, *command.argv[start:])
        )

    return replace(called, build=build)

"""What a row of a table is made from: a contender, the scene it is put into, and its command there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.bench.material import Material
from tests.bench.site import Address

HASH = "SHA-256"
HASH_SEEN = "SHA-256, shown only"
"""It is computed, but compared with nothing."""
SIZE = "size"
"""The number of bytes announced is the number that came."""
STAMP = "size, time"
"""Of files that were verified before."""
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Command:
    """What is run.

    Attributes:
        argv: Program and arguments.
        env: Variables it gets besides the few that everybody gets.
        until: When the clock stops; see ``launch.py``.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    until: Literal["exit", "terminal", "connect"] = "exit"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a command is made from.

    Attributes:
        tools: Path of each program by name.
        material: What is fetched.
        address: Where it is.
        lists: Directory of the listings for the peers.
        target: Directory for the files; empty, or prepared if the contender asks for that.
        home: Directory for what programs keep between runs.
        certificate: The certificate to trust.
    """

    tools: Mapping[str, str]
    material: Material
    address: Address
    lists: Path
    target: Path
    home: Path
    certificate: Path

    def quoted(self, listing: str) -> str:
        """Path of a listing, for a shell."""
        return shlex.quote(str(self.lists / listing))


Build = Callable[[Scene], Command]


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of a table.

    Attributes:
        name: What it is called.
        needs: The programs it needs, its own first.
        checks: What it compares the bytes it got with.
        build: Makes the command.
        env: More variables.
        prepare: Makes the command that fills the target once, before all runs; None if each needs a new one.
        files: Where below the target the files are afterwards; None if it fetches none.
        at_source: Runs in the directory the server serves from, because it only reads.
        without: The fast path of ours that it does without.
        material: Which files, where they are not those of its work.
    """

    name: str
    needs: tuple[str, ...]
    checks: str
    build: Build
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Build | None = None
    files: Callable[[Material], str] | None = lambda _: "."
    at_source: bool = False
    without: str = ""
    material: str = ""

    @property
    def is_modelfetch(self) -> bool:
        """Whether it is ours."""
        return self.needs[0] == "modelfetch"

    @property
    def is_peer(self) -> bool:
        """Whether it is somebody else's; an interpreter that does nothing is nobody's."""
        return self.needs[0] not in ("modelfetch", "python")

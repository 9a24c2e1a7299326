"""The files in a partial's directory: pairs of data and journal, and which of them may be removed.

``data`` and ``journal`` belong to whoever holds the blob's lock where locks work. Every other process writes
to a pair of its own, ``data-<tag>`` and ``journal-<tag>``, so that two writers never share an inode.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Final

from modelfetch.errors import StoreError
from modelfetch.store.disk import Disk
from modelfetch.store.files import read_small
from modelfetch.store.journal import LIMIT, is_foreign
from modelfetch.store.owner import maker
from modelfetch.values import dataclass

_NAME: Final = re.compile(r"(?:data|journal)((?:-.+)?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Slot:
    """One data file with its journal."""

    folder: Path
    suffix: str = ""
    data: Path = field(init=False, compare=False)
    """The bytes."""
    journal: Path = field(init=False, compare=False)
    """What is known about them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", self.folder / f"data{self.suffix}")
        object.__setattr__(self, "journal", self.folder / f"journal{self.suffix}")

    def is_abandoned(self, *, exclusive: bool) -> bool:
        """Whether no living process can be writing to it.

        Args:
            exclusive: Whether we hold the blob's lock, and it really excludes others.
        """
        return maker(self.suffix[1:]) == "dead" if self.suffix else exclusive

    def remove(self, disk: Disk) -> None:
        """Take both files away."""
        disk.unlink(self.data)
        disk.unlink(self.journal)


def slots(disk: Disk, folder: Path) -> list[Slot]:
    """Find every pair, or half of one, in a partial's directory."""
    matches = filter(None, map(_NAME.fullmatch, disk.names(folder)))
    return [Slot(folder, suffix) for suffix in sorted({match[1] for match in matches})]


def read_journal(disk: Disk, slot: Slot) -> bytes:
    """Read a journal; empty when there is no plain file."""
    return read_small(disk, slot.journal, LIMIT) or b""


def clear(disk: Disk, folder: Path, *, exclusive: bool, keep: Slot | None = None) -> None:
    """Remove what dead runs left, but nothing in a format this version does not know.

    Best effort: another user's files may be beyond us, and are no reason to fail.
    """
    with suppress(StoreError):
        for slot in slots(disk, folder):
            spared = slot == keep or not slot.is_abandoned(exclusive=exclusive)
            if not spared and not is_foreign(read_journal(disk, slot)):
                slot.remove(disk)

"""The files in a partial's directory: pairs of data and journal, and which of them may be removed.

``data`` and ``journal`` belong to whoever holds the blob's lock where locks work. Every other process writes
to a pair of its own, ``data-<tag>`` and ``journal-<tag>``, so that two writers never share an inode. Whoever
writes holds the kernel's lock on the data file itself as well: a lock elsewhere may be deleted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.store.files import closing, read_small
from modelfetch.store.journal import LIMIT, is_foreign
from modelfetch.store.temporary import is_old, maker

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk

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

    def remove(self, disk: Disk) -> bool:
        """Take both files away; True."""
        disk.unlink(self.data)
        disk.unlink(self.journal)
        return True


def slots(disk: Disk, folder: Path) -> list[Slot]:
    """Find every pair, or half of one, in a partial's directory."""
    matches = filter(None, map(_NAME.fullmatch, disk.names(folder)))
    return [Slot(folder, suffix) for suffix in sorted({match[1] for match in matches})]


def read_journal(disk: Disk, slot: Slot) -> bytes:
    """Read a journal; empty when there is no regular file."""
    return read_small(disk, slot.journal, LIMIT) or b""


def clear(disk: Disk, folder: Path, *, exclusive: bool, keep: Slot | None = None) -> bool:
    """Remove what dead runs left, and then the directory if it is empty; whether it is gone.

    Best effort: another user's files may be beyond us, and are no reason to fail.

    Args:
        disk: The disk.
        folder: The partial's directory.
        exclusive: Whether we hold the blob's lock, and it really excludes others.
        keep: The pair that is our own.
    """
    with suppress(StoreError):
        if disk.rmdir(folder):  # as after most downloads: there was nothing but their own
            return True
        for slot in slots(disk, folder):
            if slot != keep:
                discard(disk, slot, exclusive=exclusive)
    with suppress(StoreError):
        return disk.rmdir(folder)
    return False


def discard(disk: Disk, slot: Slot, *, exclusive: bool, when: Callable[[], bool] = lambda: True) -> bool:
    """Take a pair away unless a process may be writing to it, or this version does not know its format.

    Best effort, like :func:`clear`.

    Args:
        disk: The disk.
        slot: The pair.
        exclusive: Whether we hold the blob's lock, and it really excludes others.
        when: A further condition, asked last, because it may take a while.

    Returns:
        Whether it is gone.
    """
    with suppress(StoreError):
        if is_foreign(read_journal(disk, slot)):
            return False
        fd = disk.open_to_read(slot.data)
        if fd is None:  # nothing that could be written to has the name
            return _is_abandoned(disk, slot, exclusive=exclusive) and when() and slot.remove(disk)
        with closing(disk, fd, slot.data):  # and so locked until it is gone
            is_ours = disk.lock_file(fd, slot.data)
            if is_ours is False:
                return False
            is_useless = _is_abandoned(disk, slot, exclusive=exclusive, is_free=bool(is_ours)) and when()
            gone = is_useless and slot.remove(disk)
            disk.unlock_file(fd, slot.data)
            return gone
    return False


def _is_abandoned(disk: Disk, slot: Slot, *, exclusive: bool, is_free: bool = False) -> bool:
    """Whether the writer of a pair that nobody has locked is gone.

    Args:
        disk: The disk.
        slot: The pair.
        exclusive: Whether we hold the blob's lock, and it really excludes others.
        is_free: Whether it is proven that no process of this version writes to it. One of an earlier version
            takes no lock on the data, only that of the blob.
    """
    if exclusive and (is_free or not slot.suffix):
        return True
    fate = maker(slot.suffix[1:])
    if fate == "dead":
        return True
    # A number that is in use may be another process's by now.
    return (fate == "unknown" or is_free) and is_old(disk.lstat(slot.data), disk.lstat(slot.journal))

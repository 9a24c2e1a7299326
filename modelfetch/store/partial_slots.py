"""The files in a partial's directory: pairs of data and journal, and which of them may be removed.

``data`` and ``journal`` belong to the process that holds the blob's lock, where locks work. Every other
process writes to its own pair, ``data-<tag>`` and ``journal-<tag>``, so that two writers never share an
inode. In addition each writer holds the kernel's lock on its data file, because any user may delete
the blob's lock file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.store.files import closing, read_small
from modelfetch.store.journal_format import LIMIT, is_foreign
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
    """Claims about the bytes; see :mod:`modelfetch.store.journal_format`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", self.folder / f"data{self.suffix}")
        object.__setattr__(self, "journal", self.folder / f"journal{self.suffix}")

    def remove(self, disk: Disk) -> bool:
        """Remove both files; always True."""
        disk.unlink(self.data)
        disk.unlink(self.journal)
        return True


def slots(disk: Disk, folder: Path) -> list[Slot]:
    """List the pairs in a partial's directory, including those with only one file."""
    matches = filter(None, map(_NAME.fullmatch, disk.names(folder)))
    return [Slot(folder, suffix) for suffix in sorted({match[1] for match in matches})]


def read_journal(disk: Disk, slot: Slot) -> bytes:
    """Read a journal; empty when it is no regular file, or too long."""
    return read_small(disk, slot.journal, LIMIT) or b""


def clear(disk: Disk, folder: Path, *, exclusive: bool, keep: Slot | None = None) -> bool:
    """Remove the files of dead runs, and then the directory if it is empty; whether it is gone.

    Best effort: files of another user that cannot be removed are not a failure.

    Args:
        disk: The disk.
        folder: The partial's directory.
        exclusive: Whether we hold the blob's lock, and it really excludes others.
        keep: Our own pair.
    """
    with suppress(StoreError):
        if disk.rmdir(folder):  # the usual case after a download: there were no other pairs
            return True
        for slot in slots(disk, folder):
            if slot != keep:
                discard(disk, slot, exclusive=exclusive)
    with suppress(StoreError):
        return disk.rmdir(folder)
    return False


def discard(disk: Disk, slot: Slot, *, exclusive: bool, when: Callable[[], bool] = lambda: True) -> bool:
    """Remove a pair, unless a process may be writing to it or its format is unknown to this version.

    Best effort, like :func:`clear`.

    Args:
        disk: The disk.
        slot: The pair.
        exclusive: Whether we hold the blob's lock, and it really excludes others.
        when: A further condition; called last, because it may be slow.

    Returns:
        Whether it is gone.
    """
    with suppress(StoreError):
        if is_foreign(read_journal(disk, slot)):
            return False
        fd = disk.open_to_read(slot.data)
        if fd is None:  # there is no data file that a process could be writing to
            return _is_abandoned(disk, slot, exclusive=exclusive) and when() and slot.remove(disk)
        with closing(disk, fd, slot.data):  # stays locked until the file is removed
            is_ours = disk.lock_file(fd, slot.data)
            if is_ours is False:
                return False
            is_useless = _is_abandoned(disk, slot, exclusive=exclusive, is_free=bool(is_ours)) and when()
            gone = is_useless and slot.remove(disk)
            disk.unlock_file(fd, slot.data)
            return gone
    return False


def _is_abandoned(disk: Disk, slot: Slot, *, exclusive: bool, is_free: bool = False) -> bool:
    """Whether the writer of a pair is gone, given that nobody has locked the data file.

    Args:
        disk: The disk.
        slot: The pair.
        exclusive: Whether we hold the blob's lock, and it really excludes others.
        is_free: Whether it is proven that no process of this version writes to it. Earlier versions lock only
            the blob, not the data file.
    """
    if exclusive and (is_free or not slot.suffix):
        return True
    fate = maker(slot.suffix[1:])
    if fate == "dead":
        return True
    # A process number that is in use may belong to another process by now, so age decides.
    return (fate == "unknown" or is_free) and is_old(disk.lstat(slot.data), disk.lstat(slot.journal))

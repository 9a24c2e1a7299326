"""Removing what killed runs left: temporary files of dead processes, and journals without data."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from modelfetch.store.calls import is_own
from modelfetch.store.disk import Disk
from modelfetch.store.files import is_directory, leave, leaving
from modelfetch.store.group import remove
from modelfetch.store.journal import is_foreign
from modelfetch.store.layout import Layout, is_digest
from modelfetch.store.locks import Lock
from modelfetch.store.owner import TEMPORARY, is_temporary, maker
from modelfetch.store.slots import Slot, read_journal, slots

GRACE: Final = 24 * 3600.0
"""Seconds after which a temporary file is taken for forgotten when its maker is on another machine or in
another container, so cannot be asked for, or when it is another user's, whose name for it proves nothing.
None is in use for longer than it takes to copy one file."""


def sweep(disk: Disk, layout: Layout) -> tuple[Path, ...]:
    """Remove leftovers, as far as permitted; see :meth:`modelfetch.store.Store.sweep`."""
    removed: list[Path] = []
    for directory in (layout.models, layout.locks):
        with leaving(disk), disk.steady():
            for path in _temporaries(disk, directory):
                removed += _sweep_file(disk, path)
    with leaving(disk):
        removed += _sweep_partials(disk, layout)
    return tuple(removed)


def _sweep_partials(disk: Disk, layout: Layout) -> list[Path]:
    removed: list[Path] = []
    for name in disk.names(layout.partials):
        with leaving(disk):
            if is_digest(name):
                removed += _sweep_partial(disk, layout, name)
            elif is_temporary(name):
                removed += _sweep_group(disk, layout.partials / name)
    return removed


def _sweep_file(disk: Disk, path: Path) -> list[Path]:
    with leaving(disk):
        if _is_forgotten(disk, path, stat.S_ISREG) and disk.unlink(path):
            return [path]
    return []


def _sweep_group(disk: Disk, folder: Path) -> list[Path]:
    return [folder] if _is_forgotten(disk, folder, stat.S_ISDIR) and remove(disk, folder) else []


def _temporaries(disk: Disk, directory: Path) -> Iterator[Path]:
    if not is_directory(disk, directory):
        return
    for name in disk.names(directory):
        if is_temporary(name):
            yield directory / name
        else:
            yield from _temporaries(disk, directory / name)


def _is_forgotten(disk: Disk, path: Path, is_right: Callable[[int], bool]) -> bool:
    """Whether what a name stands for was left by a dead run.

    Args:
        disk: The disk.
        path: Temporary by its name, which anybody could have given it.
        is_right: Whether a mode is of the kind that is made under such a name.
    """
    found = disk.lstat(path)
    if found is None:
        return False
    if not is_right(found.st_mode):
        leave(disk, path)
        return False
    fate = maker(path.name.removeprefix(TEMPORARY))
    if fate != "unknown" and is_own(found):
        return fate == "dead"
    # A hard link has the old mtime of its blob; making it counts as a change of the inode.
    return time.time() - max(found.st_mtime, found.st_ctime) > GRACE


def _sweep_partial(disk: Disk, layout: Layout, digest: str) -> list[Path]:
    """Remove what a run killed right after its data got the final name left behind."""
    folder = layout.partial(digest)
    if any(disk.lstat(slot.data) for slot in slots(disk, folder)):
        return []
    with Lock(disk, layout.root, layout.blob_lock(digest)) as lock:
        if not lock.try_acquire():
            return []
        finished = [slot for slot in slots(disk, folder) if disk.lstat(slot.data) is None]
        gone = [
            slot.journal for slot in finished if _is_spent(disk, slot, lock) and disk.unlink(slot.journal)
        ]
        if lock.effective and disk.rmdir(folder):
            gone.append(folder)
        return gone


def _is_spent(disk: Disk, slot: Slot, lock: Lock) -> bool:
    return slot.is_abandoned(exclusive=lock.effective) and not is_foreign(read_journal(disk, slot))

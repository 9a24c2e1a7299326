"""Removing what killed and failed runs left: whatever no process is at work on, and no later run can use."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.store.files import best_effort, hash_file, is_directory, is_regular, report_left_alone
from modelfetch.store.group_commit import remove
from modelfetch.store.journal import parse_any
from modelfetch.store.layout import Layout, is_digest
from modelfetch.store.locks import Lock, reclaim
from modelfetch.store.partial_slots import Slot, discard, read_journal, slots
from modelfetch.store.syscalls import is_owned
from modelfetch.store.temporary import TEMPORARY, is_old, is_temporary, maker

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk


def sweep(disk: Disk, layout: Layout, *, thorough: bool) -> tuple[Path, ...]:
    """Remove leftovers, as far as permitted; see :meth:`modelfetch.store.Store.sweep`."""
    removed = list(_sweep_temporaries(disk, layout, thorough=thorough))
    removed += reclaim(disk, layout.root, layout.locks)
    for name, _ in _entries(disk, layout.partials):
        with best_effort(disk):
            if is_digest(name):
                removed += _sweep_partial(disk, layout, name)
            elif is_temporary(name):
                removed += _sweep_group(disk, layout.partials / name)
    return tuple(removed)


def _entries(disk: Disk, directory: Path) -> list[tuple[str, bool]]:
    """What a directory holds, as :meth:`.Disk.entries` has it; nothing if it is a link, or another user's."""
    with best_effort(disk):
        return disk.entries(directory) if is_directory(disk, directory) else []
    return []


def _sweep_temporaries(disk: Disk, layout: Layout, *, thorough: bool) -> Iterator[Path]:
    # The files of a version are placed before its receipt is written, and so before a run that finds all of
    # it here: such a run need not look at each of them.
    depth = 100 if thorough else 1
    for path in (*_temporaries(disk, layout.models, depth), *_temporaries(disk, layout.locks, 0)):
        with best_effort(disk):
            if _is_left_over(disk, path, stat.S_ISREG) and disk.unlink(path):
                yield path


def _temporaries(disk: Disk, directory: Path, depth: int) -> Iterator[Path]:
    for name, is_below in _entries(disk, directory):
        if is_temporary(name):
            yield directory / name
        elif depth and is_below:
            yield from _temporaries(disk, directory / name, depth - 1)


def _sweep_group(disk: Disk, folder: Path) -> list[Path]:
    return [folder] if _is_left_over(disk, folder, stat.S_ISDIR) and remove(disk, folder) else []


def _is_left_over(disk: Disk, path: Path, is_right: Callable[[int], bool]) -> bool:
    """Whether what a name stands for was left by a dead run; another user's name for it proves nothing.

    Args:
        disk: The disk.
        path: Temporary by its name, which anybody could have given it.
        is_right: Whether a mode is of the kind that is made under such a name.
    """
    found = disk.lstat(path)
    if found is None:
        return False
    if not is_right(found.st_mode):
        report_left_alone(disk, path)
        return False
    fate = maker(path.name.removeprefix(TEMPORARY))
    return fate == "dead" if fate != "unknown" and is_owned(found) else is_old(found)


def _sweep_partial(disk: Disk, layout: Layout, digest: str) -> list[Path]:
    """Remove pairs that are of no use: they claim nothing, or what they were to become is there."""
    folder = layout.partial(digest)
    is_stored = cache(lambda: _is_stored(disk, layout.blob(digest), digest))
    with Lock(disk, layout.root, layout.blob_lock(digest)) as lock:
        if not lock.try_acquire():
            return []
        gone = [
            slot.data
            for slot in slots(disk, folder)
            if discard(disk, slot, exclusive=lock.effective, when=partial(_is_useless, disk, slot, is_stored))
        ]
        return [*gone, folder] if disk.rmdir(folder) else gone


def _is_useless(disk: Disk, slot: Slot, is_stored: Callable[[], bool]) -> bool:
    is_whole = disk.lstat(slot.data) is not None
    return not is_whole or not parse_any(read_journal(disk, slot)).claimed or is_stored()


def _is_stored(disk: Disk, blob: Path, digest: str) -> bool:
    """Whether a blob is there and right: beside a damaged one, what was fetched to repair it is of use."""
    return is_regular(disk, blob) and hash_file(disk, blob) == digest

"""Removes leftovers of killed and failed runs: files that no process is using and no later run can use.

* Temporary files and group directories: if their process is known to be dead, or they are old and it is
  unknown (:mod:`modelfetch.store.temporary`).
* Lock files: if nobody holds the lock.
* Partials: under the blob's lock, if they claim no bytes or their blob is present and verified.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.store.files import best_effort, hash_file, is_regular, list_if_possible, report_left_alone
from modelfetch.store.group_commit import remove_group
from modelfetch.store.layout import Layout, is_digest
from modelfetch.store.locks import Lock, remove_free_locks
from modelfetch.store.syscalls import is_owned
from modelfetch.store.temporary import TEMPORARY, is_old, is_temporary, maker

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.partial_slots import Slot


def sweep(disk: Disk, layout: Layout, *, thorough: bool) -> tuple[Path, ...]:
    """Remove leftovers, as far as permitted; see :meth:`modelfetch.store.Store.sweep`."""
    removed = list(_sweep_temporaries(disk, layout, thorough=thorough))
    removed += remove_free_locks(disk, layout.root, layout.locks)
    for name, _ in list_if_possible(disk, layout.partials):
        with best_effort(disk):
            if is_digest(name):
                removed += _sweep_partial(disk, layout, name)
            elif is_temporary(name):
                removed += _sweep_group(disk, layout.partials / name)
    return tuple(removed)


def _sweep_temporaries(disk: Disk, layout: Layout, *, thorough: bool) -> Iterator[Path]:
    # Files of a version are placed before its receipt is written. A run that finds all receipts therefore
    # need not inspect each of those files; its search stops above the directories of versions.
    # The same holds for the up to 256 directories of chunk maps.
    places = [(layout.models, 100 if thorough else 1), (layout.locks, 0)]
    places += [(layout.chunk_maps, 1)] if thorough else []
    for path in [path for place in places for path in _temporaries(disk, *place)]:
        with best_effort(disk):
            if _is_left_over(disk, path, stat.S_ISREG) and disk.unlink(path):
                yield path


def _temporaries(disk: Disk, directory: Path, depth: int) -> Iterator[Path]:
    for name, is_below in list_if_possible(disk, directory):
        if is_temporary(name):
            yield directory / name
        elif depth and is_below:
            yield from _temporaries(disk, directory / name, depth - 1)


def _sweep_group(disk: Disk, folder: Path) -> list[Path]:
    return [folder] if _is_left_over(disk, folder, stat.S_ISDIR) and remove_group(disk, folder) else []


def _is_left_over(disk: Disk, path: Path, is_right: Callable[[int], bool]) -> bool:
    """Whether a temporary file was left by a dead run.

    Args:
        disk: The disk.
        path: A path with a temporary name, which any user could have given it.
        is_right: Tests whether a mode is of the kind this program creates under such a name.
    """
    found = disk.lstat(path)
    if found is None:
        return False
    if not is_right(found.st_mode):
        report_left_alone(disk, path)
        return False
    fate = maker(path.name.removeprefix(TEMPORARY))
    # A living process keeps its file whatever its age. The tag is only trusted in a file of this user:
    # another user could name a file after any process, so there only the age counts.
    if fate != "unknown" and is_owned(found):
        return fate == "dead"
    if not is_old(found):
        return False
    # Of a directory, the files count too: writing to them does not change it.
    names = disk.names(path) if stat.S_ISDIR(found.st_mode) else ()
    return is_old(found, *(disk.lstat(path / name) for name in names))


def _sweep_partial(disk: Disk, layout: Layout, digest: str) -> list[Path]:
    """Remove partials of no use: they claim no bytes, or their blob is present and verified."""
    from modelfetch.store.partial_slots import discard, slots  # few runs find any

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
    from modelfetch.store.journal_format import parse_any
    from modelfetch.store.partial_slots import read_journal

    is_whole = disk.lstat(slot.data) is not None
    return not is_whole or not parse_any(read_journal(disk, slot)).claimed or is_stored()


def _is_stored(disk: Disk, blob: Path, digest: str) -> bool:
    """Whether a blob is present and verified; for a damaged one the partial is needed to repair it."""
    return is_regular(disk, blob) and hash_file(disk, blob) == digest

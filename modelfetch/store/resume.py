"""Opening a partial: go on in an interrupted file where that is safe, else copy its bytes to one of our own.

Only inodes this process created may ever get a final name: in huggingface/huggingface_hub#4306 a slow process
went on appending to a file another one had published. The exception is a dead run's file, when a lock proves
that its writer is gone: one that excludes others on a local file system, on a file that is ours alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial as bind
from pathlib import Path

from modelfetch.model.manifest import FileSpec
from modelfetch.store.disk import Disk
from modelfetch.store.files import closing, make_directories
from modelfetch.store.journal import is_foreign, parse
from modelfetch.store.owner import tag
from modelfetch.store.partial import JournalFile, Partial, create_files
from modelfetch.store.prefix import Prefix, blocks, rehash
from modelfetch.store.slots import Slot, clear, read_journal, slots

Cancelled = Callable[[], bool]


def open_partial(
    disk: Disk, root: Path, folder: Path, file: FileSpec, *, exclusive: bool, cancelled: Cancelled
) -> Partial:
    """Open the partial of a file, with all good bytes of earlier runs.

    Args:
        disk: The disk.
        root: The cache root.
        folder: The partial's directory.
        file: What it is to become.
        exclusive: Whether the blob's lock is held and really excludes others.
        cancelled: Asked while earlier bytes are hashed. Once it says yes the partial opens with those checked
            so far; on disk nothing is lost.

    Raises:
        StoreError: The disk refused.
    """
    make_directories(disk, root, folder, durable=False)
    plain = Slot(folder)
    if exclusive and (taken := _take_over(disk, plain, file, cancelled)):
        return taken
    found = slots(disk, folder)
    own = plain if exclusive and plain not in found else Slot(folder, f"-{tag()}")
    partial = Partial(disk, file, own, *create_files(disk, own, file), exclusive=exclusive)
    try:
        _copy_best(disk, partial, found, cancelled)
    except BaseException:
        partial.close()
        raise
    if not cancelled():
        clear(disk, folder, exclusive=exclusive, keep=own)
    return partial


def _take_over(disk: Disk, slot: Slot, file: FileSpec, cancelled: Cancelled) -> Partial | None:
    """Go on in a dead run's file; None where there is none that may be taken."""
    with ExitStack() as undo:
        data = disk.open_to_update(slot.data)
        if data is None:
            return None
        undo.callback(disk.close, data, slot.data)
        journal = disk.open_to_update(slot.journal) if _is_ours(disk, data, slot.data) else None
        if journal is None:
            return None
        undo.callback(disk.close, journal, slot.journal)
        content = read_journal(disk, slot)
        if is_foreign(content):
            return None
        disk.truncate(data, slot.data, file.size)
        prefix = rehash(bind(disk.read, data, slot.data), parse(content, file).checkpoints, cancelled)
        partial = Partial(disk, file, slot, data, JournalFile(disk, slot, journal, file), exclusive=True)
        if prefix.checkpoints:
            partial.resume(prefix)
        elif not cancelled():
            partial.restart()
        undo.pop_all()
        return partial


def _is_ours(disk: Disk, fd: int, path: Path) -> bool:
    """Whether a file has this one name, and no other user can change it behind our back as its owner."""
    found = disk.fstat(fd, path)
    return found.st_nlink == 1 and (sys.platform == "win32" or found.st_uid == os.geteuid())


def _copy_best(disk: Disk, partial: Partial, found: list[Slot], cancelled: Cancelled) -> None:
    """Copy the good prefix of the file that claims most, or of the next one where that claim is false."""
    journals = [(parse(read_journal(disk, slot), partial.file), slot) for slot in found]
    for journal, slot in sorted(journals, key=lambda pair: pair[0].claimed, reverse=True):
        if journal.claimed and not partial.length:
            _copy(disk, partial, slot, cancelled)


def _copy(disk: Disk, partial: Partial, slot: Slot, cancelled: Cancelled) -> None:
    prefix = _read_prefix(disk, slot, partial.file, cancelled)
    fd = disk.open_to_read(slot.data)
    if fd is None:
        return
    with closing(disk, fd, slot.data):
        read = bind(disk.read, fd, slot.data)
        for checkpoint in prefix.checkpoints:
            for block in blocks(read, checkpoint.length - partial.length, cancelled):
                partial.write(block, checkpoint.origin)
    if not cancelled() and partial.digest() != prefix.hasher.hexdigest():
        partial.restart()  # its writer lives, and began again while we read


def _read_prefix(disk: Disk, slot: Slot, file: FileSpec, cancelled: Cancelled) -> Prefix:
    fd = disk.open_to_read(slot.data)
    if fd is None:
        return Prefix()
    with closing(disk, fd, slot.data):
        checkpoints = parse(read_journal(disk, slot), file).checkpoints
        return rehash(bind(disk.read, fd, slot.data), checkpoints, cancelled)

"""Whether a process of this machine is fetching a file into this cache, and how far it is.

``serve --share`` answers other machines with it, so that they wait instead of reading the origin too. Nothing
but names and numbers is read, and nothing of it decides what bytes are right: any user of a shared cache may
plant what lies here. The order of the checks keeps them cheap, because any client can ask for any digest::

    locks/blob-<sha256>.lock.holder   the note of a process that holds the lock; without it, nothing follows.
                                      It also says whether that process only asks other machines yet
    locks/blob-<sha256>.lock          whether the lock is really held: the note of a killed process stays
    partial/<sha256>/data             bytes that are there: the blocks of the file, which has holes

A file of a batch of small files has no lock and no partial, so it never counts as in progress.
"""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from modelfetch.errors import StoreError
from modelfetch.store.disk import Disk
from modelfetch.store.files import read_small
from modelfetch.store.layout import Layout, is_digest
from modelfetch.store.locks import HOLDER_LIMIT, NOTE

if TYPE_CHECKING:
    from pathlib import Path

MOST_RANGES: Final = 64
"""Most ranges of a file in progress that a server tells a peer. A file is fetched over a few connections, so
it has about as many; 64 of a file of 10 TB take 2 kB."""
_BLOCK: Final = 512
"""Bytes of a unit of ``st_blocks`` (stat(3type)), whatever the file system uses."""


class InProgress(NamedTuple):
    """A file that is being fetched."""

    received: int
    """Bytes that are there, rounded to the blocks of the file system; 0 where that is unknown."""
    size: int
    """Bytes in all; 0 before the first byte."""
    begun: float | None
    """Seconds since the process began to fetch it; None while it asks other machines who has the file."""


@lru_cache(maxsize=8)
def _opened(root: Path) -> tuple[Disk, Layout]:
    """Return the disk operations and the paths of a cache; a server asks again and again."""
    disk = Disk(fsync=False)
    disk.guard(root)
    return disk, Layout(root)


def data_path(root: Path, sha256: str) -> Path:
    """Return where the bytes of a file are while a process fetches it.

    Args:
        root: The cache root; absolute.
        sha256: Digest of the file.
    """
    return _opened(root)[1].partial(sha256) / "data"


def in_progress(root: Path, sha256: str) -> InProgress | None:
    """Return the progress of the process that is fetching a file.

    Args:
        root: The cache root; absolute.
        sha256: Digest of the file, as a client sent it.

    Returns:
        None if no process is fetching it, or that cannot be found out.
    """
    if not is_digest(sha256):
        return None
    disk, layout = _opened(root)
    lock, data = layout.blob_lock(sha256), data_path(root, sha256)
    note = lock.with_name(f"{lock.name}{NOTE}")
    try:
        # The note first: without it the lock is not touched, and a test of a lock that is free could make a
        # process that wants it at that moment wait for a tenth of a second.
        written = disk.lstat(note)
        if written is None or not disk.is_locked(lock):
            return None
        begun = None if _is_asking(disk, note) else max(0.0, time.time() - written.st_mtime)
        found = disk.lstat(data)
    except StoreError:
        return None
    if found is None:
        return InProgress(0, 0, begun)
    received = min(found.st_size, getattr(found, "st_blocks", 0) * _BLOCK)
    return InProgress(received, found.st_size, begun)


def _is_asking(disk: Disk, note: Path) -> bool:
    """Return whether the holder of a lock asks other machines before it fetches the file."""
    try:
        facts = json.loads(read_small(disk, note, HOLDER_LIMIT) or b"")
    except (ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and facts.get("asking") is True

"""Removes versions, partials, quarantine entries and unused blobs, and counts what each removal frees.

A dry run does the same on paper: it remembers the names that would be gone, and asks no lock to be created.
So both remove the same, in the same order, and count the same bytes. The order within a version is that of
:mod:`modelfetch.store.remove`: the receipt first, so that a killed run leaves no receipt without its files.

An inode counts when its last name goes. Names outside of the cache, such as those in the Hugging Face cache,
are in its link count: what they hold is not freed, and neither is what clones of a file hold. What another
process holds a lock on is skipped.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.store.file_extents import ASKED_FROM
from modelfetch.store.files import best_effort, is_directory
from modelfetch.store.journal_format import is_foreign
from modelfetch.store.locks import Lock
from modelfetch.store.partial_slots import Slot, discard, read_journal, slots
from modelfetch.store.survey import Survey, walk
from modelfetch.store.temporary import is_old, maker
from modelfetch.store.usage import allocated, inode_of

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout
    from modelfetch.store.receipt import ReceiptFile


class BusyError(Exception):
    """Another process uses what was to be removed; the text names it."""


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """One removal."""

    paths: tuple[Path, ...]
    """The removed files, in their order."""
    freed: int
    """Bytes of disk space."""
    skipped: tuple[str, ...] = ()
    """Digests of blobs that stayed because another process uses them."""


class Reclaimer:
    """Removes parts of a cache, one after the other, or computes what that would free.

    Args:
        disk: The disk.
        layout: The cache.
        seen: Its present content.
        dry_run: Whether nothing is removed.
    """

    def __init__(self, disk: Disk, layout: Layout, seen: Survey, *, dry_run: bool) -> None:
        self._disk = disk
        self._layout = layout
        self._dry_run = dry_run
        self._versions = {(each.name, each.label): each for each in seen.versions}
        self._uses = Counter(
            digest for each in seen.versions if each.receipt for digest in _digests(each.receipt.files)
        )
        self._names = Counter(seen.names)
        self._links = dict(seen.links)
        self._digests = seen.digests
        self._accessed = seen.accessed
        self._copies = Counter(seen.copies)
        self._gone: set[Path] = set()
        """Names that a dry run has removed."""
        self._clones: set[int] = set()
        """Places on the disk of removed files that are shared."""
        self._paths: list[Path] = []
        self._freed = 0

    def version(self, name: str, label: str) -> Reclaimed:
        """Remove one version of a model, and the blobs that no other version uses.

        Raises:
            BusyError: Another process works on the model, or did so since the survey.
        """
        skipped = []
        with self._locked(self._layout.model_lock(name)):
            receipt = self._layout.receipt(name, label)
            files = self._listed(self._layout.version(name, label))
            seen = self._versions.get((name, label))
            # Under the lock only: before it, the run that makes the version complete may still be under way.
            if seen is not None and _latest([*files, *self._listed(receipt)]) > seen.changed:
                raise BusyError("a run that used it meanwhile")
            is_incomplete = seen is not None and seen.receipt is None
            for path in (self._layout.stamp(name), receipt):
                self._remove(path)
            digests = _digests(seen.receipt.files) if seen is not None and seen.receipt is not None else set()
            self._uses.subtract(digests)
            for path, found in files:
                if stat.S_ISDIR(found.st_mode):
                    self._remove_directory(path)
                elif self._remove(path):
                    self._names[inode_of(found)] -= 1
                    self._copies[found.st_size] -= bool(self._copies[found.st_size]) and is_incomplete
                    # An incomplete version has no receipt: its blobs are known by their inodes only.
                    digests |= {self._digests[inode_of(found)]} if inode_of(found) in self._digests else set()
            self._remove_directory(self._layout.model(name))
            for digest in sorted(digests):
                try:
                    self._blob(digest)
                except BusyError:
                    skipped.append(digest)
        return self.take(skipped)

    def blob(self, digest: str) -> Reclaimed:
        """Remove a blob and its chunk map, unless a model uses it.

        Raises:
            BusyError: Another process works with it.
        """
        self._blob(digest)
        return self.take()

    def partial(self, digest: str) -> Reclaimed:
        """Remove the partials of a digest, except those that another process may be writing.

        Raises:
            BusyError: Another process downloads it.
        """
        folder = self._layout.partial(digest)
        with self._locked(self._layout.blob_lock(digest)) as lock:
            for slot in slots(self._disk, folder):
                self._slot(slot, lock)
            self._remove_directory(folder)
        return self.take()

    def quarantined(self, name: str) -> Reclaimed:
        """Remove a quarantine entry; one that another process is about to fill stays."""
        entry = self._layout.quarantine / name
        if is_directory(self._disk, entry):
            # The reason is written before the bytes are moved in: without bytes the entry may be just begun.
            data = self._disk.lstat(entry / "data")
            if data is not None or is_old(self._disk.lstat(entry)):
                for part in ("data", "reason.json"):
                    self._remove(entry / part)
                self._remove_directory(entry)
        return self.take()

    def _blob(self, digest: str) -> None:
        """Remove a blob that no model uses, and its chunk map, also one whose blob is gone already."""
        path, chunk_map = self._layout.blob(digest), self._layout.chunk_map(digest)
        found = self._disk.lstat(path)
        if self._uses[digest] or (found or self._disk.lstat(chunk_map)) is None:
            return
        # An executable file is a copy of its blob, and its model has no receipt before the run ends.
        if found is not None and (self._names[inode_of(found)] or self._copies[found.st_size]):
            return
        with self._locked(self._layout.blob_lock(digest)):
            if not self._dry_run and self._was_placed(path):
                raise BusyError(digest)
            self._remove(path)
            with best_effort(self._disk):  # nothing depends on a map, which may be of another user
                self._remove(chunk_map)

    def _was_placed(self, blob: Path) -> bool:
        """Whether a run has placed a blob in a model since the survey; to be asked under the blob's lock."""
        found = self._disk.lstat(blob)
        if found is None:
            return False
        inode = inode_of(found)
        # A link adds to the link count, a copy sets the access time.
        return (
            found.st_nlink > self._links.get(inode, found.st_nlink)
            or self._accessed.get(inode, found.st_atime_ns) != found.st_atime_ns
        )

    def _slot(self, slot: Slot, lock: Lock) -> None:
        own = [slot.data, slot.journal]
        if self._dry_run:
            is_alive = bool(slot.suffix) and maker(slot.suffix[1:]) == "alive"
            if not is_alive and not is_foreign(read_journal(self._disk, slot)):
                # Best effort, as in a run: what cannot be removed shows with the directory.
                with suppress(StoreError):
                    for path in own:
                        self._remove(path)
            return
        found = [(path, self._disk.lstat(path)) for path in own]
        if discard(self._disk, slot, exclusive=lock.effective):
            for path, state in found:
                if state is not None:
                    self._paths.append(path)
                    self._freed += allocated(state) if state.st_nlink <= 1 else 0

    @contextmanager
    def _locked(self, path: Path) -> Iterator[Lock]:
        """Hold a lock; a dry run only looks whether a running process has noted that it holds it.

        Raises:
            BusyError: Another process holds it.
        """
        with Lock(self._disk, self._layout.root, path) as lock:
            is_noted = lock.holder_pid() is not None  # read first: our own note replaces that of the holder
            is_free = not is_noted
            if not self._dry_run:
                # Where a lock excludes no one, as in the cache of another user, only the note is evidence.
                is_free = lock.try_acquire() and (lock.effective or not is_noted)
            if not is_free:
                raise BusyError(lock.holder())
            yield lock

    def _listed(self, directory: Path) -> list[tuple[Path, os.stat_result]]:
        with self._disk.reuse_directories(only_looks=True):
            return list(walk(self._disk, directory))

    def _remove(self, path: Path) -> bool:
        """Remove a name, and count its space if it is the last one of its inode."""
        found = self._disk.lstat(path)
        if found is None or path in self._gone or stat.S_ISDIR(found.st_mode):
            return False
        inode = inode_of(found)
        # A dry run has removed names that are still on the disk.
        expected = self._links.get(inode, found.st_nlink)
        left = expected if self._dry_run else found.st_nlink
        # Asked before, as an unlinked file cannot be opened. A small file is not worth the question.
        held = self._held_by_clones(path) if left <= 1 and found.st_size >= ASKED_FROM else 0
        if self._dry_run:
            self._disk.check_removable(path, found)
            self._gone.add(path)
        elif not self._disk.unlink(path):
            return False
        self._links[inode] = expected - 1
        if left <= 1:
            self._freed += max(0, allocated(found) - held)
        self._paths.append(path)
        return True

    def _held_by_clones(self, path: Path) -> int:
        """Bytes that stay on the disk because clones of a file have them.

        The clone may be in this cache, as with an executable file and its blob, and then goes as well: the
        second file at one place on the disk frees it. The file system itself may know that only later.
        """
        shared, place = self._disk.shared(path)
        if not shared or place in self._clones:
            return 0
        self._clones.add(place)
        return shared

    def _remove_directory(self, directory: Path) -> None:
        """Remove a directory if it is empty by now."""
        found = self._disk.lstat(directory)
        if found is None or not stat.S_ISDIR(found.st_mode) or directory in self._gone:
            return
        if self._dry_run:
            self._disk.check_removable(directory, found)  # first, as rmdir(2) does
            if any(directory / name not in self._gone for name in self._disk.names(directory)):
                return
            self._gone.add(directory)
        elif not self._disk.rmdir(directory):
            return
        self._freed += allocated(found)

    def take(self, skipped: Sequence[str] = ()) -> Reclaimed:
        """Return what was removed since the last call: after an error, the part that was done."""
        result = Reclaimed(tuple(self._paths), self._freed, tuple(skipped))
        self._paths, self._freed = [], 0
        return result


def _latest(listed: Sequence[tuple[Path, os.stat_result]]) -> float:
    """Time of the latest change, as the survey computes it; 0 if there is nothing."""
    return max((found.st_mtime for _, found in listed), default=0.0)


def _digests(files: Sequence[ReceiptFile]) -> set[str]:
    return {file.sha256 for file in files}

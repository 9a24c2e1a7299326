"""Taking a model away: its receipt first, so that it is gone at once, then what only it used."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from modelfetch.errors import LockTimeoutError
from modelfetch.model.paths import why_bad_version
from modelfetch.store.disk import Disk
from modelfetch.store.files import has_real_directory, is_plain
from modelfetch.store.layout import Layout
from modelfetch.store.locks import Lock
from modelfetch.store.receipt import Receipt
from modelfetch.values import dataclass

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Removal:
    """What was, or would be, removed."""

    name: str
    versions: tuple[str, ...]
    """Those that were there, finished or not."""
    paths: tuple[Path, ...]
    """Files, in the order of removal."""
    freed: int
    """Bytes of disk space; a file that keeps another name elsewhere frees none."""

    def document(self) -> dict[str, object]:
        """Give all of it as values for JSON."""
        return {**asdict(self), "paths": [str(path) for path in self.paths]}


class Remover:
    """Finds and removes what belongs to versions of one model only."""

    def __init__(self, disk: Disk, layout: Layout, name: str, receipts: Iterable[Receipt]) -> None:
        self._disk = disk
        self._layout = layout
        self._name = name
        self._receipts = tuple(receipts)

    def remove(self, version: str | None, digests: Iterable[str], *, dry_run: bool) -> Removal:
        """Remove one version, or all of them; see :meth:`modelfetch.store.Store.remove`."""
        with ExitStack() as locks:
            if not dry_run:
                self._lock_model(locks)
            versions = [found for found in self._versions() if version in (None, found)]
            shared = {*digests, *self._digests_of(versions)} - self._digests_of_others(versions)
            unused = [digest for digest in sorted(shared) if dry_run or self._lock(digest, locks)]
            own = [*self._receipt_files(versions), *self._model_files(versions)]
            paths = [*own, *self._blobs(unused, versions), *self._partials(unused)]
            removal = Removal(self._name, tuple(versions), tuple(paths), self._freed(paths))
            if not dry_run:
                self._act(removal, unused)
        return removal

    def _versions(self) -> list[str]:
        """Every version with a directory or a receipt."""
        if not has_real_directory(self._disk, self._layout.root, self._layout.model(self._name)):
            return []
        names = self._disk.names(self._layout.model(self._name))
        return sorted({stem for name in names if not why_bad_version(stem := name.removesuffix(".json"))})

    def _lock_model(self, locks: ExitStack) -> None:
        lock = Lock(self._disk, self._layout.root, self._layout.model_lock(self._name))
        if not lock.try_acquire():
            raise LockTimeoutError(
                f"{self._name} is in use by {lock.holder()}",
                hint="Wait for that process or end it, then try again.",
            )
        locks.enter_context(lock)

    def _lock(self, digest: str, locks: ExitStack) -> bool:
        """Keep others from using a blob while it goes; one in use by another process stays."""
        lock = Lock(self._disk, self._layout.root, self._layout.blob_lock(digest))
        return lock.try_acquire() and bool(locks.enter_context(lock))

    def _digests_of(self, versions: list[str]) -> set[str]:
        return {
            file.sha256
            for receipt in self._receipts
            if self._is_going(receipt, versions)
            for file in receipt.files
        }

    def _digests_of_others(self, versions: list[str]) -> set[str]:
        others = (receipt for receipt in self._receipts if not self._is_going(receipt, versions))
        return {file.sha256 for receipt in others for file in receipt.files}

    def _is_going(self, receipt: Receipt, versions: list[str]) -> bool:
        return receipt.name == self._name and receipt.version in versions

    def _receipt_files(self, versions: list[str]) -> list[Path]:
        receipts = [self._layout.receipt(self._name, version) for version in versions]
        stamp = [self._layout.stamp(self._name)] if versions else []
        return [path for path in (*stamp, *receipts) if is_plain(self._disk, path)]

    def _model_files(self, versions: list[str]) -> Iterator[Path]:
        for version in versions:
            yield from self._files_below(self._layout.version(self._name, version))

    def _files_below(self, path: Path) -> Iterator[Path]:
        """A name, or every name below it, that is not itself a directory; links are not followed."""
        found = self._disk.lstat(path)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            yield path
        for entry in self._entries(path):
            yield from self._files_below(entry)

    def _entries(self, directory: Path) -> list[Path]:
        found = self._disk.lstat(directory)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return []
        return [directory / name for name in self._disk.names(directory)]

    def _blobs(self, digests: list[str], versions: list[str]) -> list[Path]:
        """Those blobs that are no file of another model, finished or not."""
        used = set(self._inodes_of_others(versions))
        found = ((path, self._disk.lstat(path)) for path in map(self._layout.blob, digests))
        return [path for path, state in found if state is not None and _inode(state) not in used]

    def _inodes_of_others(self, versions: list[str]) -> Iterator[Inode]:
        going = {self._layout.version(self._name, version) for version in versions}
        for model in self._entries(self._layout.models):
            for version in self._entries(model):
                if version not in going:
                    yield from (
                        _inode(state)
                        for path in self._files_below(version)
                        if (state := self._disk.lstat(path))
                    )

    def _partials(self, digests: list[str]) -> Iterator[Path]:
        for digest in digests:
            yield from self._files_below(self._layout.partial(digest))

    def _freed(self, paths: list[Path]) -> int:
        states = [state for path in paths if (state := self._disk.lstat(path)) is not None]
        going = Counter(map(_inode, states))
        last = {_inode(state): state for state in states if going[_inode(state)] >= state.st_nlink}
        return sum(map(_allocated, last.values()))

    def _act(self, removal: Removal, digests: list[str]) -> None:
        for path in removal.paths:
            self._disk.unlink(path)
        for version in removal.versions:
            self._prune(self._layout.version(self._name, version))
        for digest in digests:
            self._prune(self._layout.partial(digest))
        self._disk.rmdir(self._layout.model(self._name))

    def _prune(self, directory: Path) -> None:
        """Remove a directory and those below it, as far as they are empty."""
        for entry in self._entries(directory):
            self._prune(entry)
        self._disk.rmdir(directory)


def _inode(state: os.stat_result) -> Inode:
    return state.st_dev, state.st_ino


def _allocated(state: os.stat_result) -> int:
    """Bytes on the disk; holes of a partial take none. ``st_blocks`` counts 512 bytes each (POSIX)."""
    blocks = getattr(state, "st_blocks", None)
    return state.st_size if blocks is None else min(state.st_size, blocks * 512)

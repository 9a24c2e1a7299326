"""Removes models: the receipt first, so that the model is absent at once, then what only it used.

If a run is killed in between, no receipt lists a file that is gone. Blobs and partials are shared by digest,
so they are removed only if no other model needs them, and only while the lock of that digest is held. A blob
is kept, too, if a file of another model is a hard link to it, even without a receipt.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.errors import LockTimeoutError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.paths import DEPTH, why_bad_label
from modelfetch.store.file_extents import ASKED_FROM
from modelfetch.store.files import (
    best_effort,
    has_real_directory,
    is_directory,
    is_regular,
    report_left_alone,
)
from modelfetch.store.locks import Lock

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout
    from modelfetch.store.receipt import Receipt

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Removal:
    """The result of a removal, or of a dry run."""

    name: str
    versions: tuple[str, ...]
    """The versions that existed, finished or not."""
    paths: tuple[Path, ...]
    """Files, in the order of removal."""
    freed: int
    """Bytes of disk space freed; what another name or a clone has stays."""


@dataclass(frozen=True, slots=True)
class _FileState:
    inode: Inode
    names: int
    """Its number of links."""
    allocated: int
    """Bytes on the disk."""
    accessed: int
    """Access time in nanoseconds since 1970; a run that copies the file sets it."""
    shared: tuple[int, int]
    """Bytes that clones of it have, too, and where they are on the disk: see :meth:`Disk.shared`."""


class Remover:
    """Finds and removes what belongs only to certain versions of one model."""

    def __init__(
        self,
        disk: Disk,
        layout: Layout,
        name: str,
        receipts: Iterable[Receipt],
        earlier: Sequence[Removal] = (),
    ) -> None:
        """Prepare the removal of a model.

        Args:
            disk: The disk.
            layout: The cache.
            name: The model.
            receipts: All receipts of the cache.
            earlier: Results of dry runs: what they list counts as removed.
        """
        self._gone = {(each.name, version) for each in earlier for version in each.versions}
        self._gone_paths = [path for each in earlier for path in each.paths]
        receipts = (each for each in receipts if (each.name, each.label) not in self._gone)
        self._disk = disk
        self._layout = layout
        self._name = name
        self._receipts = tuple(receipts)

    def remove(self, version: str | None, digests: Iterable[str], *, dry_run: bool) -> Removal:
        """Remove one version, or all of them; see :meth:`modelfetch.store.Store.remove`."""
        with ExitStack() as locks:
            if not dry_run:
                self._lock_model(locks)
            with self._disk.reuse_directories():
                versions = [found for found in self._versions() if version in (None, found)]
                shared = {*digests, *self._digests_of(versions)} - self._digests_of_others(versions)
                own = [*self._receipt_files(versions), *self._model_files(versions)]
                stored = self._stored(sorted(shared), versions)
                states = self._file_states([*own, *chain.from_iterable(stored.values())])
            if not dry_run:
                stored = self._delete(versions, own, stored, states)
        paths = (*own, *chain.from_iterable(stored.values()))
        gone = Counter(state.inode for state in self._file_states(self._gone_paths).values())
        return Removal(self._name, tuple(versions), paths, _freed(paths, states, gone))

    def _versions(self) -> list[str]:
        """Every version with a directory or a receipt."""
        if not has_real_directory(self._disk, self._layout.root, self._layout.model(self._name)):
            return []
        names = self._disk.names(self._layout.model(self._name))
        return sorted({stem for name in names if not why_bad_label(stem := name.removesuffix(".json"))})

    def _lock_model(self, locks: ExitStack) -> None:
        lock = Lock(self._disk, self._layout.root, self._layout.model_lock(self._name))
        if not lock.try_acquire():
            raise LockTimeoutError(
                f"{self._name} is in use by {lock.holder()}",
                hint="Wait for that process or end it, then try again.",
            )
        locks.enter_context(lock)

    def _digests_of(self, versions: list[str]) -> set[str]:
        return {
            file.sha256
            for receipt in self._receipts
            if self._is_removed(receipt, versions)
            for file in receipt.files
        }

    def _digests_of_others(self, versions: list[str]) -> set[str]:
        others = (receipt for receipt in self._receipts if not self._is_removed(receipt, versions))
        return {file.sha256 for receipt in others for file in receipt.files}

    def _is_removed(self, receipt: Receipt, versions: list[str]) -> bool:
        return receipt.name == self._name and receipt.label in versions

    def _receipt_files(self, versions: list[str]) -> list[Path]:
        receipts = [self._layout.receipt(self._name, version) for version in versions]
        stamp = [self._layout.stamp(self._name)] if versions else []
        return [path for path in (*stamp, *receipts) if is_regular(self._disk, path)]

    def _model_files(self, versions: list[str]) -> Iterator[Path]:
        for version in versions:
            yield from self._files_below(self._layout.version(self._name, version))

    def _files_below(self, path: Path, depth: int = DEPTH) -> Iterator[Path]:
        """Yield a path, or all paths below it, that are no directories; links are not followed.

        A model's files are never deeper than its paths may be: a deeper directory is reported and kept.
        """
        found = self._disk.lstat(path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            yield from [path] if found is not None else []
        elif not depth:
            report_left_alone(self._disk, path)
        else:
            for name in self._disk.names(path):
                yield from self._files_below(path / name, depth - 1)

    def _entries(self, directory: Path) -> list[Path]:
        if not is_directory(self._disk, directory):
            return []
        return [directory / name for name in self._disk.names(directory)]

    def _stored(self, digests: list[str], versions: list[str]) -> dict[str, list[Path]]:
        """By digest: its blob and chunk map, unless a model that stays uses the inode, and its partials."""
        used = set(self._inodes_of_others(versions))
        return {
            digest: [*self._blob(digest, used), *self._files_below(self._layout.partial(digest))]
            for digest in digests
        }

    def _blob(self, digest: str, used: Collection[Inode]) -> Iterator[Path]:
        path = self._layout.blob(digest)
        state = self._disk.lstat(path)
        if state is not None and _inode(state) in used:
            return
        if state is not None:
            yield path
        yield from self._chunk_map(self._layout.chunk_map(digest))

    def _chunk_map(self, path: Path) -> Iterator[Path]:
        """Yield a chunk map if it can be removed: it may be of another user, and nothing depends on it."""
        with best_effort(self._disk):
            found = self._disk.lstat(path)
            if found is not None and not stat.S_ISDIR(found.st_mode):
                self._disk.check_removable(path, found)
                yield path

    def _inodes_of_others(self, versions: list[str]) -> Iterator[Inode]:
        removed = {self._layout.version(self._name, version) for version in versions}
        removed |= {self._layout.version(*each) for each in self._gone}
        for model in self._entries(self._layout.models):
            for version in self._entries(model):
                if version not in removed:
                    yield from (
                        _inode(state)
                        for path in self._files_below(version)
                        if (state := self._disk.lstat(path))
                    )

    def _file_states(self, paths: Iterable[Path]) -> dict[Path, _FileState]:
        """Inspect each path before it is removed."""
        found: dict[Path, _FileState] = {}
        shared: dict[Inode, tuple[int, int]] = {}
        for path in paths:
            state = self._disk.lstat(path)
            if state is None:
                continue
            inode = _inode(state)
            if inode not in shared:
                shared[inode] = self._disk.shared(path) if state.st_size >= ASKED_FROM else (0, 0)
            found[path] = _FileState(
                inode, state.st_nlink, _allocated(state), state.st_atime_ns, shared[inode]
            )
        return found

    def _delete(
        self,
        versions: Iterable[str],
        own: Iterable[Path],
        stored: Mapping[str, list[Path]],
        states: Mapping[Path, _FileState],
    ) -> dict[str, list[Path]]:
        """Remove the files; returns the blobs and partials that were removed, by digest."""
        for path in own:  # the receipts come first: from then on the model counts as absent
            self._disk.unlink(path)
        for version in versions:
            self._prune(self._layout.version(self._name, version))
        removed = Counter(states[path].inode for path in own if path in states)
        gone = {}
        for digest, paths in stored.items():
            left = {
                path: (states[path].names - removed[states[path].inode], states[path].accessed)
                for path in paths
                if path in states
            }
            if self._remove_stored(digest, left):
                gone[digest] = paths
        self._disk.rmdir(self._layout.model(self._name))
        return gone

    def _remove_stored(self, digest: str, expected: Mapping[Path, tuple[int, int]]) -> bool:
        """Remove a blob and its partials, unless another process uses them; whether they are gone.

        Args:
            digest: The digest.
            expected: The paths, and for each file its number of links and its access time if no other process
                has placed it.

        Only this digest's lock is held: a model may have more files than a process may open.
        """
        with Lock(self._disk, self._layout.root, self._layout.blob_lock(digest)) as lock:
            if not lock.try_acquire():
                return False
            # More links, or another access time: a run has placed the blob in a model since it was inspected,
            # as a link or as a copy.
            for path, (links, accessed) in expected.items():
                state = self._disk.lstat(path)
                if state is not None and (state.st_nlink > links or state.st_atime_ns != accessed):
                    return False
            for path in expected:
                self._disk.unlink(path)
            self._prune(self._layout.partial(digest))
        return True

    def _prune(self, directory: Path, depth: int = DEPTH) -> None:
        """Remove empty directories from the bottom up, no deeper than a model's paths may be."""
        for entry in self._entries(directory) if depth else ():
            self._prune(entry, depth - 1)
        self._disk.rmdir(directory)


def _freed(paths: Iterable[Path], states: Mapping[Path, _FileState], gone: Mapping[Inode, int]) -> int:
    """Bytes that are freed: those of inodes that lose all of their names.

    Args:
        paths: The removed paths.
        states: Their states before.
        gone: Names that earlier dry runs have removed, by inode.
    """
    found = [states[path] for path in paths if path in states]
    removed = Counter(gone) + Counter(state.inode for state in found)
    last = {state.inode: state for state in found if removed[state.inode] >= state.names}
    # Of two files with a common place on the disk, as a blob and its executable copy, the second frees it.
    held = {state.shared[1]: state.shared[0] for state in last.values()}
    return sum(state.allocated for state in last.values()) - sum(held.values())


def _inode(state: os.stat_result) -> Inode:
    return state.st_dev, state.st_ino


def _allocated(state: os.stat_result) -> int:
    """Bytes on the disk, without the holes of a partial. ``st_blocks`` counts units of 512 bytes (POSIX)."""
    blocks = getattr(state, "st_blocks", None)
    return state.st_size if blocks is None else min(state.st_size, blocks * 512)

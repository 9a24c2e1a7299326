"""Stores many small files as a group, so that they share the waits for the disk.

The guarantees are those of a single commit: the bytes of every file are on the disk before the first file of
the group gets its final name, and names are on the disk before the commit returns. The order is::

    write every file under a temporary name     # read-only from the start
    sync every file                             # before the first rename
    rename each to its blob, by directory       # one directory sync for all files in it
    link each blob into the models
    remove the group's directory                # also after a failure
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.store.files import best_effort, closing, make_directories, make_directory
from modelfetch.store.layout import Layout, inside
from modelfetch.store.linking import install, may_link
from modelfetch.store.temporary import temporary_name

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.model_directories import Directories

Places = Sequence[tuple[Manifest, FileSpec]]
"""The models that need one digest, each with its own file entry."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A verified file without a final name."""

    file: FileSpec
    path: Path
    inode: tuple[int, int, int]
    """Device, inode and size of what was written."""
    blob: Path
    """Its final name among the blobs."""
    targets: tuple[Path, ...]
    """Its final names in the models that need it."""
    files: tuple[FileSpec, ...]
    """For each of these names, the file as the model's manifest describes it: only some may be executable."""


class GroupCommit:
    """A directory of files that are stored together; leaving a ``with`` block removes it.

    Several threads may call :meth:`write` at the same time; all other methods only one at a time.
    """

    def __init__(self, disk: Disk, layout: Layout, directories: Directories) -> None:
        """Create the group's directory.

        Args:
            disk: The disk.
            layout: The paths of the cache.
            directories: The directories of the models.

        Raises:
            StoreError: The disk refused.
        """
        self._disk = disk
        self._layout = layout
        self._directories = directories
        self._folder = layout.partials / temporary_name()
        self._made: set[Path] = set()
        """Directories that were created or checked already."""
        make_directories(disk, layout.root, self._folder, durable=False)
        # Kept open: checking the directory's path for each file would be a third of the work.
        self._unpin = disk.pin(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            remove_group(self._disk, self._folder)
        finally:
            self._unpin()

    def write(self, places: Places, data: bytes | bytearray) -> Staged | None:
        """Write a file if the data has its size and digest; None if not.

        Raises:
            StoreError: The disk refused.
        """
        file = places[0][1]
        if len(data) != file.size or not file.is_pinned(hashlib.sha256(data).hexdigest()):
            return None
        path = self._folder / file.sha256
        with closing(self._disk, self._disk.create_read_only(path), path) as fd:
            self._disk.pwrite(fd, path, memoryview(data), 0)
            found = self._disk.fstat(fd, path)
        targets = (inside(self._directories.path(manifest), each.path) for manifest, each in places)
        blob, files = self._layout.blob(file.sha256), tuple(each for _, each in places)
        return Staged(file, path, _inode(found), blob, tuple(targets), files)

    def commit(self, staged: Sequence[Staged]) -> list[Staged]:
        """Give files their final names, among the blobs and in the models.

        The names in the models are safe from a power cut once the receipt is written.

        Returns:
            The files that have all of their names. For the others, something else has or had one of the
            names.

        Raises:
            StoreError: The disk refused. Some files may have got names; their bytes are right.
        """
        with self._disk.reuse_directories():
            placed = {each.file.sha256 for each in self._commit(staged)}
        return [each for each in staged if each.file.sha256 in placed]

    def _commit(self, staged: Sequence[Staged]) -> Iterator[Staged]:
        """Commit in the order of digests, so that each of the 256 blob directories is opened once."""
        ordered = sorted(staged, key=lambda each: each.file.sha256)
        # Whether the temporary name still has the inode we wrote: only our own get a final name.
        found = {name: _inode(status) for name, status in self._disk.statuses(self._folder)}
        ready = [each for each in ordered if found.get(each.path.name) == each.inode]
        for each in ready:
            self._disk.sync_closed(each.path)
        self._make_directories(ready)
        for folder, group in groupby(ready, key=lambda each: each.blob.parent):
            yield from self._publish(folder, list(group))

    def _publish(self, folder: Path, group: Sequence[Staged]) -> list[Staged]:
        """Give files their names in one blob directory, then in the models."""
        new = [each for each in group if self._disk.lstat(each.blob) is None]
        for each in new:
            self._disk.rename(each.path, each.blob)
        self._disk.sync_directory(folder)
        return [each for each in new if self._place(each)]

    def _make_directories(self, ready: Sequence[Staged]) -> None:
        """Create missing directories; blob directories are many, so their parent is synced once for all."""
        disk, root, blobs = self._disk, self._layout.root, self._layout.blobs
        folders = {each.blob.parent for each in ready} - self._made
        if folders:
            make_directories(disk, root, blobs, durable=True)
            for folder in sorted(folders):
                make_directory(disk, folder)
            disk.sync_directory(blobs)
        above = {target.parent for each in ready for target in each.targets} - self._made
        for folder in sorted(above):
            make_directories(disk, root, folder, durable=True)
        self._made |= folders | above

    def _place(self, staged: Staged) -> bool:
        """Give a blob its names in the models; False if another file has one of them by now."""
        for target, file in zip(staged.targets, staged.files, strict=True):
            is_linked = self._disk.link_free(staged.blob, target) if may_link(file) else False
            if is_linked is None:
                return False
            if not is_linked:
                if self._disk.lstat(target) is not None:
                    return False
                install(self._disk, staged.blob, target, file)
        return True


def remove_group(disk: Disk, folder: Path) -> bool:
    """Remove the directory of a group, as far as permitted; whether it is gone."""
    with best_effort(disk):
        for name in disk.names(folder):
            disk.unlink(folder / name)
        return disk.rmdir(folder)
    return False


def _inode(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_dev, found.st_ino, found.st_size

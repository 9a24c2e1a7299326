"""Places verified bytes under the names that programs open: as a hard link, else a reflink, else a copy.

A hard link shares the blob's inode, which is read-only and synced. A reflink or copy is a new inode, so it is
made read-only and synced under a temporary name, then renamed. An executable file is never a hard link: its
mode would be that of the blob, and of every file of other models that shares it.

:class:`ForeignDirectory` places files in the directory of another program, such as the cache of the Hugging
Face libraries. There it adds what is missing, uses what is right, and replaces nothing.
"""

from __future__ import annotations

import hashlib
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import IntegrityError, StoreError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize
from modelfetch.store.files import closing, hash_file, is_regular, is_same_file, make_directories, read_blocks
from modelfetch.store.layout import Layout, inside, within
from modelfetch.store.temporary import temporary_name

if TYPE_CHECKING:
    import os

    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.store.disk import Disk
    from modelfetch.store.model_directories import Directories
    from modelfetch.store.quarantine import Quarantined


class ForeignDirectory:
    """Checks and places files in directories of other programs, with the bytes of one cache."""

    def __init__(self, disk: Disk, layout: Layout, directories: Directories) -> None:
        self._disk = disk
        self._layout = layout
        self._directories = directories

    def is_free(self, directory: Path, path: str, file: FileSpec) -> bool:
        """Check whether a file may be placed.

        Links are followed, as in the Hugging Face cache, whose snapshots are links to its blobs.

        Args:
            directory: The directory.
            path: Where the file would go below it.
            file: The file that is wanted there.

        Returns:
            Whether the name is free; False if it has the right bytes already.

        Raises:
            UsageError: The name has other bytes, or leads out of the directory.
        """
        target = within(directory.absolute(), path)
        if self._disk.stat(target) is None:  # absent, or a dangling link: there are no bytes to lose
            return True
        found = target.resolve()
        blob = self._layout.blob(file.sha256)
        if not (is_same_file(self._disk, blob, found) or has_bytes(self._disk, found, file)):
            raise UsageError(
                f"{sanitize(str(target))} already exists, and its bytes are not the pinned ones",
                hint="It is another program's file and is not replaced: move it, or omit --layout hf.",
            )
        return False

    def place(self, directory: Path, manifest: Manifest, file: FileSpec, path: str) -> None:
        """Place a verified file, unless it is there already.

        Args:
            directory: Created when missing.
            manifest: The model; its file is used where the blob is missing.
            file: One of its files.
            path: The path below the directory.

        Raises:
            UsageError: A different file has the name.
            StoreError: The disk refused.
        """
        top = directory.absolute()
        if not self.is_free(top, path, file):
            return
        target, held = within(top, path), self._layout.blob(file.sha256)
        if not is_regular(self._disk, held):
            held = inside(self._directories.path(manifest), file.path)
        make_directories(self._disk, top, target.parent, durable=True)
        if self._disk.lstat(target) is not None and self._disk.stat(target) is None:
            install(self._disk, held, target, file)  # a dangling link: replacing it loses no bytes
        elif not place_free(self._disk, held, target, file):
            self.is_free(top, path, file)  # another program was faster: raises if its bytes are wrong
        self._disk.sync_directory(target.parent)


_TRIES: Final = 10
"""Attempts to link a source that other processes are replacing; after that it is copied."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A file under its final name."""

    path: Path
    quarantined: Quarantined | None = None
    """The wrong file that had the name before, if it was quarantined."""
    cid: str = ""
    """The file's CID, if its chunk map was stored with it."""


def install(disk: Disk, source: Path, target: Path, file: FileSpec) -> None:
    """Give a target the bytes of a source, atomically replacing a file that has its name.

    Args:
        disk: The disk.
        source: Verified bytes.
        target: The new name; its directory exists.
        file: The size and digest the bytes must have.

    Raises:
        IntegrityError: The source turned out to be damaged while it was copied.
        StoreError: There is no source, or the disk refused.
    """
    found = _require_regular(disk, source, file)
    temporary = target.with_name(temporary_name())
    try:
        if not (may_link(file) and _link(disk, source, temporary)):
            _copy(disk, source, temporary, file)
            # A link shows in the link count that the blob is used. A copy does not, so a clean-up that runs
            # at the same time looks at this time.
            disk.mark_use(source, found)
        disk.rename(temporary, target)
    except BaseException:
        with suppress(StoreError):
            disk.unlink(temporary)
        raise
    # POSIX: rename does nothing if both names are links to one inode, which happens when another process
    # placed the file first. The temporary name then still exists.
    disk.unlink(temporary)


def place_free(disk: Disk, source: Path, target: Path, file: FileSpec) -> bool:
    """Give a target the bytes of a source, if its name is free; never replaces anything.

    Args:
        disk: The disk.
        source: Verified bytes.
        target: The new name; its directory exists.
        file: The size and digest the bytes must have.

    Returns:
        Whether the target now has these bytes.

    Raises:
        IntegrityError: The source turned out to be damaged while it was copied.
        StoreError: There is no source, or the disk refused.
    """
    _require_regular(disk, source, file)
    is_linked = disk.link_free(source, target) if may_link(file) else False
    # Without a hard link the name cannot be taken atomically: a look has to do, right before the rename.
    if is_linked is False and disk.lstat(target) is None:
        install(disk, source, target, file)
        return True
    return bool(is_linked) or is_same_file(disk, source, target) or has_bytes(disk, target, file)


def may_link(file: FileSpec) -> bool:
    """Whether a file may be a hard link to its blob; where modes mean nothing, an executable one may too."""
    return not file.executable or sys.platform == "win32"


def has_bytes(disk: Disk, path: Path, file: FileSpec) -> bool:
    """Whether a regular file has the pinned bytes; it is only read if its length is right."""
    found = disk.lstat(path)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        return False
    return file.is_pinned(hash_file(disk, path))


def _link(disk: Disk, source: Path, target: Path) -> bool:
    """Link like :meth:`Disk.link`, but retry while another process replaces the source by the same bytes.

    The kernel reports ENOENT for an inode that lost its last name after the lookup.
    """
    for _ in range(_TRIES):
        try:
            return disk.link(source, target)
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError) or disk.lstat(source) is None:
                raise
    return False


def _require_regular(disk: Disk, source: Path, file: FileSpec) -> os.stat_result:
    found = disk.lstat(source)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        raise StoreError(
            f"{sanitize(str(source))} is not the file that was stored there",
            hint="Another program changed the cache meanwhile; try again.",
        )
    return found


def _copy(disk: Disk, source: Path, target: Path, file: FileSpec) -> None:
    with closing(disk, disk.create(target), target) as fd:
        if not _clone(disk, source, fd, target):
            _copy_bytes(disk, source, fd, target, file)
        disk.seal(fd, target, executable=file.executable)
        # Before the rename, like a blob: the sync of the source does not cover this inode.
        disk.sync(fd, target)


def _clone(disk: Disk, source: Path, fd: int, target: Path) -> bool:
    opened = disk.open_to_read(source)
    if opened is None:
        return False
    with closing(disk, opened, source):
        return disk.reflink(fd, target, opened)


def _copy_bytes(disk: Disk, source: Path, fd: int, target: Path, file: FileSpec) -> None:
    hasher = hashlib.sha256()
    offset = 0
    for block in read_blocks(disk, source):
        disk.pwrite(fd, target, block, offset)
        hasher.update(block)
        offset += len(block)
    if not file.is_pinned(hasher.hexdigest(), offset):
        raise IntegrityError(
            f"{sanitize(str(source))} is damaged: its bytes are not those of {file.path}",
            hint="`modelfetch verify --repair` fetches it again.",
        )

"""Files in the directory of another program, such as the cache of the Hugging Face libraries.

There this program is a guest: it adds what is missing, uses what is right, and replaces nothing.

Putting verified bytes where a program opens them: hard link, else reflink, else copy.
"""

from __future__ import annotations

import hashlib
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import IntegrityError, StoreError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitise
from modelfetch.store.files import closing, hash_file, is_regular, is_same_file, make_directories, read_blocks
from modelfetch.store.layout import Layout, inside, within
from modelfetch.store.temporary import temporary_name

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.store.disk import Disk
    from modelfetch.store.model_directories import Directories
    from modelfetch.store.quarantine import Quarantined


class ForeignDirectory:
    """Looks and places there, with the bytes of one cache."""

    def __init__(self, disk: Disk, layout: Layout, directories: Directories) -> None:
        self._disk = disk
        self._layout = layout
        self._directories = directories

    def is_free(self, directory: Path, path: str, file: FileSpec) -> bool:
        """Look whether a file may be placed.

        Links are followed, as that program does: its snapshots are links to its blobs.

        Args:
            directory: The directory.
            path: Where the file would go below it.
            file: What it must be.

        Returns:
            Whether the name is free; False when the right bytes are there.

        Raises:
            UsageError: Something else has the name, or it leads out of the directory.
        """
        target = within(directory.absolute(), path)
        if self._disk.stat(target) is None:  # a link that leads nowhere holds nothing
            return True
        found = target.resolve()
        blob = self._layout.blob(file.sha256)
        if not (is_same_file(self._disk, blob, found) or has_bytes(self._disk, found, file)):
            raise UsageError(
                f"{sanitise(str(target))} is there already, and has other bytes than are pinned",
                hint="It is another program's file and stays: move it away, or leave --layout hf out.",
            )
        return False

    def place(self, directory: Path, manifest: Manifest, file: FileSpec, path: str) -> None:
        """Put a verified file there, if it is not there yet.

        Args:
            directory: Made when missing.
            manifest: The model; its file stands in where the blob is gone.
            file: One of its files.
            path: Where it goes below the directory.

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
            install(self._disk, held, target, file)
        elif not place_free(self._disk, held, target, file):
            self.is_free(top, path, file)  # another program was faster
        self._disk.sync_directory(target.parent)


_TRIES: Final = 10
"""How often a source is linked that is being replaced; after that it is copied."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A file under its final name."""

    path: Path
    quarantined: Quarantined | None = None
    """What had the name before, when its bytes were wrong and were put aside."""


def install(disk: Disk, source: Path, target: Path, file: FileSpec) -> None:
    """Give a target the bytes of a source, replacing at one instant what has its name.

    Args:
        disk: The disk.
        source: Verified bytes.
        target: Where they are to be found; its directory exists.
        file: What the bytes must be.

    Raises:
        IntegrityError: The source turned out to be damaged while it was copied.
        StoreError: There is no source, or the disk refused.
    """
    _require_regular(disk, source, file)
    temporary = target.with_name(temporary_name())
    try:
        if not _link(disk, source, temporary):
            _copy(disk, source, temporary, file)
        disk.rename(temporary, target)
    except BaseException:
        with suppress(StoreError):
            disk.unlink(temporary)
        raise
    # POSIX: rename does nothing when both names are one file, as after another process placed it first.
    disk.unlink(temporary)


def place_free(disk: Disk, source: Path, target: Path, file: FileSpec) -> bool:
    """Give a target the bytes of a source, if nothing else has its name; never replaces anything.

    Args:
        disk: The disk.
        source: Verified bytes.
        target: Where they are to be found; its directory exists.
        file: What the bytes must be.

    Returns:
        Whether the target has these bytes.

    Raises:
        IntegrityError: The source turned out to be damaged while it was copied.
        StoreError: There is no source, or the disk refused.
    """
    _require_regular(disk, source, file)
    is_linked = disk.link_free(source, target)
    if is_linked is False and disk.lstat(target) is None:
        install(disk, source, target, file)
        return True
    return bool(is_linked) or is_same_file(disk, source, target) or has_bytes(disk, target, file)


def has_bytes(disk: Disk, path: Path, file: FileSpec) -> bool:
    """Whether a regular file holds the bytes of a pinned one; it is read where its length is right."""
    found = disk.lstat(path)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        return False
    return hash_file(disk, path) == file.sha256


def _link(disk: Disk, source: Path, target: Path) -> bool:
    """Link like :meth:`Disk.link`, also while another process replaces the source by the same bytes.

    The kernel says ENOENT of a file that lost its last name since it was looked up.
    """
    for _ in range(_TRIES):
        try:
            return disk.link(source, target)
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError) or disk.lstat(source) is None:
                raise
    return False


def _require_regular(disk: Disk, source: Path, file: FileSpec) -> None:
    found = disk.lstat(source)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        raise StoreError(
            f"{sanitise(str(source))} is not the file that was stored there",
            hint="Something else changed the cache meanwhile; try again.",
        )


def _copy(disk: Disk, source: Path, target: Path, file: FileSpec) -> None:
    with closing(disk, disk.create(target), target) as fd:
        if not _clone(disk, source, fd, target):
            _copy_bytes(disk, source, fd, target, file)
        disk.seal(fd, target)
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
    if offset != file.size or hasher.hexdigest() != file.sha256:
        raise IntegrityError(
            f"{sanitise(str(source))} is damaged: its bytes are not those of {file.path}",
            hint="`modelfetch verify --repair` fetches it again.",
        )

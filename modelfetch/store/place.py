"""Putting verified bytes where a program opens them: hard link, else reflink, else copy."""

from __future__ import annotations

import hashlib
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from modelfetch.errors import IntegrityError, StoreError
from modelfetch.model.manifest import FileSpec
from modelfetch.model.text import sanitise
from modelfetch.store.disk import Disk
from modelfetch.store.files import closing, hash_file, is_same_file, read_blocks
from modelfetch.store.owner import temporary_name
from modelfetch.store.quarantine import Quarantined
from modelfetch.values import dataclass

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
    _require_plain(disk, source, file)
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
    _require_plain(disk, source, file)
    is_linked = disk.link_free(source, target)
    if is_linked is False and disk.lstat(target) is None:
        install(disk, source, target, file)
        return True
    return bool(is_linked) or is_same_file(disk, source, target) or has_bytes(disk, target, file)


def has_bytes(disk: Disk, path: Path, file: FileSpec) -> bool:
    """Whether a plain file holds the bytes of a pinned one; it is read where its length is right."""
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


def _require_plain(disk: Disk, source: Path, file: FileSpec) -> None:
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

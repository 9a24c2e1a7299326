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
from modelfetch.store.files import closing, read_blocks
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


def is_placed(disk: Disk, source: Path, target: Path) -> bool:
    """Whether a target is a name of the source's inode already."""
    held, found = disk.lstat(source), disk.lstat(target)
    return (
        held is not None and found is not None and (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)
    )


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
            hint="Something else changed the cache meanwhile; run the command again.",
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

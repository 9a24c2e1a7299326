"""Helpers built from several disk operations: directories, small files, and digests.

Directories below a root must be real directories, not links. Small files are written under a temporary name
and then renamed, so that readers see the old or the new content, never a part.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError
from modelfetch.model.text import sanitize
from modelfetch.store.dir_handles import LinkInPathError
from modelfetch.store.disk_errors import not_a_directory
from modelfetch.store.temporary import temporary_name

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk

BLOCK: Final = 1 << 20
"""Bytes read at a time. Anything from 16 KiB up hashes at the same speed (2 GB/s measured with SHA-NI)."""


def closing(disk: Disk, fd: int, path: Path) -> AbstractContextManager[int]:
    """Close a file at the end of a block; an error of the block takes precedence over one of the close."""
    return _Closing(disk, fd, path)


class _Closing:
    """See :func:`closing`. Entering a generator instead takes three times as long, for each small file."""

    __slots__ = ("_disk", "_fd", "_path")

    def __init__(self, disk: Disk, fd: int, path: Path) -> None:
        self._disk = disk
        self._fd = fd
        self._path = path

    def __enter__(self) -> int:
        return self._fd

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._disk.close(self._fd, self._path)
            return
        with suppress(StoreError):
            self._disk.close(self._fd, self._path)


def is_regular(disk: Disk, path: Path) -> bool:
    """Whether a path is a regular file: not absent, a link, a directory, or a device."""
    found = disk.lstat(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_directory(disk: Disk, path: Path) -> bool:
    """Whether a path is a directory itself: not absent, and not a link to one."""
    found = disk.lstat(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


@contextmanager
def best_effort(disk: Disk) -> Iterator[None]:
    """Ignore errors of a cleanup step; a link in place of a directory is reported."""
    try:
        yield
    except StoreError as error:
        if isinstance(error.__cause__, LinkInPathError):
            report_left_alone(disk, Path(error.__cause__.filename))


def list_if_possible(disk: Disk, directory: Path) -> list[tuple[str, bool]]:
    """List a directory like :meth:`.Disk.entries`; empty if it is a link, or another user's."""
    with best_effort(disk):
        return disk.entries(directory) if is_directory(disk, directory) else []
    return []


def report_left_alone(disk: Disk, path: Path) -> None:
    """Report a path in the cache that this program did not create, and does not change."""
    disk.notices.add(f"{sanitize(str(path))} was not made by modelfetch, so it is left alone: move it away")


def is_same_file(disk: Disk, one: Path, other: Path) -> bool:
    """Whether two paths exist and are names of one inode."""
    held, found = disk.lstat(one), disk.lstat(other)
    return (
        held is not None and found is not None and (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)
    )


def make_directories(disk: Disk, root: Path, path: Path, *, durable: bool) -> None:
    """Create a directory below a root, and the root itself, where they are missing.

    The root and the directories above it may be links, as the user chose. Below it only real directories are
    accepted: a link there would lead writes out of the root.

    Args:
        disk: The disk.
        root: The cache root, or a directory the user named.
        path: The root, or a path below it.
        durable: Whether new directories must survive a power cut; a new root always does.

    Raises:
        StoreError: A directory's name is a link or file, or the disk refused.
    """
    if path != root and _is_there(disk, path):
        return
    _make_root(disk, root)
    for directory in _below(root, path):
        found = disk.lstat(directory)
        if found is None:
            _make(disk, directory, durable=durable)
            found = disk.lstat(directory)
        _require_real(directory, found)


def make_directory(disk: Disk, directory: Path) -> None:
    """Create a directory where it is missing; the one above it was created or checked before.

    Raises:
        StoreError: Its name is a link or file, or the disk refused.
    """
    disk.mkdir(directory)
    _require_real(directory, disk.lstat(directory))


def _below(root: Path, path: Path) -> list[Path]:
    depth = len(path.relative_to(root).parts)
    return [path, *path.parents][:depth][::-1]


def _is_there(disk: Disk, path: Path) -> bool:
    """Whether a path below a root is a directory and contains no links."""
    try:
        return is_directory(disk, path)
    except StoreError:  # probably a link in the path; checking each directory below the root finds it
        return False


def _make_root(disk: Disk, root: Path) -> None:
    missing = []
    for directory in (root, *root.parents):
        if disk.stat(directory) is not None:
            break
        missing.append(directory)
    for directory in reversed(missing):
        _make(disk, directory, durable=True)


def _make(disk: Disk, directory: Path, *, durable: bool) -> None:
    if disk.mkdir(directory) and durable:
        disk.sync_directory(directory.parent)


def _require_real(directory: Path, found: os.stat_result | None) -> None:
    if found is None or not stat.S_ISDIR(found.st_mode):
        raise not_a_directory(directory)


def has_real_directory(disk: Disk, root: Path, path: Path) -> bool:
    """Whether a directory below a root exists.

    Raises:
        StoreError: It, or a directory above it and below the root, is a link or no directory.
    """
    for directory in _below(root, path):
        found = disk.lstat(directory)
        if found is None:
            return False
        _require_real(directory, found)
    return True


def write_atomically(disk: Disk, path: Path, content: bytes, *, durable: bool) -> None:
    """Replace a small file atomically: readers see the old file or the complete new one."""
    temporary = path.with_name(temporary_name())
    try:
        _write(disk, temporary, content, durable=durable)
        disk.rename(temporary, path)
    except BaseException:
        with suppress(StoreError):
            disk.unlink(temporary)
        raise
    if durable:
        disk.sync_directory(path.parent)


def write_new(disk: Disk, path: Path, content: bytes) -> bool:
    """Write a small file durably under a free name; False when the name exists.

    The finished file is linked to its name: link(2) fails if the name exists, so of two processes only one
    succeeds. Where hard links are impossible, the name is checked before a rename instead.
    """
    temporary = path.with_name(temporary_name())
    try:
        _write(disk, temporary, content, durable=True)
        is_new = disk.link_free(temporary, path)
        if is_new is False and (is_new := disk.lstat(path) is None):
            disk.rename(temporary, path)
    finally:
        with suppress(StoreError):
            disk.unlink(temporary)
    if is_new:
        disk.sync_directory(path.parent)
    return bool(is_new)


def _write(disk: Disk, path: Path, content: bytes, *, durable: bool) -> None:
    with closing(disk, disk.create(path), path) as fd:
        disk.pwrite(fd, path, content, 0)
        if durable:
            disk.sync(fd, path)


def write_private(disk: Disk, path: Path, content: bytes) -> None:
    """Create a small file that only its owner may read."""
    with closing(disk, disk.create(path, 0o600), path) as fd:
        disk.pwrite(fd, path, content, 0)


def read_small(disk: Disk, path: Path, limit: int) -> bytes | None:
    """Read a small file whole; None when no regular file has that name, or it is over ``limit`` bytes."""
    fd = disk.open_to_read(path)
    if fd is None:
        return None
    content = bytearray()
    with closing(disk, fd, path):
        while len(content) <= limit and (block := disk.read(fd, path, BLOCK)):
            content += block
    return bytes(content) if len(content) <= limit else None


def read_blocks(disk: Disk, path: Path, expected: int = BLOCK) -> Iterator[memoryview]:
    """Read a regular file, a block at a time; a link is not followed.

    Args:
        disk: The disk.
        path: The file.
        expected: Its size in bytes, if it is known. A small file gets a small buffer: to clear 1 MiB takes
            longer than to hash 4 KiB.

    Yields:
        Blocks, each valid until the next one: allocating memory for each would cost a tenth of the time.

    Raises:
        StoreError: No regular file has that name, or it cannot be read.
    """
    fd = disk.open_to_read(path)
    if fd is None:
        raise StoreError(f"cannot read {sanitize(str(path))}: no regular file has that name")
    with closing(disk, fd, path):
        # One byte more than expected, so that the end of the file comes with the second read.
        room = memoryview(bytearray(min(BLOCK, expected + 1)))
        while count := disk.read_into(fd, path, room):
            yield room[:count]


def hash_file(disk: Disk, path: Path) -> str:
    """Compute the SHA-256 of a regular file, in hexadecimal; raises like :func:`read_blocks`."""
    hasher = hashlib.sha256()
    for block in read_blocks(disk, path):
        hasher.update(block)
    return hasher.hexdigest()

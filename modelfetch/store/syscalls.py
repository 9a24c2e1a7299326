"""System calls as POSIX and Windows have them, on a name in an open directory or on an open file.

They raise ``OSError``. Where an argument is called ``at`` it is the descriptor of a directory; None where the
name is a whole path.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from typing import Final

SAFE: Final = (
    getattr(os, "O_NOFOLLOW", 0)  # never through a planted link
    | getattr(os, "O_NONBLOCK", 0)  # never wait for the other end of a planted fifo
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
"""How every file is opened."""
_SEEKING: Final = threading.Lock()
"""Where a file has one position only (Windows), for one thread at a time."""


def look(name: str, at: int | None) -> os.stat_result:
    """Look at a name itself."""
    return os.stat(name, dir_fd=at, follow_symlinks=False)


def list_names(directory: str | int) -> list[str]:
    """List a directory."""
    return os.listdir(directory)  # noqa: PTH208 - pathlib knows no descriptors


def list_entries(directory: str | int) -> list[tuple[str, bool]]:
    """List a directory: each name, and whether it is a directory itself."""
    with os.scandir(directory) as entries:  # most file systems tell the kind with the name
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]


def is_regular(found: os.stat_result) -> bool:
    """Whether what was looked at is a regular file."""
    return stat.S_ISREG(found.st_mode)


def is_owned_with_one_name(found: os.stat_result) -> bool:
    """Whether it is a regular file that has one name only and is owned by us."""
    return is_regular(found) and found.st_nlink == 1 and is_owned(found)


def is_owned(found: os.stat_result) -> bool:
    """Whether the user who runs this owns what was looked at; always on Windows, which has no such number."""
    return sys.platform == "win32" or found.st_uid == os.geteuid()


def sync_file(name: str, at: int | None) -> None:
    """Have the bytes of a file on the disk."""
    flags = (os.O_RDWR if sys.platform == "win32" else os.O_RDONLY) | SAFE
    fd = os.open(name, flags, dir_fd=at)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(directory: str | int) -> None:
    """Have the names in a directory on the disk. POSIX only."""
    if isinstance(directory, int):
        os.fsync(directory)
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_at(fd: int, view: memoryview, offset: int) -> int:
    """Write bytes at an offset; how many."""
    if sys.platform == "win32":
        with _SEEKING:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.write(fd, view)
    written = os.pwrite(fd, view, offset)
    if not written:  # POSIX forbids it for a regular file; a loop that trusts that would never end
        raise OSError(errno.EIO, "nothing was written")
    return written


def read_into(fd: int, room: memoryview) -> int:
    """Read on into a buffer; how many bytes."""
    if sys.platform == "win32":
        data = os.read(fd, len(room))
        room[: len(data)] = data
        return len(data)
    return os.readv(fd, [room])


def read_at(fd: int, room: memoryview, offset: int) -> int:
    """Fill a buffer, or less of it, with the bytes at an offset; how many."""
    if sys.platform == "win32":
        with _SEEKING:
            os.lseek(fd, offset, os.SEEK_SET)
            data = os.read(fd, len(room))
    elif hasattr(os, "preadv"):
        return os.preadv(fd, [room], offset)
    else:  # macOS before 11
        data = os.pread(fd, len(room), offset)
    room[: len(data)] = data
    return len(data)

"""Thin wrappers of system calls that hide the differences between POSIX and Windows.

They work on a name in an open directory or on an open file, and raise ``OSError``. An argument ``at`` is the
descriptor of the directory; with None the name is a whole path.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from contextlib import suppress
from typing import Final

if sys.platform != "win32":
    import fcntl

SAFE: Final = (
    getattr(os, "O_NOFOLLOW", 0)  # do not follow a planted link
    | getattr(os, "O_NONBLOCK", 0)  # do not wait for the other end of a planted FIFO
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
"""Flags with which every file is opened."""
_SEEKING: Final = threading.Lock()
"""Windows has no pread and pwrite: seek and read or write must not be interleaved with another thread's."""

_FICLONERANGE: Final = 0x4020940D
"""``_IOW(0x94, 13, struct file_clone_range)`` of linux/fs.h: share some extents of another file."""
_FICLONE: Final = 0x40049409
"""``_IOW(0x94, 9, int)`` of linux/fs.h: share the extents of another file (Btrfs, XFS, bcachefs)."""

ABSENT: Final = (errno.ENOENT, errno.ENOTDIR)
"""ENOTDIR: a part of the path is a file, so nothing can exist below it."""
NOT_REGULAR: Final = (*ABSENT, errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO)
"""Errors from opening a name that is absent, a link (EMLINK on BSD), a directory, a socket or a FIFO."""
DENIED: Final = (errno.EACCES, errno.EPERM)
"""Errors from opening or replacing another user's file; on Windows, also one that is open elsewhere."""
NO_LINK: Final = (
    *(errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK),
    *(errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL),
)
"""Errors from linking two places that cannot share an inode: other file systems, no support, too many links,
or a file that fs.protected_hardlinks does not let us link."""
NO_REFLINK: Final = (*NO_LINK, errno.ENOTTY, errno.ETXTBSY, errno.EBADF)
"""Errors from cloning: also, the file system does not know the request (ENOTTY) or refuses the files."""
NO_SYNC: Final = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""The file system does not support the operation (fsync(2)), so nothing was lost. A sync that failed gives
EIO, ENOSPC or EDQUOT instead."""
NO_MODES: Final = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""The file system has no modes (FAT, SMB, many FUSE file systems), or does not let us change them."""


def lstat(name: str, at: int | None) -> os.stat_result:
    """Return the status of a name, without following a link."""
    return os.stat(name, dir_fd=at, follow_symlinks=False)


def list_names(directory: str | int) -> list[str]:
    """List a directory."""
    return os.listdir(directory)  # noqa: PTH208 - pathlib knows no descriptors


def list_entries(directory: str | int) -> list[tuple[str, bool]]:
    """List a directory, with whether each name is a directory and not a link."""
    with os.scandir(directory) as entries:  # most file systems return the type with the name: no stat needed
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]


def list_statuses(directory: str | int) -> list[tuple[str, os.stat_result]]:
    """List a directory, with the status of each name, without following links."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # removed meanwhile
                found.append((entry.name, _status(entry)))
    return found


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    if sys.platform == "win32":  # what a listing gives there has no inode
        return os.lstat(entry.path)
    return entry.stat(follow_symlinks=False)


def is_regular(found: os.stat_result) -> bool:
    """Whether a status is that of a regular file."""
    return stat.S_ISREG(found.st_mode)


def is_owned_with_one_name(found: os.stat_result) -> bool:
    """Whether a status is that of a regular file with one name, owned by this user."""
    return is_regular(found) and found.st_nlink == 1 and is_owned(found)


def is_owned(found: os.stat_result) -> bool:
    """Whether a status names this user as owner; always True on Windows, which has no user IDs in it."""
    return sys.platform == "win32" or found.st_uid == os.geteuid()


def sync_file(name: str, at: int | None) -> None:
    """Wait until the bytes of a closed file are on the disk."""
    flags = (os.O_RDWR if sys.platform == "win32" else os.O_RDONLY) | SAFE
    fd = os.open(name, flags, dir_fd=at)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(directory: str | int) -> None:
    """Wait until the names in a directory are on the disk. POSIX only."""
    if isinstance(directory, int):
        os.fsync(directory)
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_at(fd: int, view: memoryview, offset: int) -> int:
    """Write bytes at an offset; returns how many were written."""
    if sys.platform == "win32":
        with _SEEKING:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.write(fd, view)
    written = os.pwrite(fd, view, offset)
    if not written:  # POSIX rules this out for regular files; the caller's loop would never end otherwise
        raise OSError(errno.EIO, "nothing was written")
    return written


def read_into(fd: int, room: memoryview) -> int:
    """Read the next bytes into a buffer; returns how many."""
    if sys.platform == "win32":
        data = os.read(fd, len(room))
        room[: len(data)] = data
        return len(data)
    return os.readv(fd, [room])


def read_at(fd: int, room: memoryview, offset: int) -> int:
    """Read bytes at an offset into a buffer; returns how many, possibly fewer than fit."""
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


def share_extents(fd: int, source: int) -> None:
    """Let an empty file share the extents of another one. Linux only."""
    if sys.platform != "win32":
        fcntl.ioctl(fd, _FICLONE, source)


def share_range(fd: int, offset: int, source: int, source_offset: int, length: int) -> None:
    """Let a range of a file share the extents of a range of another one; see ioctl_ficlonerange(2).

    The offsets must be multiples of the block size of the file system, and so must the length, unless the
    range ends where the source ends.
    """
    if sys.platform.startswith("linux"):
        # struct file_clone_range: four numbers of 64 bits.
        fields = (source, source_offset, length, offset)
        fcntl.ioctl(fd, _FICLONERANGE, b"".join(field.to_bytes(8, sys.byteorder) for field in fields))


def why_not_removable(found: os.stat_result, above: os.stat_result | None) -> int:
    """Return the errno with which a sticky directory refuses to remove a file from it; 0 if it does not.

    In such a directory only the owner of the file or of the directory may do so (unlink(2)).

    Args:
        found: The status of the file.
        above: That of the directory; None if it is gone.
    """
    if sys.platform == "win32" or above is None or not above.st_mode & stat.S_ISVTX:
        return 0
    return 0 if os.geteuid() in (0, found.st_uid, above.st_uid) else errno.EPERM


def fail_with(code: int) -> None:
    """Raise the OSError of an errno, as a failed system call does; nothing happens if it is 0."""
    if code:
        raise OSError(code, os.strerror(code))

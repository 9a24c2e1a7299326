"""Kernel locks on files, and which file systems are local to this machine.

A kernel lock ends with its process, so none is ever stale. On POSIX it is ``flock``, from the standard
library. On Windows it is :mod:`filelock` without its soft lock, which would outlive a killed process.
:mod:`filelock` would work on POSIX too, but its import takes 16 ms, a tenth of the time to the first request.

Whether a lock can be relied on depends on the file system: see :func:`is_local`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

if sys.platform == "win32":
    import filelock

    class KernelLock:
        """An exclusive lock that any thread may acquire and release.

        Args:
            path: The lock file; it is created if it is missing, and removed on release.
        """

        def __init__(self, path: Path) -> None:
            self._lock = filelock.FileLock(path, thread_local=False, fallback_to_soft=False)

        @property
        def is_held(self) -> bool:
            """Whether we have it."""
            return self._lock.is_locked

        def has_name(self, name: str, at: int | None) -> bool:  # noqa: ARG002 - filelock knows paths only
            """Whether the file may be removed by its name; never, because it is open."""
            return False

        def acquire(self, name: str, at: int | None) -> bool:  # noqa: ARG002 - filelock knows paths only
            """Acquire the lock unless another process holds it; whether we hold it.

            Raises:
                OSError: Locks do not work here, or the file cannot be opened.
            """
            try:
                self._lock.acquire(blocking=False)
            except filelock.Timeout:
                return False
            except NotImplementedError as error:  # what filelock raises where the system has no locks
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from error
            return True

        def release(self) -> None:
            """Release the lock; does nothing if we do not hold it.

            Raises:
                OSError: The release failed; the kernel releases it when the process ends.
            """
            self._lock.release(force=True)

    def is_locked(name: str, at: int | None) -> bool:  # noqa: ARG001 - it can only be found out on POSIX
        """Whether any process has locked a file; unknown here, so False."""
        return False

    def lock_file(fd: int) -> bool:
        """Refuse to lock an open file: a Windows lock would keep other processes from reading it, too.

        Raises:
            OSError: Always. The lock is not needed either: Windows does not rename or delete a file that is
                open.
        """
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), fd)

    def unlock_file(fd: int) -> None:
        """Do nothing: there is no such lock."""

else:
    import fcntl

    _OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    """Do not follow a planted link, and do not wait for the other end of a planted FIFO."""
    _MODE = 0o666
    """Reduced by the umask: in a cache that a group shares, every member locks the same files."""
    _TRIES = 100
    """Attempts to lock a file that loses its name meanwhile, because its holder released it or somebody
    deleted it. After that the lock counts as held by others; callers that wait try again anyway."""

    class KernelLock:
        """An exclusive lock that any thread may acquire and release.

        Args:
            path: The lock file; it is created if it is missing.
        """

        def __init__(self, path: Path) -> None:  # noqa: ARG002 - acquire() gets the name and the directory
            self._fd: int | None = None

        @property
        def is_held(self) -> bool:
            """Whether we have it."""
            return self._fd is not None

        def has_name(self, name: str, at: int | None) -> bool:
            """Whether we hold it, and its file still has that name; see :meth:`acquire`."""
            return self._fd is not None and _has_name(self._fd, name, at)

        def acquire(self, name: str, at: int | None) -> bool:
            """Acquire the lock unless another process holds it; whether we hold it.

            A lock on a file that was removed excludes nobody, because later processes create a new file. So
            the name is compared after the lock is acquired, and both steps are repeated if it has changed.

            Args:
                name: The file's name.
                at: Descriptor of its directory; None where the name is a whole path.

            Raises:
                OSError: Locks do not work here, or the file cannot be opened.
            """
            for _ in range(_TRIES):
                fd = _open_or_make(name, at)
                try:
                    is_ours = lock_file(fd)
                    is_current = is_ours and _has_name(fd, name, at)
                except BaseException:
                    os.close(fd)
                    raise
                if is_current:
                    self._fd = fd
                    return True
                os.close(fd)
                if not is_ours:
                    return False
            return False

        def release(self) -> None:
            """Release the lock; does nothing if we do not hold it.

            Raises:
                OSError: The release failed; the kernel releases it when the process ends.
            """
            fd, self._fd = self._fd, None
            if fd is None:
                return
            try:
                unlock_file(fd)
            finally:
                os.close(fd)

    def is_locked(name: str, at: int | None) -> bool:
        """Whether any process has locked a file; the arguments are those of :meth:`KernelLock.acquire`.

        Raises:
            OSError: The file cannot be opened, or locks do not work here.
        """
        fd = _open(name, at, os.O_RDONLY)
        try:
            return not lock_file(fd)
        finally:
            os.close(fd)

    def lock_file(fd: int) -> bool:
        """Lock an open file unless another open file description holds its lock; whether we hold it.

        Raises:
            OSError: Locks do not work here.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock_file(fd: int) -> None:
        """Unlock an open file. Closing it is not enough if a forked process has inherited the descriptor.

        Raises:
            OSError: The release failed; the kernel releases it when the process ends.
        """
        fcntl.flock(fd, fcntl.LOCK_UN)

    def _open_or_make(name: str, at: int | None) -> int:
        """Open a lock file, creating it if it is missing."""
        try:
            return _open(name, at, os.O_RDWR | os.O_CREAT)
        except PermissionError:  # another user's file; for flock, local file systems only need read access
            return _open(name, at, os.O_RDONLY)

    def _open(name: str, at: int | None, flags: int) -> int:
        fd = os.open(name, _OPEN | flags, _MODE, dir_fd=at)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")

    def _has_name(fd: int, name: str, at: int | None) -> bool:
        ours = os.fstat(fd)
        try:
            named = os.stat(name, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)


_LOCAL: Final = frozenset(
    {"bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "ramfs"}
    | {"reiserfs", "tmpfs", "vfat", "xfs", "zfs"}
)
"""File system types whose locks are kept by the kernel of this machine. An allow-list, because NFS, SMB,
Lustre, GPFS, Ceph, 9p, virtiofs and FUSE may be shared with machines that do not see our locks."""

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_known: Final[dict[int, bool]] = {}
"""Cached by device: the table of mounts is long, and it is needed for every lock."""
_OCTAL: Final = r"\\([0-7]{3})"


def is_local(path: Path) -> bool:
    """Whether a file is known to be on a local file system; False where that cannot be determined."""
    with suppress(OSError, UnicodeError):
        device = os.stat(path).st_dev  # noqa: PTH116 - called for every file, and pathlib is slower
        if device not in _known:
            _known[device] = file_system(_MOUNTINFO.read_text(), os.path.realpath(path)) in _LOCAL
        return _known[device]
    return False


def file_system(mountinfo: str, path: str) -> str:
    """Find the type of the file system a path lies on.

    Args:
        mountinfo: The table in the format of proc_pid_mountinfo(5).
        path: Absolute and without symbolic links.

    Returns:
        The type of the innermost mount; of several at one mount point, the last one. Empty if none.
    """
    depth, found = -1, ""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5:
            continue
        point = re.sub(_OCTAL, lambda escape: chr(int(escape[1], 8)), fields[4]).rstrip("/")
        if len(point) >= depth and (path == point or path.startswith(f"{point}/")):
            depth, found = len(point), source.partition(" ")[0]
    return found

"""The kernel's lock on a file. It ends with its process, so none is ever stale.

On POSIX that is ``flock``, and the standard library has it. Elsewhere it is left to :mod:`filelock`, without
the soft lock that it would fall back to: that one outlives a killed process. It would do for POSIX, too, but
takes 16 ms to import, a tenth of the time until a first request.

Which file systems belong to this machine alone.
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
        """An exclusive lock, taken and given back by any thread.

        Args:
            path: The file; it is made if it is missing, and gone once the lock was given back.
        """

        def __init__(self, path: Path) -> None:
            self._lock = filelock.FileLock(path, thread_local=False, fallback_to_soft=False)

        @property
        def is_held(self) -> bool:
            """Whether we have it."""
            return self._lock.is_locked

        def has_name(self, name: str, at: int | None) -> bool:  # noqa: ARG002 - filelock knows paths only
            """Whether the file may be removed by its name; never while it is open."""
            return False

        def take(self, name: str, at: int | None) -> bool:  # noqa: ARG002 - filelock knows paths only
            """Take the lock unless another holds it; whether we have it.

            Raises:
                OSError: Locks do not work here, or the file cannot be opened.
                NotImplementedError: Locks do not work here.
            """
            try:
                self._lock.acquire(blocking=False)
            except filelock.Timeout:
                return False
            return True

        def give_back(self) -> None:
            """Let go of the lock; without having it, do nothing.

            Raises:
                OSError: The kernel takes it back when the process ends.
            """
            self._lock.release(force=True)

    def is_locked(name: str, at: int | None) -> bool:  # noqa: ARG001 - it can only be asked for on POSIX
        """Whether a file is locked, by whomever."""
        return False

    def lock_file(fd: int) -> bool:
        """Lock an open file; never possible: the lock of Windows would keep others from reading, too.

        Raises:
            NotImplementedError: Always. It is not needed either: a file that is open cannot be renamed or
                deleted there, by anybody.
        """
        raise NotImplementedError(fd)

    def unlock_file(fd: int) -> None:
        """Do nothing: there is no such lock."""

else:
    import fcntl

    _OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    """Never through a planted link, never waiting for the other end of a planted fifo."""
    _MODE = 0o666
    """Less the umask: in a cache that a group shares, every member locks the same files."""
    _TRIES = 100
    """How often a lock is taken anew because its file lost the name meanwhile: others give theirs back, or
    somebody deletes them. Whoever waits comes again in any case."""

    class KernelLock:
        """An exclusive lock, taken and given back by any thread.

        Args:
            path: The file; it is made if it is missing.
        """

        def __init__(self, path: Path) -> None:  # noqa: ARG002 - it is told where the file is when it is opened
            self._fd: int | None = None

        @property
        def is_held(self) -> bool:
            """Whether we have it."""
            return self._fd is not None

        def has_name(self, name: str, at: int | None) -> bool:
            """Whether we have it, and its file is still the one of that name; see :meth:`take`."""
            return self._fd is not None and _has_name(self._fd, name, at)

        def take(self, name: str, at: int | None) -> bool:
            """Take the lock unless another holds it; whether we have it.

            A lock on a file that was removed keeps nobody out: those who come later make another one.

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

        def give_back(self) -> None:
            """Let go of the lock; without having it, do nothing.

            Raises:
                OSError: The kernel takes it back when the process ends.
            """
            fd, self._fd = self._fd, None
            if fd is None:
                return
            try:
                unlock_file(fd)
            finally:
                os.close(fd)

    def is_locked(name: str, at: int | None) -> bool:
        """Whether a file is locked, by whomever; the arguments are those of :meth:`KernelLock.take`.

        Raises:
            OSError: It cannot be asked.
        """
        fd = _open(name, at, os.O_RDONLY)
        try:
            return not lock_file(fd)
        finally:
            os.close(fd)

    def lock_file(fd: int) -> bool:
        """Lock an open file, unless it is locked by another opening of it; whether it is ours.

        Raises:
            OSError: Locks do not work here.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock_file(fd: int) -> None:
        """Give the lock on an open file back; closing it would not do where a forked process has it open.

        Raises:
            OSError: The kernel takes it back when the process ends.
        """
        fcntl.flock(fd, fcntl.LOCK_UN)

    def _open_or_make(name: str, at: int | None) -> int:
        """Open the file of a lock, made by us or by anybody else."""
        try:
            return _open(name, at, os.O_RDWR | os.O_CREAT)
        except PermissionError:  # of another user, who did not mean to share; local kernels ask for no more
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
"""Types whose locks the kernel of this machine keeps. An allow-list: NFS, SMB, Lustre, GPFS, Ceph, 9p,
virtiofs and everything in user space may be shared with machines that know nothing of our locks."""

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_known: Final[dict[int, bool]] = {}
"""By device: the table of mounts is long, and every lock asks."""
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def is_local(path: Path) -> bool:
    """Whether a file is known to lie on a local file system; False where that cannot be found out."""
    with suppress(OSError, UnicodeError):
        device = os.stat(path).st_dev  # noqa: PTH116 - asked for every file, and pathlib takes its time
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
        The type of the innermost mount, the last one where several lie over each other; empty if none.
    """
    depth, found = -1, ""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda escape: chr(int(escape[1], 8)), fields[4]).rstrip("/")
        if len(point) >= depth and (path == point or path.startswith(f"{point}/")):
            depth, found = len(point), source.partition(" ")[0]
    return found

"""The kernel's lock on a file. It ends with its process, so none is ever stale.

On POSIX that is ``flock``, and the standard library has it. Elsewhere it is left to :mod:`filelock`, without
the soft lock that it would fall back to: that one outlives a killed process. It would do for POSIX, too, but
takes 16 ms to import, a tenth of the time until a first request.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

if sys.platform == "win32":
    import filelock

    class KernelLock:
        """An exclusive lock, taken and given back by any thread.

        Args:
            path: The file; it is made if it is missing, and stays.
        """

        def __init__(self, path: Path) -> None:
            self._lock = filelock.FileLock(path, thread_local=False, fallback_to_soft=False)

        @property
        def is_held(self) -> bool:
            """Whether we have it."""
            return self._lock.is_locked

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

else:
    import fcntl

    _OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    """Never through a planted link, never waiting for the other end of a planted fifo."""
    _MODE = 0o644

    class KernelLock:
        """An exclusive lock, taken and given back by any thread.

        Args:
            path: The file; it is made if it is missing, and stays.
        """

        def __init__(self, path: Path) -> None:  # noqa: ARG002 - it is told where the file is when it is opened
            self._fd: int | None = None

        @property
        def is_held(self) -> bool:
            """Whether we have it."""
            return self._fd is not None

        def take(self, name: str, at: int | None) -> bool:
            """Take the lock unless another holds it; whether we have it.

            Args:
                name: The file's name.
                at: Descriptor of its directory; None where the name is a whole path.

            Raises:
                OSError: Locks do not work here, or the file cannot be opened.
            """
            fd = _open(name, at, os.O_CREAT)
            try:
                is_ours = _try_lock(fd)
            except BaseException:
                os.close(fd)
                raise
            if is_ours:
                self._fd = fd
            else:
                os.close(fd)
            return is_ours

        def give_back(self) -> None:
            """Let go of the lock; without having it, do nothing.

            Raises:
                OSError: The kernel takes it back when the process ends.
            """
            fd, self._fd = self._fd, None
            if fd is None:
                return
            try:
                fcntl.flock(fd, fcntl.LOCK_UN)  # a forked process may have it open, too
            finally:
                os.close(fd)

    def is_locked(name: str, at: int | None) -> bool:
        """Whether a file is locked, by whomever; the arguments are those of :meth:`KernelLock.take`.

        Raises:
            OSError: It cannot be asked.
        """
        fd = _open(name, at)
        try:
            return not _try_lock(fd)
        finally:
            os.close(fd)

    def _open(name: str, at: int | None, more: int = 0) -> int:
        fd = os.open(name, _OPEN | more, _MODE, dir_fd=at)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise OSError(errno.EINVAL, "not a plain file")

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

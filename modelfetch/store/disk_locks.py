"""The locks among the operations on the disk; see :mod:`modelfetch.store.disk`.

A lock is a file of its own, or the lock of a data file itself. Locks that do not work here are no error: the
result of a run is right without them, and they only keep work from being done twice.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from modelfetch.store import syscalls
from modelfetch.store.disk_errors import DiskOperations
from modelfetch.store.flock import KernelLock, is_local, is_locked, lock_file, unlock_file


class DiskLocks(DiskOperations):
    """The locks of :class:`modelfetch.store.disk.Disk`."""

    def lock(self, lock: KernelLock, path: Path) -> bool | None:
        """Try to acquire a lock without waiting.

        Returns:
            True when acquired, False when another process holds it, None when locks do not work here:
            unsupported, not permitted, or a read-only or full disk.
        """
        try:
            return self.perform("lock", path, self._at(path, lock.acquire))
        except OSError:
            return None

    def is_locked(self, path: Path) -> bool:
        """Whether any process holds the lock on a file; False where that cannot be found out."""
        with suppress(OSError):
            return self.perform("probe", path, self._at(path, is_locked))
        return False

    def has_name(self, lock: KernelLock, path: Path) -> bool:
        """Whether we hold a lock, and its file still has that name."""
        return bool(self._call_or_none("inspect", path, self._at(path, lock.has_name), syscalls.ABSENT))

    def lock_file(self, fd: int, path: Path) -> bool | None:
        """Try to lock an open file itself; the lock lasts until the last descriptor is closed.

        Returns:
            True when acquired, and known to exclude others; False when another process holds it; None when a
            lock on this file proves nothing.
        """
        try:
            if not self.perform("lock", path, lambda: lock_file(fd)):
                return False
        except OSError:
            return None
        return True if self.lock_excludes(path) else None

    def unlock_file(self, fd: int, path: Path) -> None:
        """Release the lock of an open file, if there is one."""
        with suppress(OSError):  # the kernel releases it at the latest when the process ends
            self.perform("unlock", path, lambda: unlock_file(fd))

    def lock_excludes(self, path: Path) -> bool:
        """Whether the lock we hold on a file really excludes other processes.

        On Lustre, GPFS and some NFS every ``flock`` succeeds (huggingface/huggingface_hub#4306), and on other
        network file systems only one machine may know of it. So two conditions must hold: a second ``flock``
        on the file is refused, and the file system is known to be local. If in doubt the answer is False.
        """
        with suppress(OSError):
            return self.perform("probe", path, self._at(path, is_locked)) and self.is_local(path)
        return False

    def is_local(self, path: Path) -> bool:
        """Whether a file is known to be on a file system that only this machine uses."""
        return is_local(path)

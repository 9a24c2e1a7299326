"""Open directories: a bounded number of them, each proven to be the one its path names before it is used."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from typing import Final


def limit() -> int | None:
    """The most descriptors this process may have; None where that is not known or no matter (Windows)."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def most_kept(descriptors: int | None) -> int:
    """How many directories stay open between two operations, of so many descriptors.

    Eight come up again and again while files are stored, and ``ulimit -n 64`` leaves room for them beside
    everything else. At the usual limit of 1024 it is 64: the directories of most models.
    """
    return max(8, min(64, (descriptors or 1024) // 16))


MOST: Final = most_kept(limit())
"""Directories that stay open between two operations of this process."""

_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_TO_PASS: Final = getattr(os, "O_PATH", os.O_RDONLY) | _DIRECTORY
"""O_PATH (Linux): to pass through a directory takes no right to list it."""
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_MAYBE_LINK: Final = (errno.ENOTDIR, errno.ELOOP, errno.EMLINK)
"""What opening a link as a directory gives: Linux, POSIX, FreeBSD."""

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE)

DirectoryKey = tuple[str, str]
"""A root, and a path: from another root, the same path may lead through links."""
Identity = tuple[int, int]
"""Device and inode."""


class LinkInPathError(OSError):
    """A link stands where a directory of ours should; ``filename`` says where."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ELOOP, os.strerror(errno.ELOOP), path)


class DirectoryHandle:
    """An open directory, and how many operations are using it.

    Attributes:
        fd: Its descriptor.
        identity: Which directory it is.
    """

    __slots__ = ("fd", "identity", "is_kept", "users")

    def __init__(self, fd: int) -> None:
        found = os.fstat(fd)
        self.fd = fd
        self.identity: Identity = found.st_dev, found.st_ino
        self.users = 1
        self.is_kept = True
        """Whether later operations may find it; else the last one that uses it closes it."""


class DirectoryHandles:
    """Directories below roots, opened name by name from the root on. POSIX only.

    A handle stays the directory it was opened as, whatever has its path by now. So before it is used again it
    is compared with what the path names: one that was deleted, moved or replaced is opened anew, without
    following a link. What is done by way of a handle is done in a directory that was reached through real
    directories, or not at all.

    Threads may share it. A handle that is in use is never closed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[DirectoryKey, DirectoryHandle] = {}
        """The one that was used last is the last."""
        self._pinned: dict[DirectoryKey, DirectoryHandle] = {}

    def pin(self, root: str, path: str) -> None:
        """Use a directory as it was opened now, whatever becomes of its path, until :meth:`unpin`.

        For one that was just made under a name of its own, in which many files are made.

        Raises:
            LinkInPathError: A link stands in the way.
            OSError: It cannot be opened.
        """
        key = root, path
        self._pinned[key] = self.hold(root, path)

    def unpin(self, root: str, path: str) -> None:
        """Let go of a directory that :meth:`pin` holds, if it does."""
        handle = self._pinned.pop((root, path), None)
        if handle is not None:
            self.release(handle)

    def hold(self, root: str, path: str) -> DirectoryHandle:
        """Open a root or a directory below it; :meth:`release` lets go of it.

        Args:
            root: Where to begin; what leads there, and the root itself, may be a link.
            path: The root, or a path below it without ``..``.

        Raises:
            LinkInPathError: A link stands in the way.
            OSError: It cannot be opened.
        """
        key = root, path
        with self._lock:
            handle = self._pinned.get(key)
            if handle is not None:
                handle.users += 1
                return handle
            handle = self._kept.pop(key, None)
            if handle is not None:
                self._kept[key] = handle
                handle.users += 1
        return self._verify(key, handle)

    def _verify(self, key: DirectoryKey, handle: DirectoryHandle | None) -> DirectoryHandle:
        """Make sure that a handle is what its path names, or open that."""
        try:
            found = _look(key[1])
        except BaseException:
            if handle is not None:
                self.release(handle)
            raise
        if handle is not None:
            if found == handle.identity:
                return handle
            self._give_up(key, handle)
        if found is None:  # most looks before a download find nothing: no need to go down to where it ends
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key[1])
        return self._open(key)

    def release(self, handle: DirectoryHandle) -> None:
        """Let go of a handle."""
        with self._lock:
            handle.users -= 1
            if not handle.is_kept:
                _close_unused(handle)

    def open_to_list(self, root: str, path: str) -> int:
        """Open a directory below a root to list or sync it: anew, for a descriptor has only one position.

        Raises:
            LinkInPathError: It is a link, or one stands in the way.
            OSError: It cannot be opened.
        """
        return self._open_below((root, path), os.O_RDONLY | _DIRECTORY)

    def make_room(self, error: OSError) -> bool:
        """Where too many files are open, close those kept for later; whether to try again."""
        return error.errno in _EXHAUSTED and self.drop()

    def drop(self) -> bool:
        """Close every handle that nobody uses; whether there was one."""
        with self._lock:
            unused = [key for key, handle in self._kept.items() if not handle.users]
            for key in unused:
                self._stop_keeping(key)
        return bool(unused)

    def _open(self, key: DirectoryKey) -> DirectoryHandle:
        root, path = key
        fd = self._open_name(root, None, _TO_PASS) if path == root else self._open_below(key, _TO_PASS)
        try:
            handle = DirectoryHandle(fd)
        except BaseException:
            os.close(fd)
            raise
        with self._lock:
            if key in self._kept:  # another thread was as quick
                self._stop_keeping(key)
            self._kept[key] = handle
            while len(self._kept) > MOST:
                self._stop_keeping(next(iter(self._kept)))
        return handle

    def _open_below(self, key: DirectoryKey, flags: int) -> int:
        root, path = key
        above, _, name = path.rpartition("/")
        parent = self.hold(root, above or "/")
        try:
            return self._open_name(name, parent.fd, flags | _NO_LINK)
        except OSError as error:
            if error.errno in _MAYBE_LINK and _is_link(name, parent):
                raise LinkInPathError(path) from error
            raise
        finally:
            self.release(parent)

    def _open_name(self, name: str, at: int | None, flags: int) -> int:
        try:
            return os.open(name, flags, dir_fd=at)
        except OSError as error:
            if not self.make_room(error):
                raise
        return os.open(name, flags, dir_fd=at)

    def _give_up(self, key: DirectoryKey, handle: DirectoryHandle) -> None:
        """Let go of a handle that is not what its path names any more."""
        with self._lock:
            if self._kept.get(key) is handle:
                self._stop_keeping(key)
            handle.users -= 1
            _close_unused(handle)

    def _stop_keeping(self, key: DirectoryKey) -> None:
        handle = self._kept.pop(key)
        handle.is_kept = False
        _close_unused(handle)


def _look(path: str) -> Identity | None:
    """Where a path leads, through whatever links there are by now; None where that is nowhere."""
    try:
        found = os.stat(path)  # noqa: PTH116 - for each operation, and pathlib takes its time
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _is_link(name: str, parent: DirectoryHandle) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _close_unused(handle: DirectoryHandle) -> None:
    if not handle.users and not handle.is_kept:
        os.close(handle.fd)


HANDLES: Final = DirectoryHandles()
"""Those of this process: a bounded number, however many caches it has open."""

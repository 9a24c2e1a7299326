"""A bounded cache of open directories, each verified to be the one its path names before it is used.

Opening a directory name by name from its root, without following links, is what makes operations below it
safe (:mod:`modelfetch.store.safe_paths`). As most operations use few directories, their descriptors are kept.
The cache has one lock; it is held for look-ups and for closing, never during other system calls.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from typing import Final


def limit() -> int | None:
    """The process's limit of open descriptors; None where it is unknown or irrelevant (Windows)."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def most_kept(descriptors: int | None) -> int:
    """Return how many directories to keep open, given the limit of descriptors: a sixteenth, from 8 to 64.

    Storing files uses eight directories repeatedly, and even ``ulimit -n 64`` leaves room for them beside
    everything else. At the usual limit of 1024 it is 64: the directories of most models.
    """
    return max(8, min(64, (descriptors or 1024) // 16))


MOST: Final = most_kept(limit())
"""Directories that this process keeps open between operations."""

_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_TO_PASS: Final = getattr(os, "O_PATH", os.O_RDONLY) | _DIRECTORY
"""O_PATH (Linux): passing through a directory needs no permission to list it."""
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_MAYBE_LINK: Final = (errno.ENOTDIR, errno.ELOOP, errno.EMLINK)
"""Errors from opening a link as a directory: on Linux, by POSIX, on FreeBSD."""

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE)

DirectoryKey = tuple[str, str]
"""A root and a path. The root belongs to the key because links are allowed above it, not below."""
Identity = tuple[int, int]
"""Device and inode."""


class LinkInPathError(OSError):
    """A link in place of a directory of the cache; ``filename`` is its path."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ELOOP, os.strerror(errno.ELOOP), path)


class DirectoryHandle:
    """An open directory with a count of the operations that use it.

    Attributes:
        fd: Its descriptor.
        identity: Its device and inode.
    """

    __slots__ = ("fd", "identity", "is_kept", "users")

    def __init__(self, fd: int) -> None:
        found = os.fstat(fd)
        self.fd = fd
        self.identity: Identity = found.st_dev, found.st_ino
        self.users = 1
        self.is_kept = True
        """Whether it is in the cache; if not, its last user closes it."""


class DirectoryHandles:
    """The cache of open directories; each is opened name by name from its root. POSIX only.

    A descriptor stays the directory it was opened as, whatever its path names later. So before reuse it is
    compared with what the path names now: if the directory was deleted, moved or replaced, the path is opened
    again without following links. Every operation thus happens in a directory that was reached through real
    directories, or not at all.

    Threads may share an instance. A handle in use is never closed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[DirectoryKey, DirectoryHandle] = {}
        """In the order of last use, so the first one is the one to close."""
        self._pinned: dict[DirectoryKey, DirectoryHandle] = {}

    def pin(self, root: str, path: str) -> None:
        """Keep a directory open and use it without comparing it with its path again, until :meth:`unpin`.

        For a directory that was just created under a unique name, and gets many files.

        Raises:
            LinkInPathError: The path contains a link.
            OSError: It cannot be opened.
        """
        key = root, path
        self._pinned[key] = self.hold(root, path)

    def unpin(self, root: str, path: str) -> None:
        """Release a directory that :meth:`pin` keeps open, if there is one."""
        handle = self._pinned.pop((root, path), None)
        if handle is not None:
            self.release(handle)

    def hold(self, root: str, path: str) -> DirectoryHandle:
        """Open a root or a directory below it, to be given back with :meth:`release`.

        Args:
            root: Where to begin; the root itself, and directories above it, may be links.
            path: The root, or a path below it without ``..``.

        Raises:
            LinkInPathError: The path contains a link.
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
        """Return the handle if it is what its path names; otherwise open the path."""
        try:
            found = _identity_of(key[1])
        except BaseException:
            if handle is not None:
                self.release(handle)
            raise
        if handle is not None:
            if found == handle.identity:
                return handle
            self._give_up(key, handle)
        if found is None:  # the usual case before a download: it saves opening the directories one by one
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key[1])
        return self._open(key)

    def release(self, handle: DirectoryHandle) -> None:
        """Give a handle back; it is closed if it was dropped from the cache meanwhile."""
        with self._lock:
            handle.users -= 1
            if not handle.is_kept:
                _close_unused(handle)

    def open_to_list(self, root: str, path: str) -> int:
        """Open a directory below a root to list or sync it; the caller closes it.

        Not from the cache: a descriptor has one read position, and O_PATH does not allow listing.

        Raises:
            LinkInPathError: It is a link, or its path contains one.
            OSError: It cannot be opened.
        """
        return self._open_below((root, path), os.O_RDONLY | _DIRECTORY)

    def make_room(self, error: OSError) -> bool:
        """If the error means too many open files, close unused handles; whether a retry may help."""
        return error.errno in _EXHAUSTED and self.drop()

    def drop(self) -> bool:
        """Close every unused handle; whether there was one."""
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
            if key in self._kept:  # another thread opened it at the same time
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
        """Give back and drop a handle that is no longer what its path names."""
        with self._lock:
            if self._kept.get(key) is handle:
                self._stop_keeping(key)
            handle.users -= 1
            _close_unused(handle)

    def _stop_keeping(self, key: DirectoryKey) -> None:
        handle = self._kept.pop(key)
        handle.is_kept = False
        _close_unused(handle)


def _identity_of(path: str) -> Identity | None:
    """Device and inode of what a path leads to, following links; None if it does not exist.

    Links do no harm here: the result is only compared with a handle that was opened without following any.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - called for each operation, and pathlib is slower
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
"""One cache for the whole process, so that the bound holds however many stores are open."""

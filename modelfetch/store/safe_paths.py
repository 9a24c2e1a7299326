"""Below a root no link is followed: the one way in which paths of the cache become paths of the system.

The root, and what leads to it, is its owner's choice. Below it everybody who may write to the cache could
have planted a link, at any moment. On POSIX an operation is therefore given the directory as an open handle
and the last name alone (:mod:`modelfetch.store.dir_handles`). Elsewhere the way is looked over right before:
whoever plants a link in the very moment between is not noticed there.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from modelfetch.store.dir_handles import HANDLES, MOST, DirectoryHandle, LinkInPathError

T = TypeVar("T")

HAS_HANDLES: Final = {os.open, os.stat, os.unlink, os.mkdir, os.rename} <= os.supports_dir_fd
"""Whether operations can be told where to begin (POSIX)."""
_REPARSE_POINT: Final = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0x400)
"""Windows: a symbolic link, a junction or a mount point (winnt.h)."""


_MOST_HELD: Final = MOST // 2
"""Directories that a thread has in use in a block of :meth:`SafePaths.reuse_directories`."""


class _ThreadDirectories(threading.local):
    """What a thread has found of directories in a block of :meth:`SafePaths.reuse_directories`."""

    found: dict[str, DirectoryHandle] | None = None
    """The directories it has open, by path, the one used last at the end; None outside of a block."""
    absent: set[str] | None = None
    """Paths of directories that are not there; None where the block may make some."""


class SafePaths:
    """Carries out operations on paths, below its roots without following a link.

    A path that lies below no root is used as it is. Threads may share it.

    Args:
        by_handle: Whether directories are held open, or only looked at.
    """

    def __init__(self, *, by_handle: bool = HAS_HANDLES) -> None:
        self._roots: tuple[str, ...] = ()
        """Those further down first."""
        self._by_handle = by_handle
        self._thread = _ThreadDirectories()

    def guard(self, root: Path) -> None:
        """Follow no link below a directory any more; one that lies below a root already is a part of that.

        Args:
            root: Absolute; need not exist.
        """
        text = os.fspath(root)
        if text not in self._roots and self._root_of(text) is None:
            self._roots = tuple(sorted((*self._roots, text), key=len, reverse=True))

    @contextmanager
    def reuse_directories(self, *, only_looks: bool = False) -> Iterator[None]:
        """Open a directory once, not for each operation of this thread in the block.

        For a loop over many files, in which that would be half of the work. No link is followed in it either;
        but where a directory was moved meanwhile, the rest goes where it is now.

        Args:
            only_looks: Nothing is made in the block: a directory that was absent is not looked for again.
        """
        steady = self._thread
        before = steady.found, steady.absent
        found: dict[str, DirectoryHandle] = {}
        steady.found, steady.absent = found, set() if only_looks else None
        try:
            yield
        finally:
            steady.found, steady.absent = before
            for handle in found.values():
                HANDLES.release(handle)

    def pin(self, path: Path) -> Callable[[], None]:
        """Hold a directory below a root as it is now: operations in it go there, whatever its path becomes.

        Returns:
            What lets go of it.

        Raises:
            LinkInPathError: A link stands in the way.
            OSError: It cannot be opened.
        """
        text = os.fspath(path)
        root = self._root_of(text)
        if root is None or not self._by_handle:
            return lambda: None
        HANDLES.pin(root, text)
        return partial(HANDLES.unpin, root, text)

    def run_at(self, path: Path, call: Callable[[str, int | None], T]) -> T:
        """Carry out an operation on a name; it must not follow a link that has this name.

        Args:
            path: Absolute.
            call: The operation, on a name and the descriptor of the directory it is in; None where the name
                is a whole path. It may be tried twice, where too many files are open.

        Raises:
            LinkInPathError: A link stands in the way.
            OSError: From the operation.
        """
        text = os.fspath(path)
        above, _, name = text.rpartition("/")
        found = self._thread.found
        if found and above in found and name != "..":
            found[above] = handle = found.pop(above)
            return _in(handle, name, call)
        root = self._root_of(text)
        if root is None:
            return call(text, None)
        if not self._by_handle:
            _look_over(_ways(root, text))
            return call(text, None)
        handle = self._hold(root, above)
        try:
            return _in(handle, name, call)
        finally:
            if found is None:
                HANDLES.release(handle)

    def on_directory(self, path: Path, call: Callable[[str | int], T]) -> T:
        """Carry out an operation on a directory itself, which must not be a link.

        Args:
            path: Absolute.
            call: The operation, on a descriptor or a path.

        Raises:
            LinkInPathError: It is a link, or one stands in the way.
            OSError: From the operation.
        """
        text = os.fspath(path)
        root = self._root_of(text)
        if root is None:
            return call(text)
        if not self._by_handle:
            _look_over([*_ways(root, text), text])
            return call(text)
        fd = HANDLES.open_to_list(root, text)
        try:
            return call(fd)
        finally:
            os.close(fd)

    def _hold(self, root: str, directory: str) -> DirectoryHandle:
        """Open a directory; in a block of :meth:`steady` it stays in use."""
        found, absent = self._thread.found, self._thread.absent
        if absent and directory in absent:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)
        try:
            handle = HANDLES.hold(root, directory or "/")
        except FileNotFoundError:
            if absent is not None:
                absent.add(directory)
            raise
        if found is not None:
            found[directory] = handle
            if len(found) > _MOST_HELD:  # at least the latest two stay: to rename takes both
                HANDLES.release(found.pop(next(iter(found))))
        return handle

    def _root_of(self, text: str) -> str | None:
        """The nearest root above a path, as it is written; none of a path that climbs up again."""
        for root in self._roots:
            if text.startswith(root):
                is_below = text[len(root) : len(root) + 1] == os.sep or root[-1:] == os.sep
                if is_below and (".." not in text or ".." not in Path(text[len(root) :]).parts):
                    return root
        return None


def _in(directory: DirectoryHandle, name: str, call: Callable[[str, int | None], T]) -> T:
    """Carry out an operation on a name in an open directory; again, where too many files were open."""
    try:
        return call(name, directory.fd)
    except OSError as error:
        if not HANDLES.make_room(error):
            raise
        return call(name, directory.fd)


def _ways(root: str, path: str) -> Iterator[str]:
    """The directories between a root and a path, from the top."""
    names = Path(path).relative_to(root).parts
    for count in range(1, len(names)):
        yield os.fspath(Path(root, *names[:count]))


def _look_over(directories: Iterable[str]) -> None:
    for directory in directories:
        try:
            found = os.lstat(directory)
        except OSError:
            return  # the operation will say what is wrong
        if stat.S_ISLNK(found.st_mode) or getattr(found, "st_file_attributes", 0) & _REPARSE_POINT:
            raise LinkInPathError(directory)

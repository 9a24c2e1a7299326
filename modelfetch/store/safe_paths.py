"""Reaches paths below a root without following links; every path of the cache passes through here.

The root and the directories above it are the user's choice and may be links. Below it, any user who may write
to the cache could have planted a link at any moment. On POSIX an operation therefore gets its directory as an
open descriptor and only the last part of the path (:mod:`modelfetch.store.dir_handles`). On Windows, which
has no such calls, the directories are checked right before the operation; a link that is planted between the
check and the operation is not detected there.
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
"""Whether operations accept a directory descriptor (POSIX)."""
_REPARSE_POINT: Final = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0x400)
"""Windows: a symbolic link, a junction or a mount point (winnt.h)."""


_MOST_HELD: Final = MOST // 2
"""Most directories that a thread keeps in use in a block of :meth:`SafePaths.reuse_directories`. Handles in
use are never closed, so this bounds how many one thread can hold."""


class _ThreadDirectories(threading.local):
    """Directories that a thread has looked up in a block of :meth:`SafePaths.reuse_directories`."""

    found: dict[str, DirectoryHandle] | None = None
    """Open directories by path, least recently used first; None outside of a block."""
    absent: set[str] | None = None
    """Paths of absent directories; None if the block may create some."""


class SafePaths:
    """Runs operations on paths; below its roots, no link is followed.

    A path below no root is used unchanged. Threads may share an instance.

    Args:
        by_handle: Whether directories are opened (POSIX), or only checked before each operation.
    """

    def __init__(self, *, by_handle: bool = HAS_HANDLES) -> None:
        self._roots: tuple[str, ...] = ()
        """Deepest first, so that the nearest root of a path is found first."""
        self._by_handle = by_handle
        self._thread = _ThreadDirectories()

    def guard(self, root: Path) -> None:
        """Stop following links below a directory; one below an existing root is covered by that root.

        Args:
            root: Absolute; need not exist.
        """
        text = os.fspath(root)
        if text not in self._roots and self._root_of(text) is None:
            self._roots = tuple(sorted((*self._roots, text), key=len, reverse=True))

    @contextmanager
    def reuse_directories(self, *, only_looks: bool = False) -> Iterator[None]:
        """In this block, open each directory once and not for each operation of this thread.

        For loops over many files, in which opening would be half of the work. Links are not followed here
        either. But if a directory is moved meanwhile, later operations go to its new place.

        Args:
            only_looks: The block creates nothing, so an absent directory is not looked up again.
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
        """Keep a directory below a root open: operations use it even if its path is changed meanwhile.

        Returns:
            A function that releases it.

        Raises:
            LinkInPathError: The path contains a link.
            OSError: It cannot be opened.
        """
        text = os.fspath(path)
        root = self._root_of(text)
        if root is None or not self._by_handle:
            return lambda: None
        HANDLES.pin(root, text)
        return partial(HANDLES.unpin, root, text)

    def run_at(self, path: Path, call: Callable[[str, int | None], T]) -> T:
        """Run an operation on a name in its directory; it must not follow a link that has this name.

        Args:
            path: Absolute.
            call: The operation. It gets a name and the descriptor of its directory, or a whole path and None.
                It may be called twice if too many files are open.

        Raises:
            LinkInPathError: The path contains a link.
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
            _require_no_links(_directories_between(root, text))
            return call(text, None)
        handle = self._hold(root, above)
        try:
            return _in(handle, name, call)
        finally:
            if found is None:
                HANDLES.release(handle)

    def on_directory(self, path: Path, call: Callable[[str | int], T]) -> T:
        """Run an operation on a directory itself, which must not be a link.

        Args:
            path: Absolute.
            call: The operation. It gets a descriptor or a path.

        Raises:
            LinkInPathError: It is a link, or its path contains one.
            OSError: From the operation.
        """
        text = os.fspath(path)
        root = self._root_of(text)
        if root is None:
            return call(text)
        if not self._by_handle:
            _require_no_links([*_directories_between(root, text), text])
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
            if len(found) > _MOST_HELD:  # the two used last always stay: a rename needs both
                HANDLES.release(found.pop(next(iter(found))))
        return handle

    def _root_of(self, text: str) -> str | None:
        """The nearest root above a path, compared as text; None for a path that contains ``..``."""
        for root in self._roots:
            if text.startswith(root):
                is_below = text[len(root) : len(root) + 1] == os.sep or root[-1:] == os.sep
                if is_below and (".." not in text or ".." not in Path(text[len(root) :]).parts):
                    return root
        return None


def _in(directory: DirectoryHandle, name: str, call: Callable[[str, int | None], T]) -> T:
    """Run an operation on a name in an open directory; retry it if too many files were open."""
    try:
        return call(name, directory.fd)
    except OSError as error:
        if not HANDLES.make_room(error):
            raise
        return call(name, directory.fd)


def _directories_between(root: str, path: str) -> Iterator[str]:
    """The directories between a root and a path, from the top."""
    names = Path(path).relative_to(root).parts
    for count in range(1, len(names)):
        yield os.fspath(Path(root, *names[:count]))


def _require_no_links(directories: Iterable[str]) -> None:
    for directory in directories:
        try:
            found = os.lstat(directory)
        except OSError:
            return  # the operation itself will fail and report why
        if stat.S_ISLNK(found.st_mode) or getattr(found, "st_file_attributes", 0) & _REPARSE_POINT:
            raise LinkInPathError(directory)

"""Below a root no link is followed: the one way in which paths of the cache become paths of the system.

The root, and what leads to it, is its owner's choice. Below it everybody who may write to the cache could
have planted a link, at any moment. On POSIX an operation is therefore given the directory as an open handle
and the last name alone (:mod:`modelfetch.store.handles`). Elsewhere the way is looked over right before:
whoever plants a link in the very moment between is not noticed there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from modelfetch.store.handles import HANDLES, AstrayError

T = TypeVar("T")

HAS_HANDLES: Final = {os.open, os.stat, os.unlink, os.mkdir, os.rename} <= os.supports_dir_fd
"""Whether operations can be told where to begin (POSIX)."""
_REPARSE_POINT: Final = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0x400)
"""Windows: a symbolic link, a junction or a mount point (winnt.h)."""


class Beneath:
    """Carries out operations on paths, below its roots without following a link.

    A path that lies below no root is used as it is. Threads may share it.

    Args:
        by_handle: Whether directories are held open, or only looked at.
    """

    def __init__(self, *, by_handle: bool = HAS_HANDLES) -> None:
        self._roots: tuple[str, ...] = ()
        """Those further down first."""
        self._by_handle = by_handle

    def guard(self, root: Path) -> None:
        """Follow no link below a directory any more; one that lies below a root already is a part of that.

        Args:
            root: Absolute; need not exist.
        """
        text = os.fspath(root)
        if text not in self._roots and self._root_of(text) is None:
            self._roots = tuple(sorted((*self._roots, text), key=len, reverse=True))

    def at(self, path: Path, call: Callable[[str, int | None], T]) -> T:
        """Carry out an operation on a name; it must not follow a link that has this name.

        Args:
            path: Absolute.
            call: The operation, on a name and the descriptor of the directory it is in; None where the name
                is a whole path. It may be tried twice, where too many files are open.

        Raises:
            AstrayError: A link stands in the way.
            OSError: From the operation.
        """
        text = os.fspath(path)
        root = self._root_of(text)
        if root is None:
            return call(text, None)
        if not self._by_handle:
            _look_over(_ways(root, text))
            return call(text, None)
        above, _, name = text.rpartition("/")
        handle = HANDLES.hold(root, above or "/")
        try:
            return call(name, handle.fd)
        except OSError as error:
            if not HANDLES.make_room(error):
                raise
            return call(name, handle.fd)
        finally:
            HANDLES.release(handle)

    def listed(self, path: Path, call: Callable[[str | int], T]) -> T:
        """Carry out an operation on a directory itself, which must not be a link.

        Args:
            path: Absolute.
            call: The operation, on a descriptor or a path.

        Raises:
            AstrayError: It is a link, or one stands in the way.
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

    def _root_of(self, text: str) -> str | None:
        """The nearest root above a path, as it is written; none of a path that climbs up again."""
        for root in self._roots:
            if text.startswith(root):
                rest = text[len(root) :]
                is_below = rest[:1] == os.sep or root[-1:] == os.sep
                if is_below and (".." not in rest or ".." not in Path(rest).parts):
                    return root
        return None


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
            raise AstrayError(directory)

"""Translates failed system calls into errors that a person can act on.

This is the only place where an ``OSError`` of the cache becomes a :class:`~modelfetch.errors.StoreError`: one
line with operation, path and reason, and a hint. Errors that a caller has to expect become return values.
:class:`DiskOperations` passes every operation through :meth:`DiskOperations.perform`. Example::

    cannot write /cache/partial/3f.../data: the disk is full (ENOSPC)
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from modelfetch.errors import StoreError
from modelfetch.model.text import sanitize
from modelfetch.notices import Notices
from modelfetch.store.dir_handles import LinkInPathError
from modelfetch.store.safe_paths import SafePaths

_ELSEWHERE: Final = "or put the cache elsewhere with --cache-dir"
_AGAIN: Final = "Another program changed the cache meanwhile; try again."

NO_INODES: Final = "no inodes"
"""Reason of :func:`refusal` for an ENOSPC that means a lack of inodes, while bytes would still fit."""

_REASONS: Final[dict[str, tuple[str, str]]] = {
    "ENOSPC": ("the disk is full", f"Free some space, {_ELSEWHERE}; received data was kept."),
    "EDQUOT": ("your disk quota is used up", f"Free some space, {_ELSEWHERE}; received data was kept."),
    "EFBIG": ("the file exceeds a size limit", f"Raise the limit (ulimit -f), {_ELSEWHERE}."),
    "EROFS": ("the file system is read-only", f"Mount it writable, {_ELSEWHERE}."),
    "EACCES": ("permission denied", f"Check the path's owner and mode, {_ELSEWHERE}."),
    "EPERM": (
        "the operation is not permitted",
        f"The path may be immutable or belong to another user; change that, {_ELSEWHERE}.",
    ),
    "EIO": (
        "the disk failed to read or write",
        f"Check the system log and the disk, {_ELSEWHERE}.",
    ),
    "EMFILE": (
        "too many files are open",
        "Raise the limit (ulimit -n), or fetch fewer files at once (--files).",
    ),
    "ENFILE": (
        "too many files are open on this machine",
        "Close other programs, then try again.",
    ),
    "ENAMETOOLONG": ("the name is too long for this file system", "Choose a shorter --cache-dir."),
    "ENOENT": ("it does not exist", _AGAIN),
    "ESTALE": ("it was removed on the network file system", _AGAIN),
    "EEXIST": ("it already exists", _AGAIN),
    "ENOTEMPTY": ("the directory is not empty", _AGAIN),
    "ENOTDIR": (
        "a part of the path is not a directory",
        "Move the file that is there, then try again.",
    ),
    "EISDIR": ("a directory has this name", "Move it, then try again."),
    "ELOOP": (
        "the path contains a symbolic link",
        "Links inside the cache are not followed; move it, then try again.",
    ),
    "EXDEV": ("the cache spans several file systems", "Keep all of the cache on one file system."),
    "EMLINK": (
        "a directory or file there has the maximum number of links",
        f"Remove models that are not needed (modelfetch remove), {_ELSEWHERE}.",
    ),
    "EINTR": ("it was interrupted by a signal", "Try again."),
    NO_INODES: (
        "the file system has no inodes left (ENOSPC)",
        f"Delete files, of any size (df -i shows how many there are), {_ELSEWHERE}.",
    ),
    "EBUSY": ("it is in use", "Close what uses it, then try again."),
}
"""By symbolic errno, because not every system has each number: what it means here, and what to do."""

UNSYNCED: Final = (
    "the file system of the cache cannot sync files: stored files may be lost or damaged by a power cut "
    "(modelfetch verify detects that)"
)
UNSEALED: Final = (
    "the file system of the cache does not support changing modes: model files are not read-only, "
    "so make sure that no program writes to them"
)


def refusal(error: OSError, doing: str, path: Path, reason: str = "") -> StoreError:
    """Translate a failed system call.

    Args:
        error: The error of the system call.
        doing: The operation as a verb that follows "cannot", such as ``write``.
        path: The path it was applied to.
        reason: A key of the reasons that is more specific than the errno; empty to use the errno.
    """
    if isinstance(error, LinkInPathError):
        return not_a_directory(Path(error.filename))
    name = errno.errorcode.get(error.errno or 0, "")
    words, hint = _REASONS.get(reason or name, (error.strerror or "unknown error", ""))
    code = f" ({name})" if name and not reason else ""
    return StoreError(f"cannot {doing} {sanitize(str(path))}: {words}{code}", hint=hint)


def not_a_directory(directory: Path) -> StoreError:
    """Return the error for a link, or anything else, in place of a directory of the cache."""
    return StoreError(
        f"{sanitize(str(directory))} is a symbolic link, or not a directory",
        hint="Links inside the cache are not followed; move it away, then run the command again.",
    )


_PASSING: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE))


def is_passing(error: StoreError) -> bool:
    """Whether an operation failed for want of something that others have just now, or by a change meanwhile.

    Such an error says nothing about what is on the disk: the same operation may succeed a moment later.
    """
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING


_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


def is_full(error: StoreError) -> bool:
    """Whether the disk, or a quota, has no room for what was to be written."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL


T = TypeVar("T")


class DiskOperations:
    """Error handling shared by all operations of :class:`modelfetch.store.disk.Disk`."""

    def __init__(self, *, beneath: SafePaths | None = None, notices: Notices | None = None) -> None:
        """Prepare access to the disk.

        Args:
            beneath: Replaces the default way of reaching paths below a root.
            notices: Collects lines about what this disk cannot do, and about files that are left alone.
        """
        self._paths = beneath or SafePaths()
        self.notices = notices or Notices()

    def guard(self, root: Path) -> None:
        """Stop following links below a directory; see :meth:`.SafePaths.guard`."""
        self._paths.guard(root)

    def reuse_directories(self, *, only_looks: bool = False) -> AbstractContextManager[None]:
        """Keep directories open in a block with many operations; see :meth:`.SafePaths.reuse_directories`."""
        return self._paths.reuse_directories(only_looks=only_looks)

    def pin(self, path: Path) -> Callable[[], None]:
        """Keep a directory open until the returned function is called; see :meth:`.SafePaths.pin`."""
        return self._call("open", path, lambda: self._paths.pin(path))

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:  # noqa: ARG002
        """Run one operation; tests override this to record operations or make them fail."""
        return call()

    def _call(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        try:
            return self.perform(operation, path, call)
        except OSError as error:
            raise self._refusal(error, operation, path) from error

    def _call_or_none(
        self, operation: str, path: Path, call: Callable[[], T], expected: Collection[int]
    ) -> T | None:
        """Like ``_call``, but None for an expected errno."""
        try:
            return self.perform(operation, path, call)
        except OSError as error:
            if error.errno in expected:
                return None
            raise self._refusal(error, operation, path) from error

    def _try(self, operation: str, path: Path, call: Callable[[], object], expected: Collection[int]) -> bool:
        """Like ``_call``, but returns whether it succeeded: False for an expected errno."""
        try:
            self.perform(operation, path, call)
        except OSError as error:
            if error.errno in expected:
                return False
            raise self._refusal(error, operation, path) from error
        return True

    def _at(self, path: Path, call: Callable[[str, int | None], T]) -> Callable[[], T]:
        """Bind an operation to a name; its directory is only opened when the operation runs."""
        return partial(self._paths.run_at, path, call)

    def _refusal(self, error: OSError, operation: str, path: Path) -> StoreError:
        # The same errno for a lack of bytes and of inodes, but the remedy differs.
        if error.errno == errno.ENOSPC and not self.has_inodes(path):
            return refusal(error, operation, path, NO_INODES)
        return refusal(error, operation, path)

    def _between(
        self, source: Path, target: Path, call: Callable[[str, int | None, str, int | None], None]
    ) -> Callable[[], None]:
        """Bind an operation to two names, each relative to its open directory."""
        return self._at(
            source, lambda name, at: self._paths.run_at(target, lambda new, there: call(name, at, new, there))
        )

    def has_inodes(self, path: Path) -> bool:
        """Whether an unprivileged user can create another file beside this one; True where unknown."""
        if sys.platform != "win32":
            with suppress(OSError):
                found = os.statvfs(path.parent)
                return not found.f_files or found.f_favail > 0  # Btrfs reports 0 inodes in all: no limit
        return True

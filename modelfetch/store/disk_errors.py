"""What the operating system said no to, as one line a person can act on.

The only place where an ``OSError`` of the cache becomes a :class:`~modelfetch.errors.StoreError`.

Every operation on the disk passes :meth:`DiskOperations.perform`, below a guarded root only.

What a caller has to expect comes back as a value; everything else is a
:class:`~modelfetch.errors.StoreError`.
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
from modelfetch.model.text import sanitise
from modelfetch.notices import Notices
from modelfetch.store.dir_handles import LinkInPathError
from modelfetch.store.safe_paths import SafePaths

_ELSEWHERE: Final = "or put the cache elsewhere with --cache-dir"
_AGAIN: Final = "Something else changed the cache meanwhile; try again."

NO_INODES: Final = "no inodes"
"""What ENOSPC means where bytes would still fit: as a reason of :func:`refusal`."""

_REASONS: Final[dict[str, tuple[str, str]]] = {
    "ENOSPC": ("the disk is full", f"Free some space, {_ELSEWHERE}; good bytes were kept."),
    "EDQUOT": ("your disk quota is used up", f"Free some space, {_ELSEWHERE}; good bytes were kept."),
    "EFBIG": ("the file is larger than allowed here", f"Raise the limit (ulimit -f), {_ELSEWHERE}."),
    "EROFS": ("the file system is read-only", f"Mount it writable, {_ELSEWHERE}."),
    "EACCES": ("permission denied", f"Check the path's owner and mode, {_ELSEWHERE}."),
    "EPERM": (
        "the system does not permit it",
        f"The path may be immutable or another user's; mend it, {_ELSEWHERE}.",
    ),
    "EIO": (
        "the disk failed to read or write",
        f"Look at the system's log and check the disk, {_ELSEWHERE}.",
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
    "ENOENT": ("it is not there", _AGAIN),
    "ESTALE": ("the network file system lost it", _AGAIN),
    "EEXIST": ("it exists already", _AGAIN),
    "ENOTEMPTY": ("the directory is not empty", _AGAIN),
    "ENOTDIR": (
        "a part of the path is not a directory",
        "Move what stands in the way, then try again.",
    ),
    "EISDIR": ("a directory stands in the way", "Move it, then try again."),
    "ELOOP": (
        "a symbolic link stands in the way",
        "Links are not followed here; move it, then try again.",
    ),
    "EXDEV": ("the cache spans several file systems", "Keep all of the cache on one file system."),
    "EMLINK": (
        "a directory or file there has as many links as the file system allows",
        f"Remove models that are not needed (modelfetch remove), {_ELSEWHERE}.",
    ),
    "EINTR": ("a signal came in between", "Try again."),
    NO_INODES: (
        "the file system has no inodes left for further files (ENOSPC)",
        f"Delete files, however small (df -i shows how many there are), {_ELSEWHERE}.",
    ),
    "EBUSY": ("it is in use", "Close what uses it, then try again."),
}
"""Symbolic errno (not every system has each) to what it means here, and what to do."""

UNSYNCED: Final = (
    "the file system of the cache cannot sync files: what is stored may be lost or wrong after a power cut "
    "(modelfetch verify finds out)"
)
UNSEALED: Final = (
    "the file system of the cache does not let modes be changed: files of models are not read-only, "
    "so keep programs from writing to them"
)


def refusal(error: OSError, doing: str, path: Path, reason: str = "") -> StoreError:
    """Translate a failed system call.

    Args:
        error: What the system raised.
        doing: What was tried, continuing the word "cannot": ``write``.
        path: What it was tried on.
        reason: A key of the reasons that says more than the number the system gave; empty for that number.
    """
    if isinstance(error, LinkInPathError):
        return not_a_directory(Path(error.filename))
    name = errno.errorcode.get(error.errno or 0, "")
    words, hint = _REASONS.get(reason or name, (error.strerror or "unknown error", ""))
    code = f" ({name})" if name and not reason else ""
    return StoreError(f"cannot {doing} {sanitise(str(path))}: {words}{code}", hint=hint)


def not_a_directory(directory: Path) -> StoreError:
    """Say that something else, as a link, stands where a directory of the cache should."""
    return StoreError(
        f"{sanitise(str(directory))} is not a directory of its own",
        hint="Links inside the cache are not followed; move it away, then run the command again.",
    )


T = TypeVar("T")


class DiskOperations:
    """What all operations of :class:`modelfetch.store.disk.Disk` have in common."""

    def __init__(self, *, beneath: SafePaths | None = None, notices: Notices | None = None) -> None:
        """Reach the disk.

        Args:
            beneath: How paths below a root are reached, instead of the best way there is here.
            notices: Who is told of what this disk cannot do, and of what is left alone.
        """
        self._paths = beneath or SafePaths()
        self.notices = notices or Notices()

    def guard(self, root: Path) -> None:
        """Follow no link below a directory any more; see :meth:`.SafePaths.guard`."""
        self._paths.guard(root)

    def reuse_directories(self, *, only_looks: bool = False) -> AbstractContextManager[None]:
        """A block with many operations in few directories, as :meth:`.SafePaths.reuse_directories` has it."""
        return self._paths.reuse_directories(only_looks=only_looks)

    def pin(self, path: Path) -> Callable[[], None]:
        """Hold a directory open, as :meth:`.SafePaths.pin` has it; what is returned lets go of it."""
        return self._call("open", path, lambda: self._paths.pin(path))

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:  # noqa: ARG002
        """Carry out one operation; the point where tests let it fail instead."""
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
        """Like ``_call``, but whether it was done instead of what it gave."""
        try:
            self.perform(operation, path, call)
        except OSError as error:
            if error.errno in expected:
                return False
            raise self._refusal(error, operation, path) from error
        return True

    def _at(self, path: Path, call: Callable[[str, int | None], T]) -> Callable[[], T]:
        """An operation on a name in its directory, wherever that is by the time it is carried out."""
        return partial(self._paths.run_at, path, call)

    def _refusal(self, error: OSError, operation: str, path: Path) -> StoreError:
        if error.errno == errno.ENOSPC and not self.has_inodes(path):
            return refusal(error, operation, path, NO_INODES)
        return refusal(error, operation, path)

    def _between(
        self, source: Path, target: Path, call: Callable[[str, int | None, str, int | None], None]
    ) -> Callable[[], None]:
        """An operation on two names, each in its directory."""
        return self._at(
            source, lambda name, at: self._paths.run_at(target, lambda new, there: call(name, at, new, there))
        )

    def has_inodes(self, path: Path) -> bool:
        """Whether an ordinary user can make another file beside this one; True where that is not known."""
        if sys.platform != "win32":
            with suppress(OSError):
                found = os.statvfs(path.parent)
                return not found.f_files or found.f_favail > 0  # Btrfs counts none
        return True

"""What the operating system said no to, as one line a person can act on.

The only place where an ``OSError`` of the cache becomes a :class:`~modelfetch.errors.StoreError`.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from modelfetch.errors import StoreError
from modelfetch.model.text import sanitise

_ELSEWHERE: Final = "or put the cache elsewhere with --cache-dir"
_AGAIN: Final = "Something else changed the cache meanwhile; try again."

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
    "EBUSY": ("it is in use", "Close what uses it, then try again."),
}
"""Symbolic errno (not every system has each) to what it means here, and what to do."""


def refusal(error: OSError, doing: str, path: Path) -> StoreError:
    """Translate a failed system call.

    Args:
        error: What the system raised.
        doing: What was tried, continuing the word "cannot": ``write``.
        path: What it was tried on.
    """
    name = errno.errorcode.get(error.errno or 0, "")
    reason, hint = _REASONS.get(name, (error.strerror or "unknown error", ""))
    code = f" ({name})" if name else ""
    return StoreError(f"cannot {doing} {sanitise(str(path))}: {reason}{code}", hint=hint)

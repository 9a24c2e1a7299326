"""Whether a directory has room for a download and can be written to; checked before the first request.

A full or read-only disk would otherwise fail a run only after most bytes were fetched. The directory need not
exist: the nearest one above it that does decides. Nothing here writes.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError
from modelfetch.model.text import sanitize
from modelfetch.model.units import format_size
from modelfetch.store.disk_errors import refusal

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk

SLACK: Final = 100
"""A download of n bytes needs n / SLACK bytes more: for directories, journals and file system metadata."""


def free_space(disk: Disk, directory: Path) -> int | None:
    """Return the bytes an unprivileged user can still write; None where the file system does not report them.

    Args:
        disk: The disk.
        directory: Absolute; need not exist yet.
    """
    return disk.free(nearest_of(disk, directory)[0])


def require_space(disk: Disk, directory: Path, needed: int, instead: str) -> None:
    """Check that a number of bytes fits, plus some slack; ``instead`` is the rest of the error's hint.

    Raises:
        StoreError: They do not.
    """
    wanted, free = needed + needed // SLACK, free_space(disk, directory)
    if free is not None and free < wanted:
        raise StoreError(
            f"{sanitize(str(directory))}: {format_size(wanted)} are needed, {format_size(free)} are free",
            hint=f"Free some space, or {instead}.",
        ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write would end; for `is_full`


def require_writable(disk: Disk, directory: Path) -> None:
    """Check that a directory, which need not exist, is writable; writes nothing.

    Raises:
        StoreError: It is not.
    """
    nearest, found = nearest_of(disk, directory)
    code = disk.why_not_writable(nearest) if stat.S_ISDIR(found.st_mode) else errno.ENOTDIR
    if code:
        raise refusal(OSError(code, os.strerror(code)), "write to", nearest)


def nearest_of(disk: Disk, directory: Path) -> tuple[Path, os.stat_result]:
    """Return the nearest existing directory at or above this one."""
    looks = ((path, disk.stat(path)) for path in (directory, *directory.parents))
    return next((path, found) for path, found in looks if found is not None)

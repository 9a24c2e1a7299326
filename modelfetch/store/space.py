"""Whether and how much can be written, asked before the first byte rather than found out with the last."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from modelfetch.errors import StoreError
from modelfetch.model.text import sanitise
from modelfetch.model.units import format_size
from modelfetch.store.disk import Disk
from modelfetch.store.refusals import refusal

SLACK: Final = 100
"""A download of n bytes wants n / SLACK bytes more: for directories, journals and the file system's maps."""


def free_space(disk: Disk, directory: Path) -> int | None:
    """Count the bytes an ordinary user can still write; None when the file system does not say.

    Args:
        disk: The disk.
        directory: Absolute; need not exist yet.
    """
    return disk.free(_nearest(disk, directory)[0])


def require_space(disk: Disk, directory: Path, needed: int) -> None:
    """Make sure that a number of bytes fits, and some slack.

    Raises:
        StoreError: It does not.
    """
    wanted, free = needed + needed // SLACK, free_space(disk, directory)
    if free is not None and free < wanted:
        raise StoreError(
            f"{sanitise(str(directory))}: {format_size(wanted)} are needed, {format_size(free)} are free",
            hint="Free some space, or put the cache elsewhere with --cache-dir.",
        )


def require_writable(disk: Disk, directory: Path) -> None:
    """Make sure that a directory, there or not yet, can be written to. Nothing is written.

    Raises:
        StoreError: It cannot.
    """
    nearest, found = _nearest(disk, directory)
    code = disk.why_not_writable(nearest) if stat.S_ISDIR(found.st_mode) else errno.ENOTDIR
    if code:
        raise refusal(OSError(code, os.strerror(code)), "write to", nearest)


def share_file_system(disk: Disk, one: Path, other: Path) -> bool:
    """Whether two directories, there or not yet, lie on the same file system."""
    return _nearest(disk, one)[1].st_dev == _nearest(disk, other)[1].st_dev


def _nearest(disk: Disk, directory: Path) -> tuple[Path, os.stat_result]:
    """Find the nearest existing directory on the way up."""
    looks = ((path, disk.stat(path)) for path in (directory, *directory.parents))
    return next((path, found) for path, found in looks if found is not None)

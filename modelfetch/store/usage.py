"""The space that a cache takes on the disk: each inode once, in whole blocks, with its directories.

One look at each directory gives names and statuses together, so this takes a tenth of the time of a survey
(:mod:`modelfetch.store.survey`), which also finds out what everything belongs to.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.model.paths import DEPTH

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout

Inode = tuple[int, int]
"""Device and inode."""


def usage(disk: Disk, layout: Layout) -> int:
    """Return the bytes on the disk of models, blobs, interrupted downloads and quarantine."""
    sizes: dict[Inode, int] = {}
    for top in (layout.models, layout.blobs, layout.partials, layout.quarantine):
        _add(disk, top, sizes, DEPTH + 2)  # models/NAME/VERSION are above the paths of files
    return sum(sizes.values())


def _add(disk: Disk, directory: Path, sizes: dict[Inode, int], depth: int) -> None:
    """Add the sizes of everything below a directory; links are not followed."""
    for name, found in disk.statuses(directory):
        sizes[inode_of(found)] = allocated(found)
        if depth and stat.S_ISDIR(found.st_mode):
            _add(disk, directory / name, sizes, depth - 1)


def inode_of(found: os.stat_result) -> Inode:
    """Return what identifies a file, whatever its names are."""
    return found.st_dev, found.st_ino


def allocated(found: os.stat_result) -> int:
    """Return the bytes a file takes on the disk, in whole blocks. ``st_blocks`` counts 512 bytes (POSIX)."""
    blocks = getattr(found, "st_blocks", None)
    return found.st_size if blocks is None else blocks * 512

"""Times that the store keeps as the modification time of a name: the last use of a model, the last upkeep.

Each is set at most once in :data:`modelfetch.warm.USE_SECONDS`. A cache that cannot be written keeps none,
and that is no failure.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.errors import StoreError
from modelfetch.store.files import make_directories
from modelfetch.warm import USE_SECONDS

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout


def note_use(disk: Disk, directory: Path) -> None:
    """Record that the model of a directory is used now; the warm path does so itself."""
    with suppress(StoreError):
        found = disk.lstat(directory)
        if found is not None and time.time() - found.st_mtime > USE_SECONDS:
            disk.touch(directory)


def begin_upkeep(disk: Disk, layout: Layout, now: float) -> bool:
    """Record that the upkeep is done now; False if it was done within a day, or nothing can be written.

    Args:
        disk: The disk.
        layout: The cache.
        now: The present, in seconds since 1970.
    """
    mark = layout.upkeep()
    with suppress(StoreError):
        found = disk.lstat(mark)
        # A time in the future, of a clock that was set back, would end the upkeep until then.
        if found is not None and 0 <= now - found.st_mtime < USE_SECONDS:
            return False
        if found is not None:
            disk.touch(mark)
        else:
            make_directories(disk, layout.root, mark.parent, durable=False)
            disk.close(disk.create(mark), mark)
        return True
    return False

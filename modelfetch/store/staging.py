"""A directory into which another program writes pieces of files, and from which they are copied.

It lies beside the partials, under a temporary name: ``partial/.mf-tmp-<tag>``. A killed run leaves it behind,
and the next sweep removes it like every temporary directory of a dead process. Its files never get a final
name: the other program could still write to them. Their bytes count for nothing before they were hashed.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.errors import StoreError
from modelfetch.store.file_ranges import read_up_to
from modelfetch.store.files import closing, make_directories
from modelfetch.store.group_commit import remove_group
from modelfetch.store.temporary import temporary_name

if TYPE_CHECKING:
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout


class Staging:
    """The directory, and reading from it. Threads may share an instance.

    Args:
        disk: The disk.
        layout: The paths of the cache.

    Raises:
        StoreError: The disk refused to create the directory.
    """

    def __init__(self, disk: Disk, layout: Layout) -> None:
        self._disk = disk
        self.directory: Path = layout.partials / temporary_name()
        make_directories(disk, layout.root, self.directory, durable=False)

    def remove(self) -> None:
        """Remove the directory and its files. Best effort."""
        remove_group(self._disk, self.directory)


def read_range(disk: Disk, path: Path, start: int, end: int) -> bytes | None:
    """Read a range of a regular file; a link is not followed.

    Returns:
        The bytes; None if the file is absent, shorter, or cannot be read.
    """
    with suppress(StoreError):
        fd = disk.open_to_read(path)
        if fd is None:
            return None
        with closing(disk, fd, path):
            data = read_up_to(fd, start, end - start)
            return data if len(data) == end - start else None
    return None

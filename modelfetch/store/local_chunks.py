"""Chunks of a file that lie on this disk: in a damaged copy of the file itself, or in other blobs.

The maps of the blobs say where a chunk should be. Nothing of that is trusted: a chunk counts only if the
bytes that are read have its digest. Example: version 2 of a model differs from version 1 in three of 199
chunks, so 196 are copied from the blob of version 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modelfetch.errors import StoreError
from modelfetch.ipfs.row_array import LeafKind
from modelfetch.store.chunk_index import PLACES, ChunkIndex
from modelfetch.store.files import closing

if TYPE_CHECKING:
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.ipfs.row_array import Row
    from modelfetch.store.chunk_maps import ChunkMaps
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout


class Copy(NamedTuple):
    """Where a chunk is said to be."""

    row: Row
    path: Path
    offset: int
    """Where it begins in the file at ``path``."""


class LocalChunks:
    """Finds chunks on this disk. It reads only.

    Args:
        disk: The disk.
        layout: The paths of the cache.
        maps: The chunk maps of the cache.
    """

    def __init__(self, disk: Disk, layout: Layout, maps: ChunkMaps) -> None:
        self._disk = disk
        self._index = ChunkIndex(disk, layout, maps)

    def same_place(self, table: LeafTable, paths: Sequence[Path], missing: Missing) -> Iterator[Copy]:
        """Yield each missing chunk at its own offset in other copies of the file, damaged or cut short."""
        for path in paths:
            found = self._disk.lstat(path)
            size = found.st_size if found is not None else 0
            for start, end in missing():
                rows = (row for row in table.rows_in(start, end) if row.offset + row.size <= size)
                yield from (Copy(row, path, row.offset) for row in rows if _is_within(row, start, end))

    def elsewhere(self, table: LeafTable, missing: Missing) -> Iterator[Copy]:
        """Yield the chunks that other blobs have, by the digests in their maps, in the order of the blobs.

        A chunk that is still missing after that is yielded again, with another place.
        """
        self._index.update()
        for attempt in range(PLACES):
            copies = [
                Copy(row, *places[attempt])
                for row in _raw_rows(table, missing())
                if len(places := self._index.places(row.digest)) > attempt
            ]
            if not copies:
                return
            yield from sorted(copies, key=lambda copy: (copy.path, copy.offset))

    def held_elsewhere(self, table: LeafTable) -> int:
        """Return how many bytes of a file other blobs have, as their maps say."""
        self._index.update()
        rows = _raw_rows(table, [(0, table.size)])
        return sum(row.size for row in rows if self._index.has(row.digest))

    @contextmanager
    def open(self, path: Path) -> Iterator[OpenCopy]:
        """Open a regular file for reading at any offset; a link is not followed.

        One that is not there, or cannot be read, is taken for an empty one.
        """
        try:
            fd = self._disk.open_to_read(path)
        except StoreError:
            fd = None
        if fd is None:
            yield OpenCopy(self._disk, path, None)
            return
        with closing(self._disk, fd, path):
            yield OpenCopy(self._disk, path, fd)


class OpenCopy:
    """An open file that may have chunks.

    Attributes:
        fd: Its descriptor; None if it is not there.
    """

    def __init__(self, disk: Disk, path: Path, fd: int | None) -> None:
        self.fd = fd
        self._disk = disk
        self._path = path

    def read(self, offset: int, size: int) -> bytes | None:
        """Read a range; None if the file is too short, or cannot be read there, as at a bad sector."""
        if self.fd is None:
            return None
        room = bytearray(size)
        try:
            is_full = self._disk.read_at(self.fd, self._path, memoryview(room), offset)
        except StoreError:
            return None
        return bytes(room) if is_full else None


Missing = Callable[[], Sequence[tuple[int, int]]]
"""Returns the gaps of a file, each as its start and end."""


def _raw_rows(table: LeafTable, ranges: Sequence[tuple[int, int]]) -> Iterator[Row]:
    """Yield the rows that are entirely in a range, and whose digest is that of their bytes."""
    for start, end in ranges:
        for row in table.rows_in(start, end):
            if row.kind == LeafKind.RAW and _is_within(row, start, end):
                yield row


def _is_within(row: Row, start: int, end: int) -> bool:
    return start <= row.offset and row.offset + row.size <= end

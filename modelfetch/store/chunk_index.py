"""Where in the blobs of a cache the chunks with a digest are, as its chunk maps say.

The maps are read once for all files of a run: 16 MB of them, for 330 GB of blobs, take two seconds. A map is
a hint, which any user of a shared cache may have written, and its blob may be damaged. So up to three places
are kept for a digest, and a chunk that is read from one counts only if it has the digest.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import StoreError
from modelfetch.ipfs.row_array import LeafKind

if TYPE_CHECKING:
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.store.chunk_maps import ChunkMaps
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout

MAP_BYTES: Final = 16 << 20
"""Bytes of maps that are read, about 330 GB of blobs. They take up to 60 MB of memory."""
LEAST_BYTES: Final = 512
"""What a map counts for at least, so that no more than 33,000 are opened."""
PLACES: Final = 3
"""Places that are kept for a digest: a chunk of zeros may be at thousands, and one place may be damaged."""
_OFFSET_BITS: Final = 40
"""Bits of an offset: a file with a map has at most 1 TiB (``SIZE_LIMIT`` of the leaf table reader)."""


class ChunkIndex:
    """The chunks of all mapped blobs, by digest. Thread-safe.

    Args:
        disk: The disk.
        layout: The paths of the cache.
        maps: The chunk maps of the cache.
    """

    def __init__(self, disk: Disk, layout: Layout, maps: ChunkMaps) -> None:
        self._disk = disk
        self._layout = layout
        self._maps = maps
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        """Digests of the files whose maps were read."""
        self._left = MAP_BYTES
        self._blobs: list[str] = []
        """Digests of the files whose maps are good."""
        self._first: dict[bytes, int] = {}
        """The first place of each digest: number of the blob and offset in one integer, which takes less."""
        self._others: dict[bytes, list[int]] = {}

    def update(self) -> None:
        """Read the maps that are new since the last call; those that cannot be read are left out."""
        with self._lock:
            for sha256 in self._maps.entries():
                if sha256 not in self._seen:
                    self._seen.add(sha256)
                    self._add(sha256)

    def places(self, digest: bytes) -> list[tuple[Path, int]]:
        """Return where a chunk should be: the path of each blob, and the offset in it."""
        first = self._first.get(digest)
        if first is None:
            return []
        places = [first, *self._others.get(digest, ())]
        mask = (1 << _OFFSET_BITS) - 1
        return [(self._layout.blob(self._blobs[each >> _OFFSET_BITS]), each & mask) for each in places]

    def has(self, digest: bytes) -> bool:
        """Whether a chunk should be somewhere."""
        return digest in self._first

    def _add(self, sha256: str) -> None:
        """Add the chunks of one file."""
        # The sizes first: both files may be of another user, who can make them of any size.
        size, map_size = self._size(self._layout.blob(sha256)), self._size(self._layout.chunk_map(sha256))
        if size is None or map_size is None or map_size > self._left:
            return
        self._left -= max(map_size, LEAST_BYTES)
        table = self._maps.read(sha256, size)
        if table is not None:
            self._add_rows(table, len(self._blobs) << _OFFSET_BITS)
            self._blobs.append(sha256)

    def _add_rows(self, table: LeafTable, blob: int) -> None:
        for row in table.rows:
            if row.kind != LeafKind.RAW:
                continue
            if row.digest not in self._first:
                self._first[row.digest] = blob | row.offset
            elif len(others := self._others.setdefault(row.digest, [])) < PLACES - 1:
                others.append(blob | row.offset)

    def _size(self, path: Path) -> int | None:
        """Return the size of a file; None if it is not there, or its directory is closed to this user."""
        try:
            found = self._disk.lstat(path)
        except StoreError:
            return None
        return found.st_size if found is not None else None

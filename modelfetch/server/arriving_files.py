"""Files that are being fetched, chunk by chunk as their bytes are verified.

A file may be sent before it is complete only if its chunks are proven: the manifest pins its CID, and the CID
proves the table of its chunks. Each chunk is read back from the partial and hashed here, directly before it
is sent, so a byte that is sent was verified in the memory that it is sent from. Neither the journal of the
partial nor the source of the bytes is trusted. So it does not matter which process fetches the file: a job of
this server (:class:`OwnArrival`) or any other run of this machine (:class:`ForeignArrival`).

A file without a proven table waits for its whole SHA-256.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from modelfetch.errors import StoreError
from modelfetch.store.file_ranges import holes, read_up_to
from modelfetch.store.in_progress import MOST_RANGES, data_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modelfetch.engine.runtime import KnownChunks
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.ipfs.row_array import Row
    from modelfetch.store import Partial, Store

Range = tuple[int, int]
"""Start and end of some bytes."""


class Arrival(ABC):
    """One file that is being fetched. Thread-safe.

    Args:
        store: Opens its data for reading.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    @abstractmethod
    def _table(self) -> LeafTable | None:
        """The table of its chunks; None while nothing proves one."""

    @property
    @abstractmethod
    def _path(self) -> Path | None:
        """Where its bytes are; None while there are none."""

    @abstractmethod
    def _missing(self, start: int, end: int) -> Sequence[Range]:
        """Return the gaps in a range of the file, in order."""

    @property
    def is_proven(self) -> bool:
        """Whether its chunks can be sent as they arrive."""
        return self._table is not None

    def ranges(self) -> list[Range]:
        """Return which bytes can be read: ranges of whole chunks, in order, not more than a peer reads.

        Their digests are not compared before they are read, so some may turn out to be wrong.
        """
        table = self._table
        if table is None:
            return []
        return whole_chunks(table, self._missing(0, table.size))[:MOST_RANGES]

    def has(self, offset: int) -> bool:
        """Whether the chunk that contains an offset seems to be there; it may turn out to be wrong."""
        table = self._table
        return table is not None and self._row_at(table, offset) is not None

    def read(self, offset: int) -> bytes | None:
        """Return verified bytes from an offset to the end of its chunk.

        Returns:
            None if the chunk is not there yet, or is wrong, or nothing proves it.
        """
        table = self._table
        row = self._row_at(table, offset) if table is not None else None
        chunk = self._read(row.offset, row.size) if row is not None else None
        if table is None or row is None or chunk is None or not table.check(row, chunk):
            return None
        return chunk[offset - row.offset :]

    def _row_at(self, table: LeafTable, offset: int) -> Row | None:
        """Return the row that contains an offset, if all its bytes seem to be there."""
        if not 0 <= offset < table.size:
            return None
        row = table.row_at(offset)
        return None if self._missing(row.offset, row.offset + row.size) else row

    def _read(self, offset: int, size: int) -> bytes | None:
        fd = self._open()
        if fd is None:  # it has its final name by now
            return None
        try:
            data = read_up_to(fd, offset, size)
        finally:
            os.close(fd)
        return data if len(data) == size else None

    def _open(self) -> int | None:
        path = self._path
        try:
            return self._store.open_to_read(path) if path is not None else None
        except StoreError:
            return None


class OwnArrival(Arrival):
    """One file that this process is fetching. Thread-safe.

    Args:
        partial: Its bytes so far.
        chunks: What is known about its chunks.
        store: Opens the partial's data for reading.
    """

    def __init__(self, partial: Partial, chunks: KnownChunks, store: Store) -> None:
        super().__init__(store)
        self._partial = partial
        self._chunks = chunks

    @property
    def _table(self) -> LeafTable | None:
        return self._chunks.table if self._chunks.is_proven else None

    @property
    def _path(self) -> Path | None:
        return self._partial.data_path

    def _missing(self, start: int, end: int) -> Sequence[Range]:
        gaps = self._partial.missing
        return [(max(start, gap), min(end, stop)) for gap, stop in gaps if gap < end and start < stop]

    def inode(self) -> int | None:
        """Return the inode of the data file; None while there is none. The finished blob keeps it."""
        path = self._path
        try:
            found = self._store.status_of(path) if path is not None else None
        except StoreError:
            return None
        return found.st_ino if found is not None else None


class ForeignArrival(Arrival):
    """One file that another process of this machine is fetching. Thread-safe.

    Args:
        sha256: Its digest.
        table: The table of its chunks, proven by the CID in a manifest.
        store: Opens its data for reading.
    """

    def __init__(self, sha256: str, table: LeafTable, store: Store) -> None:
        super().__init__(store)
        self._proven = table
        self._data = data_path(store.root, sha256)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._proven.size

    @property
    def _table(self) -> LeafTable:
        return self._proven

    @property
    def _path(self) -> Path:
        return self._data

    def _missing(self, start: int, end: int) -> Sequence[Range]:
        """Return the holes of the data file: the journal is that of the other process, and a claim."""
        fd = self._open()
        if fd is None:
            return [(start, end)]
        try:
            return holes(fd, start, end, MOST_RANGES)
        finally:
            os.close(fd)


def whole_chunks(table: LeafTable, missing: Sequence[Range]) -> list[Range]:
    """Return the ranges between some gaps, cut to whole chunks.

    Args:
        table: The chunks.
        missing: Start and end of each gap, in order.
    """
    starts, ends = [0, *(stop for _, stop in missing)], [*(start for start, _ in missing), table.size]
    between = (table.whole_rows(start, end) for start, end in zip(starts, ends, strict=True))
    return [(start, end) for start, end in between if start < end]


class Arrivals:
    """All files that this process is fetching for clients, by digest. Thread-safe.

    Args:
        store: The cache.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._arrivals: dict[str, OwnArrival] = {}

    def opened(self, partial: Partial, chunks: KnownChunks) -> None:
        """Note a file whose partial was opened; called by the thread that fetches it."""
        with self._lock:
            self._arrivals[partial.file.sha256] = OwnArrival(partial, chunks, self._store)

    def find(self, sha256: str) -> OwnArrival | None:
        """Find the arrival of a digest."""
        with self._lock:
            return self._arrivals.get(sha256)

    def forget(self, sha256: str) -> None:
        """Forget a digest whose fetch has ended."""
        with self._lock:
            self._arrivals.pop(sha256, None)

"""The leaves of a file as a table: with it, bytes from any source are verified chunk by chunk.

Each row is a range of the file and the SHA-256 that proves it. The root of the file's tree proves the table,
so it does not matter where the table came from either. Rows are found by offset, never by index times chunk
size: tools that cut by content make leaves of unequal size. A file of zeros has many rows with one digest,
and a source may send their block once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Final

from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.cid import Buffer, Cid
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.row_array import LeafKind, Row, RowArray

_OTHER: Final = {unixfs.Kind.FILE: unixfs.Kind.RAW, unixfs.Kind.RAW: unixfs.Kind.FILE}


class LeafTable:
    """All leaves of a file, in the order of the file. Never changes."""

    def __init__(self, root: Cid, size: int, rows: RowArray, known: Mapping[int, bytes]) -> None:
        self.root: Final = root
        self.size: Final = size
        """Bytes of the file: the sum of those of all rows."""
        self.rows: Final = rows
        self.known: Final = known
        """Bytes of some rows by offset, which came with the inner nodes: they need not be fetched."""
        self._wrapping = unixfs.Kind.FILE
        """The type that fitted last, which is tried first: nearly all trees have leaves of one type.

        Threads may share a table; a lost update costs one hash.
        """

    def row_at(self, offset: int) -> Row:
        """Return the row that contains an offset.

        Raises:
            ValueError: The offset is not in the file.
        """
        if not 0 <= offset < self.size:
            raise ValueError(f"offset {offset} is not in a file of {self.size} bytes")
        return self.rows[self.rows.index_at(offset)]

    def rows_in(self, start: int, end: int) -> Iterator[Row]:
        """Yield the rows that have bytes from ``start`` to before ``end``."""
        index = max(0, self.rows.index_at(start))
        end = min(end, self.size)
        while start < end and index < len(self.rows) and (row := self.rows[index]).offset < end:
            yield row
            index += 1

    def whole_rows(self, start: int, end: int) -> tuple[int, int]:
        """Return start and end of all rows that are entirely within a range; both are the same if none is.

        Args:
            start: Of the range.
            end: Of the range, not behind the end of the file.
        """
        if start < self.size and (first := self.row_at(start)).offset < start:
            start = first.offset + first.size
        if end < self.size:
            end = self.row_at(end).offset
        return start, max(start, end)

    def offsets_of(self, digest: bytes) -> tuple[int, ...]:
        """Return the offsets of all rows with a digest, in ascending order."""
        return tuple(self.rows[index].offset for index in self.rows.indices_of(digest))

    def check(self, row: Row, chunk: Buffer) -> bool:
        """Whether these are the bytes of a row; they are not copied.

        If no source's bytes ever fit a row that is ``WRAPPED``, it may not be a leaf at all: see
        :meth:`LeafTableReader.expand`.
        """
        if len(chunk) != row.size:
            return False
        if row.kind != LeafKind.WRAPPED:
            return sha256(chunk).digest() == row.digest
        for kind in (self._wrapping, _OTHER[self._wrapping]):
            if unixfs.wrapped_digest(chunk, kind) == row.digest:
                self._wrapping = kind
                return True
        return False

    def chunk_in(self, row: Row, block: bytes) -> bytes | None:
        """Return the bytes of the file in a leaf's block; None if it is not the block of this row.

        Raises:
            MalformedError: It is the block, but not a leaf of the size of the row. For a row that is
                ``WRAPPED``, see :meth:`LeafTableReader.expand`; any other makes the whole CID useless.
        """
        if sha256(block).digest() != row.digest:
            return None
        chunk = block if row.kind != LeafKind.WRAPPED else _data_of(block)
        if len(chunk) != row.size:
            raise MalformedError(f"leaf at {row.offset} has {len(chunk)} bytes instead of {row.size}")
        return chunk


def _data_of(block: bytes) -> bytes:
    node = dag_pb.decode(block)
    message = unixfs.file_message(node)
    if node.links:
        raise MalformedError("a node with links is not a leaf")
    return message.data or b""

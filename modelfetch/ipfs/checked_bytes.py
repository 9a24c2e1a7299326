"""Checks the bytes of a file chunk by chunk while they arrive, against a leaf table.

A source sends bytes from some offset on, in pieces of any length. :class:`CheckedBytes` regroups them into
the chunks of the table and says of each whether it is right, so that no byte of a chunk has to be used before
the chunk is proven. Chunks that are not entirely in the range that the source sends cannot be checked here:
their bytes are passed on at once, without a result.

Example: of a file in chunks of 4 bytes a source sends bytes 2 to 12 in pieces of 3 bytes::

    feed(b"CDE")   ->  (2, b"CD", None)              # the end of a chunk, the rest of which it does not send
    feed(b"FGH")   ->  (4, b"EFGH", True)
    feed(b"IJK")   ->  nothing yet
    feed(b"L")     ->  (8, b"IJKL", True)
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.ipfs.row_array import Row


class Checked(NamedTuple):
    """Bytes of the file, in order and without a gap to the ones before."""

    offset: int
    data: bytes | memoryview
    """Valid until the next call of :meth:`CheckedBytes.feed`."""
    is_right: bool | None
    """Whether they are the chunk that the table names; None if they are only a part of one."""


class CheckedBytes:
    """The bytes of one answer of a source, checked.

    Args:
        table: The chunks of the file.
        start: Offset of the first byte.
        end: Offset behind the last byte.
    """

    def __init__(self, table: LeafTable, start: int, end: int) -> None:
        self._table = table
        self._position = start
        self._start = start
        self._end = end
        self._held = bytearray()

    @property
    def held(self) -> int:
        """Bytes of the current chunk that are kept until all of it is there."""
        return len(self._held)

    def rest(self) -> bytes:
        """Return the bytes of the current chunk that are kept; they are the latest ones."""
        return bytes(self._held)

    def feed(self, piece: bytes | memoryview) -> Iterator[Checked]:
        """Take the next bytes, and yield what can be passed on; consume the iterator before the next call.

        Raises:
            ValueError: There are more bytes than the range has.
        """
        view = memoryview(piece)
        if self._position + self.held + len(view) > self._end:
            raise ValueError(f"bytes beyond offset {self._end}")
        while view:
            row = self._table.row_at(self._position)
            row_end = row.offset + row.size
            if self._position != row.offset or row_end > self._end:
                part, view = view[: row_end - self._position], view[row_end - self._position :]
                yield self._passed(part, None)
            elif not self._held and len(view) >= row.size:  # checked where it lies: most chunks arrive whole
                chunk, view = view[: row.size], view[row.size :]
                yield self._passed(chunk, self._table.check(row, chunk))
            else:
                view = yield from self._hold(row, view)

    def _hold(self, row: Row, view: memoryview) -> Generator[Checked, None, memoryview]:
        missing = row.size - len(self._held)
        self._held += view[:missing]
        if len(self._held) == row.size:
            chunk, self._held = self._held, bytearray()
            yield self._passed(memoryview(chunk), self._table.check(row, chunk))
        return view[missing:]

    def _passed(self, data: memoryview, is_right: bool | None) -> Checked:
        checked = Checked(self._position, data, is_right)
        self._position += len(data)
        return checked

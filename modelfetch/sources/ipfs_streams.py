"""Streams of the bytes of a file from the blocks of its leaves: out of a CAR file, or one request for each.

Blocks are placed by their digest with the leaf table, never by their position: gateways send them in
different orders, send repeated ones once or as often as they occur, and may send others too. What is yielded
is in the order of the file, and verified. A stream is complete when the last byte was yielded. Neither the
end of an answer nor its status or length says so: incomplete CAR files end cleanly with status 200.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.car import CarReader, WrongBlockError
from modelfetch.ipfs.cid import DAG_PB, RAW, SHA2_256, Cid
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.row_array import LeafKind
from modelfetch.ipfs.trustless_request import CAR_TYPE
from modelfetch.model.text import media_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.ipfs.row_array import Row
    from modelfetch.net.answers import Answer
    from modelfetch.sources.ipfs_gateway import Gateway

HELD_BYTES: Final = 16 << 20
"""Most bytes of leaves that are kept until their turn comes: those that arrive early, or occur again."""
_SPARE_BYTES: Final = 4 << 20
"""Bytes of a CAR file beyond those of the file and its share of inner nodes: directories of the path."""
_INNER_SHARE: Final = 50
"""A CAR file may be larger than the file by this share: the bound of inner nodes, and 40 bytes for each block
of at least 16 KiB, are less."""


class _RowsInOrder:
    """Cuts the bytes of a range out of rows that are taken in the order of the file.

    Args:
        table: Of the file.
        start: Start of the range.
        end: Its end, exclusive.
    """

    def __init__(self, table: LeafTable, start: int, end: int) -> None:
        self._table = table
        self._rows = table.rows_in(start, end)
        self._start = start
        self._end = end
        self.row: Row | None = next(self._rows, None)
        """The row that is needed next; None at the end."""

    def take(self, data: bytes) -> bytes | memoryview:
        """Take the bytes of the next row, and return those of them that lie in the range."""
        assert self.row is not None, "else nothing is needed"
        first = max(0, self._start - self.row.offset)
        last = min(self.row.size, self._end - self.row.offset)
        self.row = next(self._rows, None)
        return data if (first, last) == (0, len(data)) else memoryview(data)[first:last]

    def known(self) -> bytes | None:
        """Return the bytes of the next row, if they came with the inner nodes."""
        return None if self.row is None else self._table.known.get(self.row.offset)


class BlockStream:
    """A short range, with one request for each leaf. See :class:`modelfetch.sources.base.Stream`.

    Args:
        gateway: Sends the blocks.
        table: Leaf table of the file.
        start: Start of the range.
        end: Its end, exclusive.
        first_byte: Seconds for the first byte of the first block.
    """

    ranged = True

    def __init__(
        self, gateway: Gateway, table: LeafTable, start: int, end: int, first_byte: float | None
    ) -> None:
        self.start = start
        self._gateway = gateway
        self._table = table
        self._rows = _RowsInOrder(table, start, end)
        # Requested here, so that a gateway without the block fails before anything is yielded.
        self._first = self._next_chunk(first_byte)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        chunk = self._first
        while chunk is not None:
            yield self._rows.take(chunk)
            chunk = self._next_chunk(None)

    def _next_chunk(self, first_byte: float | None) -> bytes | None:
        """Return the bytes of the row that is needed next; None at the end."""
        row = self._rows.row
        if row is None:
            return None
        known = self._rows.known()
        if known is not None:
            return known
        block = self._gateway.block(_cid_of(row), first_byte)
        return chunk_of(self._table, row, block)

    def close(self) -> None:
        """Nothing is open between two requests."""


class _CarAnswer:
    """The blocks of one answer that should be a CAR file.

    Args:
        answer: The answer.
        limit: Most bytes that are read of it.

    Attributes:
        repeats: Whether repeated blocks come as often as they occur, as far as the answer promises it.
    """

    def __init__(self, answer: Answer, limit: int) -> None:
        form = answer.headers.get("content-type", "")
        self.repeats = "dups=y" in form.replace(" ", "").split(";")
        self._kind = media_type(form)
        self._answer = answer
        self._limit = limit

    def blocks(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield digest and bytes of each block, verified. A clean end says nothing.

        Raises:
            SourceError: It is no CAR file, breaks off, or has a wrong block.
        """
        reader = CarReader()
        try:
            for piece in self._answer.pieces(self._limit):
                for cid, block in reader.feed(piece):
                    yield cid.digest, block
        except WrongBlockError:
            raise SourceError(Fault.HASH, "sent a block that does not match its CID") from None
        except MalformedError as error:
            raise SourceError(Fault.PROTOCOL, f"sent {self._what}: {error}") from None
        try:
            reader.finish()
        except MalformedError as error:
            # The connection may have been cut; but a short page will not become a CAR file.
            fault = Fault.CUT if self._is_car else Fault.PROTOCOL
            raise SourceError(fault, f"sent {self._what}: {error}") from None

    @property
    def _is_car(self) -> bool:
        return self._kind in ("", CAR_TYPE)

    @property
    def _what(self) -> str:
        """What was sent, if it cannot be read."""
        return "a broken CAR file" if self._is_car else f"{self._kind} instead of a CAR file"

    def close(self) -> None:
        """End the answer. What is left of it is not read."""
        self._answer.close()


class _GapError(SourceError):
    """An answer does not have the block that is needed next, or not where it is needed."""


class CarStream:
    """A range out of a CAR file. See :class:`modelfetch.sources.base.Stream`.

    Some gateways leave out blocks of a range in the middle of a deep tree (dagula 8). So a block that is
    missing in an answer for a range is requested alone. If the gateway has it, the whole file is requested.

    Args:
        gateway: Sends the blocks.
        table: Leaf table of the file.
        start: Start of the range.
        end: Its end, exclusive.
        first_byte: Seconds for the first byte.

    Raises:
        SourceError: The gateway does not have the file, or sends no CAR files.
    """

    ranged = True

    def __init__(
        self, gateway: Gateway, table: LeafTable, start: int, end: int, first_byte: float | None
    ) -> None:
        self.start = start
        self._gateway = gateway
        self._table = table
        self._end = end
        self._rows = _RowsInOrder(table, start, end)
        self._yielded = 0
        self._held: dict[bytes, bytes] = {}
        self._room = HELD_BYTES
        self._is_part = (start, end) != (0, table.size)
        self._car = self._open((start, end) if self._is_part else None, first_byte)

    def _open(self, part: tuple[int, int] | None, first_byte: float | None) -> _CarAnswer:
        # Old gateways ignore the range and send the whole file: more than that is not read.
        limit = self._table.size + self._table.size // _INNER_SHARE + _SPARE_BYTES
        return _CarAnswer(self._gateway.car(self._table.root, part, first_byte), limit)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Yield the range; raises if the CAR file lacks a block, or breaks off."""
        try:
            yield from self._ready(b"", b"")
            yield from self._read()
        except _GapError:
            if not self._is_part:
                raise
        except SourceError as error:
            if error.fault is Fault.CUT and not self._yielded:
                # Some gateways close the connection at a block that they do not have. What was cut behind
                # good bytes is requested again, and what then brings none is such a block.
                raise self._missing() from error
            raise
        if self._rows.row is not None:
            yield from self._from_whole_file(self._rows.row)

    def _from_whole_file(self, row: Row) -> Iterator[bytes | memoryview]:
        """Continue with an answer for the whole file, if the gateway has the block of a row."""
        block = self._gateway.block(_cid_of(row), None)
        yield from self._ready(row.digest, block)
        self._car.close()
        self._car = self._open(None, None)
        yield from self._read()

    def _read(self) -> Iterator[bytes | memoryview]:
        """Yield rows from the answer, until all are there."""
        if self._rows.row is None:
            return
        for digest, block in self._car.blocks():
            yield from self._ready(digest, block)
            if self._rows.row is None:
                return
            if not self._hold(digest, block):
                raise _GapError(Fault.PROTOCOL, "sends the blocks in another order than that of the file")
        raise self._missing()

    def _missing(self) -> _GapError:
        """Make the error for an answer without the block that is needed next."""
        offset = 0 if self._rows.row is None else self._rows.row.offset
        where = f"that at {offset} of {self._table.size}"
        return _GapError(Fault.NOT_FOUND, f"does not have all blocks of the file: {where} is missing")

    def _ready(self, digest: bytes, block: bytes) -> Iterator[bytes | memoryview]:
        """Yield the rows that are next and whose bytes are there."""
        while (row := self._rows.row) is not None:
            chunk = self._rows.known()
            if chunk is None:
                found = block if row.digest == digest else self._held.get(row.digest)
                if found is None:
                    return
                chunk = chunk_of(self._table, row, found)
            piece = self._rows.take(chunk)
            self._yielded += len(piece)
            yield piece

    def _hold(self, digest: bytes, block: bytes) -> bool:
        """Keep a leaf that is needed later; returns whether there was room for it."""
        row = self._rows.row
        if row is None or digest in self._held:
            return True
        offsets = self._table.offsets_of(digest)
        later = bisect_left(offsets, row.offset)
        is_needed = later < len(offsets) and offsets[later] < self._end
        # One that was used before comes again, if that was promised.
        if not is_needed or (later and self._car.repeats):
            return True
        if len(block) > self._room:
            return False
        self._held[digest] = block
        self._room -= len(block)
        return True

    def close(self) -> None:
        """End the answer. What is left of it is not read."""
        self._held.clear()
        self._car.close()


def _cid_of(row: Row) -> Cid:
    """The CID of the block of a leaf."""
    return Cid(1, RAW if row.kind == LeafKind.RAW else DAG_PB, SHA2_256, row.digest)


def chunk_of(table: LeafTable, row: Row, block: bytes) -> bytes:
    """Return the bytes of the file in the block of a leaf, whose digest was compared before.

    Raises:
        SourceError: The block is no leaf of that size. The tree is wrong then, not the gateway.
    """
    if row.kind == LeafKind.RAW and len(block) == row.size:
        return block
    try:
        chunk = table.chunk_in(row, block)
    except MalformedError as error:
        raise SourceError(Fault.PROTOCOL, f"the tree of this CID is wrong: {error}") from None
    if chunk is None:
        raise SourceError(Fault.HASH, "sent a block that does not match its CID")
    return chunk

"""The blocks of a file whose bytes and leaf table are on this disk, without storing any leaf a second time.

Inner nodes are small and kept as they are. A leaf is made when it is asked for: its bytes are read from the
file at the offset that the table states, and wrapped in a UnixFS message if the tree has such leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from modelfetch.ipfs import unixfs
from modelfetch.ipfs.car import BLOCK_LIMIT
from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.row_array import LeafKind, Row

Read = Callable[[int, int], bytes]
"""Reads bytes of the file, given an offset and a number of bytes; fewer at its end."""

COPIES_LIMIT: Final = 8
"""Most copies of a repeated leaf that are tried: a damaged file of zeros would otherwise be read entirely for
each block of it."""


class MappedFile:
    """Finds the blocks of one file."""

    def __init__(self, table: LeafTable, nodes: Mapping[bytes, bytes], read: Read) -> None:
        """Use a file.

        Args:
            table: Its leaves.
            nodes: Its inner nodes by multihash.
            read: Reads bytes of the file. Errors of the disk are not caught.
        """
        self._table = table
        self._nodes = nodes
        self._read = read

    def find(self, cid: Cid) -> bytes | None:
        """Find a block; None if the file has no such block, or it is longer than 2 MiB.

        Leaves are not verified, because whoever sends them does: a changed file gives other bytes.
        """
        node = self._nodes.get(cid.multihash)
        if node is not None:
            return node
        makers = list(self._makers(cid.digest))
        for make in makers:
            block = make()
            # One copy of a repeated leaf can be damaged and another not, and a leaf is wrapped in one of two
            # ways. The last block is what remains, so that most leaves are hashed only by the sender.
            if make is makers[-1] or cid.matches(block):
                return block
        return None

    def _makers(self, digest: bytes) -> Iterator[Callable[[], bytes]]:
        """Yield what makes a leaf, in all ways that can give the right block."""
        rows = self._table.rows
        for index in rows.indices_of(digest)[:COPIES_LIMIT]:
            row = rows[index]
            if row.size > BLOCK_LIMIT:  # clients refuse larger blocks
                continue
            if row.kind is LeafKind.WRAPPED:
                yield partial(self._wrapped, row, unixfs.Kind.FILE)
                yield partial(self._wrapped, row, unixfs.Kind.RAW)
            else:
                yield partial(self._read, row.offset, row.size)
        if not self._table.size:  # an empty file has no rows
            yield bytes
            yield lambda: b"".join(unixfs.leaf_envelope(0))

    def _wrapped(self, row: Row, kind: unixfs.Kind) -> bytes:
        chunk = self._read(row.offset, row.size)
        before, after = unixfs.leaf_envelope(len(chunk), kind)
        return before + chunk + after

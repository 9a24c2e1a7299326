"""Rows of a leaf table in arrays: 49 bytes each, a quarter of what tuples take.

A file of 70 GiB has 71,680 rows in chunks of 1 MiB (3.5 MB here) and 286,720 in chunks of 256 KiB. Rows may
be added in any order, because the nodes of a tree arrive in any order, and are sorted once at the end.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Final, NamedTuple, overload

from modelfetch.ipfs.cid import DAG_PB, RAW, SHA2_256, Cid

_DIGEST_SIZE: Final = 32
_KIND_BITS: Final = 2


class LeafKind(IntEnum):
    """How the bytes of a row and its digest are related.

    =======  ==============================================  ==================================
    kind     digest                                          bytes of the row
    =======  ==============================================  ==================================
    RAW      of the block, which is the bytes themselves     hashed as they are
    WRAPPED  of the block, a UnixFS message with the bytes   wrapped again, then hashed
    INLINE   of the bytes; no block has this digest          a part of an inner node or of a CID
    =======  ==============================================  ==================================
    """

    RAW = 0
    WRAPPED = 1
    INLINE = 2


_KINDS: Final = tuple(LeafKind)


class Row(NamedTuple):
    """A leaf of a file."""

    offset: int
    size: int
    """Bytes of the file; at least one."""
    digest: bytes
    """SHA-256 of what :class:`LeafKind` says."""
    kind: LeafKind

    @property
    def cid(self) -> Cid | None:
        """CID of the leaf's block, version 1; None for ``INLINE``, which has no block of its own."""
        if self.kind == LeafKind.INLINE:
            return None
        return Cid(1, RAW if self.kind == LeafKind.RAW else DAG_PB, SHA2_256, self.digest)


class RowArray(Sequence[Row]):
    """Rows, which are created when they are read. Each also has a depth in its tree, 63 at most."""

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._sizes = array("Q")
        self._digests = bytearray()
        self._tags = bytearray()
        """Kind and depth."""
        self._by_digest: array[int] | None = None

    def append(self, offset: int, size: int, digest: bytes, kind: LeafKind, depth: int) -> None:
        """Add a row; ``depth`` is the number of nodes above it."""
        self._offsets.append(offset)
        self._sizes.append(size)
        self._digests += digest
        self._tags.append(kind | depth << _KIND_BITS)
        self._by_digest = None

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...

    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        offset = self._offsets[index]  # before the rest: it raises IndexError
        index %= len(self)
        return Row(offset, self._sizes[index], self._digest(index), self._kind(index))

    def __iter__(self) -> Iterator[Row]:
        for index, (offset, size) in enumerate(zip(self._offsets, self._sizes, strict=True)):
            yield Row(offset, size, self._digest(index), self._kind(index))

    def _digest(self, index: int) -> bytes:
        return bytes(self._digests[index * _DIGEST_SIZE : (index + 1) * _DIGEST_SIZE])

    def _kind(self, index: int) -> LeafKind:
        return _KINDS[self._tags[index] & (1 << _KIND_BITS) - 1]

    def depth(self, index: int) -> int:
        """Return the number of nodes above a row."""
        return self._tags[index] >> _KIND_BITS

    def index_at(self, offset: int) -> int:
        """Return the index of the row that contains an offset of the file; the rows must be sorted."""
        return bisect_right(self._offsets, offset) - 1

    def indices_of(self, digest: bytes) -> list[int]:
        """Return the indices of all rows with a digest, in ascending order."""
        if self._by_digest is None:
            # Four bytes per row; a dictionary would take more than the rows themselves.
            self._by_digest = array("I", sorted(range(len(self)), key=self._digest))
        found = self._by_digest
        first = bisect_left(found, digest, key=self._digest)
        last = bisect_right(found, digest, lo=first, key=self._digest)
        return sorted(found[first:last])

    def selected(self, indices: Sequence[int]) -> RowArray:
        """Return a copy of some rows, in the given order."""
        chosen = RowArray()
        chosen._offsets = array("Q", [self._offsets[index] for index in indices])
        chosen._sizes = array("Q", [self._sizes[index] for index in indices])
        chosen._digests = bytearray().join(map(self._digest, indices))
        chosen._tags = bytearray(self._tags[index] for index in indices)
        return chosen

    def sorted(self) -> RowArray:
        """Return a copy in the order of the file."""
        if any(first > second for first, second in pairwise(self._offsets)):
            return self.selected(sorted(range(len(self)), key=self._offsets.__getitem__))
        # The nodes of a balanced tree that arrive in order add their rows in order.
        copied = RowArray()
        copied._offsets, copied._sizes = self._offsets[:], self._sizes[:]
        copied._digests, copied._tags = self._digests[:], self._tags[:]
        return copied

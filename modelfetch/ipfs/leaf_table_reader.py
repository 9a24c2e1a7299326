"""Reads the leaf table of a file from the inner nodes of its tree, without doing any input or output.

The reader says which blocks it wants, and takes blocks in any order from anywhere. A block is hashed before
it is parsed, and ignored if it is not wanted. All bounds are enforced while nodes are added, before any byte
of the file is asked for. A child of a node becomes a row if it is a leaf, and is wanted if it is a node:

- A raw block is a leaf.
- A dag-pb block is taken for a leaf if the link says that the blocks below it have 1 to 24 bytes more than
  the file has there: a wrapped leaf has 14 more at 256 KiB, an inner node thousands. The link can lie: see
  :meth:`LeafTableReader.expand`.
- Any other dag-pb block is wanted, and decided by its bytes.

An error says that the CID does not identify a file that can be verified in parts. Other sources cannot help,
because they would send the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.car import BLOCK_LIMIT
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, SHA2_256, Cid
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.row_array import LeafKind, Row, RowArray
from modelfetch.ipfs.unixfs import Kind, Message

DEPTH_LIMIT: Final = 16
"""Most nodes above a leaf. A balanced tree of 174 children per node has 3 for 1 TiB; trickle has more."""
ROWS_AT_LEAST: Final = 4096
BYTES_PER_ROW: Final = 16 << 10
"""A table may have 4,096 rows, or one for every 16 KiB of the file if that is more: no tool makes smaller
chunks for a large file."""
INNER_AT_LEAST: Final = 1 << 20
INNER_SHARE: Final = 200
"""Inner nodes may have 1 MiB and a 200th of the file in all, each counted as often as it occurs in the tree.
Those of a file in chunks of 256 KiB have a 4200th of it."""
SIZE_LIMIT: Final = 1 << 40
"""Largest file in bytes."""
ROWS_LIMIT: Final = 1 << 22
"""Most rows of any file: 1 TiB in chunks of 256 KiB. They take 200 MB."""
ROWS_OF_UNKNOWN: Final = 1 << 20
"""Most rows of a file whose size is known from its root alone. It can lie: a few small blocks could state a
large file, and link one child a million times."""
KNOWN_LIMIT: Final = 4096
"""Most rows whose bytes are kept if they come with the nodes. One node can stand at millions of places."""
KNOWN_BYTES_LIMIT: Final = 4 * BLOCK_LIMIT
"""Most bytes of those rows: a node of 2 MiB at a thousand places would otherwise take 2 GiB."""
BYTES_OF_ROW: Final = 64
"""Inner nodes may not have more than 64 bytes for each row that a file may have, either. They have about 50,
and a 200th of a size that only the root states can be gigabytes."""
ENVELOPE_LIMIT: Final = 24
"""Most bytes that a wrapped leaf has beside those of the file."""
EXPANSION_LIMIT: Final = 1 << 23
"""Most rows that are copied because rows before them turned out to be nodes: each such node costs a pass over
all rows. No known tool writes sizes that make nodes look like leaves."""


_NO_LINKS: Final = Node((), None)


class _Place(NamedTuple):
    """Where a block stands in the file."""

    offset: int
    size: int
    depth: int


class LeafTableReader:
    """Reads one table. After an error, the reader is of no use.

    A loop that drives it::

        reader = LeafTableReader(root, size)
        while (table := reader.table) is None:
            for cid in reader.wanted:
                reader.add(fetch(cid))
    """

    def __init__(self, root: Cid, size: int | None = None) -> None:
        """Start with the root.

        Args:
            root: CID of the file.
            size: Bytes of the file, if known; another size is then an error.

        Raises:
            MalformedError: No file can have this root and size, or it is one block that is too large.
        """
        if root.refusal:
            raise MalformedError(root.refusal)
        self._root = root
        self._size: int | None = None
        self._row_limit = self._inner_limit = 0
        self._inner_bytes = 0
        self._slots = 1
        """Rows, and places of wanted blocks: each of these becomes at least one row."""
        self._rows = RowArray()
        self._known: dict[int, bytes] = {}
        self._known_bytes = 0
        self._copied = 0
        """Rows, by :meth:`expand`."""
        self._wanted: dict[bytes, tuple[Cid, list[_Place]]] = {}
        """By multihash, because CIDs of several forms can identify one block."""
        self._blocks: dict[bytes, tuple[Cid, bytes]] = {}
        self._leaves: set[bytes] = set()
        """Digests of blocks that turned out to be leaves."""
        self._table: LeafTable | None = None
        if size is not None:
            self._set_size(size, ROWS_LIMIT)
        self._start()

    @property
    def wanted(self) -> tuple[Cid, ...]:
        """The blocks that are needed next, in the order in which they were found."""
        return tuple(cid for cid, _ in self._wanted.values())

    @property
    def nodes(self) -> tuple[tuple[Cid, bytes], ...]:
        """The blocks that were added, in the order in which they were: the proof of the table."""
        return tuple(self._blocks.values())

    @property
    def table(self) -> LeafTable | None:
        """The table, as soon as no block is wanted."""
        if self._table is None and not self._wanted and self._size is not None:
            self._table = LeafTable(self._root, self._size, self._rows.sorted(), dict(self._known))
        return self._table

    def add(self, block: bytes) -> bool:
        """Add a block; returns whether it was wanted.

        Raises:
            MalformedError: It was, and it or the tree breaks a rule or a bound.
        """
        key = Cid(1, RAW, SHA2_256, sha256(block).digest()).multihash
        if key not in self._wanted:
            return False
        cid, places = self._wanted.pop(key)
        self._blocks[key] = cid, block
        try:
            self._add_block(cid, block, places)
        except MalformedError as error:
            raise MalformedError(f"block {cid.text}: {error}") from None
        return True

    def expand(self, row: Row) -> bool:
        """Ask for the block of a ``WRAPPED`` row that no source's bytes fit: it may be an inner node.

        All rows with its digest leave the table until the block is added.

        Returns:
            False if that cannot help: the block is known to be a leaf.

        Raises:
            MalformedError: The block was added before, and does not fit here; or there were too many.
        """
        cid = Cid(self._root.version, DAG_PB, SHA2_256, row.digest)
        if row.kind != LeafKind.WRAPPED or row.digest in self._leaves:
            return False
        self._copied += len(self._rows)
        if self._copied > EXPANSION_LIMIT:
            raise MalformedError("too many nodes have the size of a leaf")
        doubted = self._rows.indices_of(row.digest)
        places = [_Place(*self._rows[index][:2], self._rows.depth(index)) for index in doubted]
        kept = set(range(len(self._rows))).difference(doubted)
        self._rows = self._rows.selected(sorted(kept))
        self._table = None
        for place in places:
            self._open(cid, place)
        return True

    def _set_size(self, size: int, row_limit: int) -> None:
        if size > SIZE_LIMIT:
            raise MalformedError(f"file has {size} bytes, more than {SIZE_LIMIT}")
        self._size = size
        self._row_limit = min(max(ROWS_AT_LEAST, size // BYTES_PER_ROW), row_limit)
        self._inner_limit = INNER_AT_LEAST + min(size // INNER_SHARE, row_limit * BYTES_OF_ROW)

    def _start(self) -> None:
        root, size = self._root, self._size
        if root.hash_code == IDENTITY:
            self._add_block(root, root.digest, [])
        elif root.codec != RAW or size is None:
            self._wanted[root.multihash] = root, []
        elif size:
            self._add_raw_leaf(root, _Place(0, size, 0))
        elif not root.matches(b""):
            raise MalformedError("is not the CID of an empty file")

    def _add_block(self, cid: Cid, block: bytes, places: list[_Place]) -> None:
        """Add a block at all its places; the root has none, because its size may not be known before."""
        if len(block) > BLOCK_LIMIT:
            raise MalformedError(f"has {len(block)} bytes, more than {BLOCK_LIMIT}")
        if cid.codec == RAW:
            node, message = _NO_LINKS, Message(Kind.RAW, block, len(block))
        else:
            node = dag_pb.decode(block)
            message = unixfs.file_message(node)
        size = message.filesize or 0
        if not places:
            places = [self._root_place(size)]
        for place in places:
            if size != place.size:
                raise MalformedError(f"has {size} bytes of the file instead of {place.size}")
        if node.links:
            self._add_inner(node, message, len(block), places)
        elif size:
            self._add_leaf(cid, block, message, places)

    def _root_place(self, size: int) -> _Place:
        if self._size is None:
            self._set_size(size, ROWS_OF_UNKNOWN)
        return _Place(0, self._size or 0, 0)

    def _add_leaf(self, cid: Cid, block: bytes, message: Message, places: list[_Place]) -> None:
        """Add rows for a leaf whose block is here."""
        data = message.data or b""
        kind, digest = LeafKind.INLINE, b""
        if cid.hash_code == SHA2_256:
            self._leaves.add(cid.digest)
            if cid.codec == RAW:
                kind, digest = LeafKind.RAW, cid.digest
            elif unixfs.wrapped_digest(data, message.kind) == cid.digest:
                kind, digest = LeafKind.WRAPPED, cid.digest
        # A leaf with a mode, a time or unknown fields cannot be wrapped again from its bytes alone.
        digest = digest or sha256(data).digest()
        if places[0].depth:  # the root may be a leaf of any size
            self._charge(len(block) * len(places))
        for place in places:
            self._rows.append(place.offset, place.size, digest, kind, place.depth)
            self._keep(place.offset, data)

    def _add_inner(self, node: Node, message: Message, length: int, places: list[_Place]) -> None:
        """Replace the places of an inner node by those of its children."""
        if 0 in message.blocksizes:
            raise MalformedError("has a part of zero bytes")
        if max(place.depth for place in places) >= DEPTH_LIMIT:
            raise MalformedError(f"stands below {DEPTH_LIMIT} others")
        self._charge(length * len(places))
        data = message.data or b""
        self._slots += (len(node.links) + bool(data) - 1) * len(places)
        if self._slots > self._row_limit:
            raise MalformedError(f"file has more than {self._row_limit} parts")
        digest = sha256(data).digest()
        for offset, _, depth in places:
            if data:
                self._rows.append(offset, len(data), digest, LeafKind.INLINE, depth + 1)
                self._keep(offset, data)
            start = offset + len(data)
            for link, size in zip(node.links, message.blocksizes, strict=True):
                self._add_child(link, _Place(start, size, depth + 1))
                start += size

    def _keep(self, offset: int, data: bytes) -> None:
        if len(self._known) < KNOWN_LIMIT and self._known_bytes + len(data) <= KNOWN_BYTES_LIMIT:
            self._known[offset] = data
            self._known_bytes += len(data)

    def _charge(self, count: int) -> None:
        self._inner_bytes += count
        if self._inner_bytes > self._inner_limit:
            raise MalformedError(f"inner nodes have more than {self._inner_limit} bytes")

    def _add_child(self, link: Link, place: _Place) -> None:
        cid = link.cid
        if cid.refusal:
            raise MalformedError(f"part at {place.offset}: {cid.refusal}")
        if cid.hash_code == IDENTITY:
            self._add_block(cid, cid.digest, [place])
        elif cid.codec == RAW:
            self._add_raw_leaf(cid, place)
        elif _is_leaf_by_size(link, place.size):
            self._rows.append(*place[:2], cid.digest, LeafKind.WRAPPED, place.depth)
        else:
            self._open(cid, place)

    def _add_raw_leaf(self, cid: Cid, place: _Place) -> None:
        if place.size > BLOCK_LIMIT:
            raise MalformedError(f"part at {place.offset} is one block of {place.size} bytes: too large")
        self._rows.append(*place[:2], cid.digest, LeafKind.RAW, place.depth)

    def _open(self, cid: Cid, place: _Place) -> None:
        """Add a block at one more place, or want it."""
        if cid.multihash in self._blocks:
            self._add_block(cid, self._blocks[cid.multihash][1], [place])
        else:
            self._wanted.setdefault(cid.multihash, (cid, []))[1].append(place)


def _is_leaf_by_size(link: Link, size: int) -> bool:
    return link.tsize is not None and 0 < link.tsize - size <= ENVELOPE_LIMIT and size < BLOCK_LIMIT


def read_table(root: Cid, size: int | None, find: Callable[[Cid], bytes | None]) -> LeafTable | None:
    """Read a table from blocks that are all at hand, such as those of a stored chunk map.

    Args:
        root: CID of the file.
        size: Bytes of the file, if known.
        find: Returns the block of a CID, or None.

    Returns:
        The table; None if a block is missing, or another one was found in its place.

    Raises:
        MalformedError: As for :class:`LeafTableReader`.
    """
    reader = LeafTableReader(root, size)
    while (table := reader.table) is None:
        for cid in reader.wanted:
            block = find(cid)
            if block is None or not reader.add(block):
                return None
    return table

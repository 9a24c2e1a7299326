"""Trees made by hand, for what no builder makes: mixed depths, inline data, wrong sizes."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, Cid, cid_of
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.leaf_table_reader import LeafTableReader
from modelfetch.ipfs.unixfs import Kind, Message
from modelfetch.lazy_dataclass import replace


class Part(NamedTuple):
    """A node, and what a link to it says."""

    cid: Cid
    size: int
    tsize: int | None
    name: bytes | None = b""


class Dag(dict[bytes, bytes]):
    """Blocks by multihash."""

    def raw(self, data: bytes) -> Part:
        return self._part(data, RAW, len(data), len(data))

    def wrapped(self, data: bytes, kind: Kind = Kind.FILE, **more: object) -> Part:
        message = unixfs.encode(Message(kind, data or None, len(data), **more))  # type: ignore[arg-type]
        block = dag_pb.encode(dag_pb.Node((), message))
        return self._part(block, DAG_PB, len(data), len(block))

    def inner(self, *parts: Part, data: bytes | None = None, **more: object) -> Part:
        sizes = tuple(part.size for part in parts)
        size = len(data or b"") + sum(sizes)
        message = replace(Message(Kind.FILE, data, size, sizes), **more)  # type: ignore[arg-type]
        links = tuple(dag_pb.Link(part.cid, part.name, part.tsize) for part in parts)
        block = dag_pb.encode(dag_pb.Node(links, unixfs.encode(message)))
        return self._part(block, DAG_PB, size, len(block) + sum(part.tsize or 0 for part in parts))

    def node(self, data: bytes, *links: dag_pb.Link) -> Part:
        block = dag_pb.encode(dag_pb.Node(links, data))
        return self._part(block, DAG_PB, 0, len(block))

    def _part(self, block: bytes, codec: int, size: int, tsize: int) -> Part:
        cid = cid_of(block, codec)
        self[cid.multihash] = block
        return Part(cid, size, tsize)

    def inlined(self, part: Part) -> Part:
        """The same part under the identity hash."""
        return part._replace(cid=Cid(1, part.cid.codec, IDENTITY, self[part.cid.multihash]))


def feed(reader: LeafTableReader, blocks: dict[bytes, bytes]) -> int:
    """Give a reader all it wants; returns the number of blocks. Stops if one is missing."""
    count = 0
    while found := [blocks[cid.multihash] for cid in reader.wanted if cid.multihash in blocks]:
        for block in found:
            assert reader.add(block)
        count += len(found)
    return count


def table_of(root: Cid, blocks: dict[bytes, bytes], size: int | None = None) -> LeafTable:
    reader = LeafTableReader(root, size)
    feed(reader, blocks)
    assert reader.table is not None
    return reader.table


def proves(table: LeafTable, data: bytes) -> bool:
    """Whether the rows cover the file without a gap, and each fits its bytes and no others."""
    position = 0
    for row in table.rows:
        chunk = data[row.offset : row.offset + row.size]
        wrong = bytes([chunk[0] ^ 1]) + chunk[1:]
        if row.offset != position or not table.check(row, chunk) or table.check(row, wrong):
            return False
        position += row.size
    known = all(data[offset : offset + len(each)] == each for offset, each in table.known.items())
    return known and position == len(data) == table.size


def chunk(number: int, size: int = 100) -> bytes:
    """Some bytes that differ from all others."""
    return (sha256(str(number).encode()).digest() * (size // 32 + 1))[:size]

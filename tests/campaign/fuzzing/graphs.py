"""Graphs of blocks from the input of a fuzzer, which cannot guess a SHA-256 by itself.

There are two encodings, because each reaches what the other cannot:

- :func:`graph_of_bytes`: blocks as bytes, separated by ``SEPARATOR``, children first. In the place of a
  digest stands a placeholder with the index of a block, which is replaced by the digest of that block. Any
  byte of a block can be wrong.
- :func:`graph_of_steps`: a program of small steps, each of which makes a node of earlier ones. All nodes are
  well-formed, but their sizes and names can lie.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from modelfetch.ipfs import dag_pb, hamt, unixfs
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, IDENTITY_LIMIT, RAW, SHA2_256, Cid
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.unixfs import Kind, Message

SEPARATOR: Final = b"\xff=\xff"
_MARK: Final = b"@" * 31
_PLACEHOLDER: Final = re.compile(_MARK + b"(.)", re.DOTALL)
_BLOCKS_LIMIT: Final = 256
_NAMES: Final = (b"a", b"b", b"model.onnx", b"..", b"a/b", b"", b"\xff", "ä".encode(), b"x" * 256, b"c" * 250)


class Graph(NamedTuple):
    """Blocks, and the one to begin with."""

    root: Cid
    size: int
    """Bytes of the file that its maker believes it has."""
    blocks: dict[bytes, bytes]
    """By multihash."""

    def find(self, cid: Cid) -> bytes | None:
        return self.blocks.get(cid.multihash)


class Source:
    """Numbers and bytes from an input; zeros after its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def rest(self) -> bytes:
        return self._data[self._position :]

    def byte(self) -> int:
        self._position += 1
        return self._data[self._position - 1] if self._position <= len(self._data) else 0

    def number(self, width: int = 2) -> int:
        return sum(self.byte() << 8 * index for index in range(width))

    def take(self, count: int) -> bytes:
        self._position += count
        return self._data[self._position - count : self._position]


def graph_of(data: bytes) -> Graph:
    """Make the graph of an input, whose first byte chooses the encoding."""
    return graph_of_steps(data[1:]) if data[:1] == b"S" else graph_of_bytes(data[1:])


def graph_of_bytes(data: bytes) -> Graph:
    """Make a graph of blocks that refer to each other by placeholders; the last one is the root."""
    digests: list[bytes] = []
    blocks = {}
    block = b""
    for template in data.split(SEPARATOR)[:_BLOCKS_LIMIT]:
        block = template
        if digests:
            block = _PLACEHOLDER.sub(lambda match: digests[match[1][0] % len(digests)], template)
        digests.append(sha256(block).digest())
        blocks[Cid(1, RAW, SHA2_256, digests[-1]).multihash] = block
    return Graph(Cid(1, DAG_PB, SHA2_256, digests[-1]), _stated_size(block), blocks)


def template_of(root: Cid, find: Callable[[Cid], bytes | None], limit: int = 1 << 13) -> bytes | None:
    """Encode a real graph for :func:`graph_of_bytes`; None if it is too large."""
    order: list[bytes] = []
    _visit(root, find, order)
    indices = {sha256(block).digest(): index for index, block in enumerate(order)}
    templates = []
    for index, block in enumerate(order):
        template = block
        for digest, child in indices.items():
            if child < index:
                template = template.replace(digest, _MARK + bytes([child % 256]))
        templates.append(template)
    encoded = b"B" + SEPARATOR.join(templates)
    return encoded if order and len(order) <= _BLOCKS_LIMIT and len(encoded) <= limit else None


def _visit(cid: Cid, find: Callable[[Cid], bytes | None], order: list[bytes]) -> None:
    block = find(cid)
    if block is None or block in order or len(order) > _BLOCKS_LIMIT:
        return
    if cid.codec == DAG_PB:
        for link in dag_pb.decode(block).links:
            _visit(link.cid, find, order)
    order.append(block)


def _stated_size(block: bytes) -> int:
    try:
        return unixfs.message_of(dag_pb.decode(block)).filesize or 0
    except ValueError:
        return len(block)


class _Made(NamedTuple):
    cid: Cid
    size: int
    tsize: int


class _Maker:
    """Makes nodes from steps; each step can use all nodes before it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._made: list[_Made] = []
        self.blocks: dict[bytes, bytes] = {}

    def run(self) -> _Made:
        steps = (self._raw, self._wrapped, self._inner, self._inner, self._directory, self._shard)
        for _ in range(64):
            if not self._source.rest and self._made:
                break
            steps[self._source.byte() % len(steps)]()
        return self._made[-1]

    def _raw(self) -> None:
        data = self._bytes()
        self._add(data, RAW, len(data), len(data))

    def _wrapped(self) -> None:
        data, flags = self._bytes(), self._source.byte()
        size = len(data) + (flags & 1)
        message = Message(Kind.FILE if flags & 2 else Kind.RAW, data, size, mode=flags if flags & 4 else None)
        block = dag_pb.encode(Node((), unixfs.encode(message)))
        self._add(block, DAG_PB, len(data), len(block))

    def _inner(self) -> None:
        children = self._chosen()
        flags = self._source.byte()
        data = self._bytes() if flags & 1 else None
        sizes = [child.size for child in children]
        if flags & 2 and sizes:  # a part of another size than stated, or of one that is huge
            sizes[flags % len(sizes)] = self._source.number(6) if flags & 4 else sizes[0] + 1
        size = len(data or b"") + sum(sizes) + bool(flags & 8)
        name = b"n" if flags & 16 else b""
        links = tuple(Link(child.cid, name, self._tsize(child, flags)) for child in children)
        message = Message(Kind.FILE, data, size, tuple(sizes))
        self._add_node(links, message, size)

    def _tsize(self, child: _Made, flags: int) -> int | None:
        if flags & 32:
            return None
        return child.size + self._source.byte() if flags & 64 else child.tsize

    def _directory(self) -> None:
        links = tuple(Link(child.cid, self._name(), child.tsize) for child in self._chosen())
        self._add_node(links, Message(Kind.DIRECTORY), 0)

    def _shard(self) -> None:
        flags = self._source.byte()
        fanout = (256, 8, 1024, 256, 16, 7, 0, 1 << 40)[flags & 7]
        digits = len(f"{max(fanout, 1) - 1:X}")
        links = []
        for child in self._chosen():
            name = self._name() if self._source.byte() & 1 else b""
            slot = hamt.slot_of(name, 0, fanout) if flags & 8 else self._source.number()
            links.append(Link(child.cid, f"{slot:0{digits}X}".encode()[:digits] + name, child.tsize))
        message = Message(Kind.HAMT_SHARD, b"", hash_type=0x22 + (flags >> 7), fanout=fanout)
        self._add_node(tuple(links), message, 0)

    def _name(self) -> bytes:
        choice = self._source.byte()
        return _NAMES[choice] if choice < len(_NAMES) else self._source.take(choice % 8)

    def _chosen(self) -> Iterator[_Made] | list[_Made]:
        if not self._made:
            self._raw()
        count = self._source.byte()
        repeated = count & 0x80  # one child a hundred times
        choices = [self._source.byte()] * (count & 0x7F) if repeated else self._source.take(count % 16)
        return [self._made[-1 - choice % len(self._made)] for choice in choices]

    def _bytes(self) -> bytes:
        length = self._source.byte()
        return self._source.take(2) * (length << 4) if length & 0x80 else self._source.take(length)

    def _add_node(self, links: tuple[Link, ...], message: Message, size: int) -> None:
        block = dag_pb.encode(Node(links, unixfs.encode(message)))
        self._add(block, DAG_PB, size, len(block) + sum(link.tsize or 0 for link in links))

    def _add(self, block: bytes, codec: int, size: int, tsize: int) -> None:
        choice = self._source.byte()
        if choice & 1 and len(block) <= IDENTITY_LIMIT:
            cid = Cid(1, codec, IDENTITY, block)
        else:
            cid = Cid(
                1,
                (RAW, DAG_PB, 0x71)[choice % 3] if choice & 0x40 else codec,
                SHA2_256,
                sha256(block).digest(),
            )
            self.blocks[cid.multihash] = block
        self._made.append(_Made(cid, size, tsize))


def graph_of_steps(data: bytes) -> Graph:
    maker = _Maker(Source(data))
    root = maker.run()
    return Graph(root.cid, root.size, maker.blocks)

"""The blocks that gateways in tests serve: trees of files, directories, and walks through them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link
from modelfetch.ipfs.directory_builder import build_directory
from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.profiles import DirectoryMeasure, Profile
from modelfetch.ipfs.unixfs import Kind
from modelfetch.lazy_dataclass import replace

SMALL = Profile("small", 1, True, 1000, 4, DirectoryMeasure.BLOCK)
"""Leaves of 1,000 bytes, so that small files have trees of several levels."""
SMALL_OLD = Profile("small-old", 0, False, 1000, 4, DirectoryMeasure.LINKS)
"""The same with wrapped leaves and CIDs of version 0."""
SHARDED = replace(SMALL, shard_above=1000)
"""Directories of more than 1,000 bytes are sharded."""


class Dag(dict[bytes, bytes]):
    """Blocks by multihash."""

    def put(self, block: bytes, codec: int = DAG_PB) -> Cid:
        """Add a block."""
        cid = cid_of(block, codec)
        self[cid.multihash] = block
        return cid

    def file(self, data: bytes, profile: Profile = SMALL, *, data_first: bool = False) -> Cid:
        """Add the tree of a file.

        Args:
            data: Bytes of the file.
            profile: How it is cut and grouped.
            data_first: Write the fields of the root in the other order (IPIP-550); for trees of one level.
        """
        tree = FileTree(profile)
        for start in range(0, max(1, len(data)), profile.chunk_size):
            chunk = data[start : start + profile.chunk_size]
            if chunk:
                tree.add_chunk(chunk)
            self.put(chunk if profile.raw_leaves else wrapped(chunk), RAW if profile.raw_leaves else DAG_PB)
        built = tree.finish()
        self |= {cid.multihash: block for cid, block in built.nodes}
        if not data_first:
            return built.root
        return self.put(swapped(self[built.root.multihash]))

    def directory(self, entries: Mapping[str, Cid], profile: Profile = SMALL) -> Cid:
        """Add a directory, in shards if the profile says so. Of trees the links state no true size."""
        links = [Link(cid, name.encode(), len(self[cid.multihash])) for name, cid in entries.items()]
        built = build_directory(links, profile)
        self |= {cid.multihash: block for cid, block in built.nodes}
        return built.root

    def walk(self, cid: Cid, start: int = 0, end: int | None = None) -> Iterator[tuple[Cid, bytes | None]]:
        """Yield the blocks of a range of a file depth-first; None for one that is missing."""
        if cid.hash_code == IDENTITY:
            return
        block = self.get(cid.multihash)
        yield cid, block
        if block is None or cid.codec == RAW:
            return
        node = dag_pb.decode(block)
        message = unixfs.message_of(node)
        position = len(message.data or b"")
        sizes = message.blocksizes or (0,) * len(node.links)
        for link, size in zip(node.links, sizes, strict=True):
            if position + size > start and (end is None or position < end):
                yield from self.walk(link.cid, start - position, None if end is None else end - position)
            position += size

    def resolve(self, cid: Cid, names: list[str]) -> list[tuple[Cid, bytes]]:
        """Find what a path leads to: the blocks of the directories, and the CID at the end with its block."""
        found = []
        for name in [*names, None]:
            block = self[cid.multihash]
            found.append((cid, block))
            if name is None:
                return found
            cid = dict(self._entries(cid))[name]
        raise AssertionError

    def _entries(self, cid: Cid) -> Iterator[tuple[str, Cid]]:
        node = dag_pb.decode(self[cid.multihash])
        is_shard = unixfs.message_of(node).kind is Kind.HAMT_SHARD
        for link in node.links:
            name = (link.name or b"").decode()[2 * is_shard :]
            if name:
                yield name, link.cid
            else:
                yield from self._entries(link.cid)

    def content(self, cid: Cid) -> bytes:
        """The bytes of a file."""
        return b"".join(self._contents(cid))

    def _contents(self, cid: Cid) -> Iterator[bytes]:
        block = cid.digest if cid.hash_code == IDENTITY else self[cid.multihash]
        if cid.codec == RAW:
            yield block
            return
        node = dag_pb.decode(block)
        yield unixfs.message_of(node).data or b""
        for link in node.links:
            yield from self._contents(link.cid)


def wrapped(chunk: bytes) -> bytes:
    """The block of a leaf that is no raw one."""
    head, tail = unixfs.leaf_envelope(len(chunk))
    return head + chunk + tail


def swapped(block: bytes) -> bytes:
    """The same dag-pb node with Data before Links."""
    links = len(dag_pb.encode(dag_pb.decode(block)._replace(data=None)))
    return block[links:] + block[:links]


def random_bytes(size: int, seed: int = 0) -> bytes:
    """The same bytes for the same seed."""
    return random.Random(seed).randbytes(size)

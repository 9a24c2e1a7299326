"""Files of random bytes, of all sizes at which the tree of a file changes, and their trees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Final

from modelfetch.ipfs import car, unixfs
from modelfetch.ipfs.cid import DAG_PB, RAW, SHA2_256, Cid
from modelfetch.ipfs.file_tree import Built, FileTree
from modelfetch.ipfs.leaf_table_reader import read_table
from modelfetch.ipfs.mapped_file import MappedFile
from modelfetch.ipfs.profiles import Profile
from modelfetch.ipfs.row_array import LeafKind
from modelfetch.ipfs.trustless_answer import answer
from modelfetch.ipfs.trustless_request import parse_request

SMALL_CHUNK: Final = 262_144
LARGE_CHUNK: Final = 1_048_576
FULL_NODE: Final = 174 * SMALL_CHUNK
"""Largest file of one inner node with 174 leaves of 256 KiB."""

SMALL_SIZES: Final = (
    0,
    1,
    *range(SMALL_CHUNK - 1, SMALL_CHUNK + 2),
    2 * SMALL_CHUNK,
    *range(LARGE_CHUNK - 1, LARGE_CHUNK + 2),
    *range(2 * LARGE_CHUNK - 1, 2 * LARGE_CHUNK + 2),
    5 * LARGE_CHUNK,
)
"""Sizes at and around one chunk and several, for chunks of 256 KiB and 1 MiB."""
LARGE_SIZES: Final = (
    *range(FULL_NODE - 1, FULL_NODE + 2),
    FULL_NODE + SMALL_CHUNK,
    *range(2 * FULL_NODE - 1, 2 * FULL_NODE + 2),
    174 * LARGE_CHUNK - 1,
    174 * LARGE_CHUNK + 1,
    208_521_528,
    1024 * SMALL_CHUNK + 1,
    300_000_000,
)
"""Sizes around one full inner node and two, and some of up to 300 MB."""


def random_sizes(seed: str, count: int, largest: int) -> list[int]:
    """Choose sizes; half of the files are smaller than the square root of the largest."""
    random = Random(seed)
    return [int(largest ** random.random()) for _ in range(count)]


def write_files(directory: Path, sizes: Iterable[int]) -> Iterator[Path]:
    """Write a file for each size, and yield it."""
    for index, size in enumerate(sizes):
        path = directory / f"{index}-{size}.bin"
        random = Random(path.name)
        with path.open("wb") as file:
            for start in range(0, size, 1 << 24):
                file.write(random.randbytes(min(1 << 24, size - start)))
        yield path


def build(path: Path, profile: Profile) -> Built:
    """Build the tree of a file."""
    tree = FileTree(profile)
    with path.open("rb") as file:
        while chunk := file.read(profile.chunk_size):
            tree.add_chunk(chunk)
    return tree.finish()


class OnDisk:
    """A file whose blocks are made from its bytes."""

    def __init__(self, path: Path, profile: Profile) -> None:
        self._path = path
        self.built: Final = build(path, profile)
        self.nodes: Final = {cid.multihash: block for cid, block in self.built.nodes}
        if not self.nodes and not profile.raw_leaves:  # one wrapped leaf, which only its block can prove
            before, after = unixfs.leaf_envelope(self.built.size)
            self.nodes[self.built.root.multihash] = before + path.read_bytes() + after
        table = read_table(self.built.root, self.built.size, lambda cid: self.nodes.get(cid.multihash))
        assert table is not None
        self.table: Final = table
        self.find: Final = MappedFile(table, self.nodes, self._read).find

    def _read(self, offset: int, size: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def car(self) -> Iterator[bytes]:
        """The blocks as a CAR file that begins with the leaves, and has the root last."""
        yield car.header(self.built.root)
        for cid in self._leaves():
            block = self.find(cid)
            assert block is not None
            yield car.section(cid, block)
        for cid, block in self.built.nodes:
            yield car.section(cid, block)

    def _leaves(self) -> Iterator[Cid]:
        rows = self.table.rows
        if not self.built.nodes:
            yield self.built.root
            return
        codec = RAW if rows[0].kind is LeafKind.RAW else DAG_PB
        yield from (Cid(self.built.root.version, codec, SHA2_256, row.digest) for row in rows)

    def answer(self, query: str) -> Iterator[bytes]:
        """The body of an answer to a request of the trustless gateway protocol."""
        return answer(parse_request(f"/ipfs/{self.built.root.text}?{query}"), self.find).body


def is_proven(path: Path, root: Cid, blocks: dict[bytes, bytes]) -> bool:
    """Whether blocks by multihash contain the tree of a root, and it is that of a file."""
    table = read_table(root, path.stat().st_size, lambda cid: blocks.get(cid.multihash))
    with path.open("rb") as file:
        return table is not None and all(table.check(row, file.read(row.size)) for row in table.rows)

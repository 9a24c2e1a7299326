"""Builder of the balanced UnixFS tree of a file, whose root is the file's CID.

The bytes are cut into chunks of one size, each of which is a leaf. The nodes of a level are grouped from left
to right under parents of ``width`` children, until one node is left. A last group of one node gets a parent
of its own, too. An empty file has one empty leaf; a file of one leaf has no inner node. With a width of 3,
eight leaves become::

    level 2                 root
    level 1       a          b         c
    level 0    1  2  3    4  5  6    7  8

Only digests are needed: leaves can be hashed elsewhere, and their bytes are never held here.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from modelfetch.ipfs import unixfs
from modelfetch.ipfs.cid import DAG_PB, RAW, SHA2_256, Buffer, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link
from modelfetch.ipfs.profiles import Profile
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.ipfs.leaf_table import LeafTable


@dataclass(frozen=True, slots=True)
class Built:
    """The tree of a file."""

    root: Cid
    size: int
    """Bytes of the file."""
    tsize: int
    """Bytes of all blocks of the tree."""
    nodes: tuple[tuple[Cid, bytes], ...]
    """The inner nodes, children before their parents, the root last; none for a file of one leaf."""


class _Child(NamedTuple):
    """A finished node: what its parent says about it."""

    cid: Cid
    size: int
    tsize: int


class FileTree:
    """Builds the tree of one file from its chunks, in order.

    Memory is bounded by the inner nodes, about 50 bytes per chunk.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._levels: list[list[_Child]] = [[]]
        """For each level, the nodes that do not have a parent yet."""
        self._nodes: list[tuple[Cid, bytes]] = []
        self._complete = False
        """Whether a chunk shorter than the others was added: it must be the last."""

    def add_chunk(self, chunk: Buffer) -> None:
        """Add the next chunk of the file.

        Raises:
            ValueError: As for :meth:`add_leaf`.
        """
        self.add_leaf(leaf_digest(chunk, self._profile), len(chunk))

    def add_leaf(self, digest: bytes, size: int) -> None:
        """Add the next leaf of the file.

        Args:
            digest: SHA-256 of its block; with raw leaves, that of the chunk itself.
            size: Bytes of the chunk: ``chunk_size`` of the profile, or fewer for the last one.

        Raises:
            ValueError: The chunk is empty or too long, or follows one that is shorter than the others.
        """
        if self._complete or not 0 < size <= self._profile.chunk_size:
            raise ValueError(f"a chunk of {size} bytes cannot be added here")
        self._complete = size < self._profile.chunk_size
        self._add(0, self._leaf(digest, size))

    def finish(self) -> Built:
        """Build what is left and return the tree; call this once."""
        if not self._levels[0] and len(self._levels) == 1:
            self._add(0, self._leaf(leaf_digest(b"", self._profile), 0))
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > 1:
            if self._levels[level]:
                self._close_group(level)
            level += 1
        root = self._levels[level][0]
        return Built(root.cid, root.size, root.tsize, tuple(self._nodes))

    def _leaf(self, digest: bytes, size: int) -> _Child:
        profile = self._profile
        if profile.raw_leaves:
            return _Child(Cid(1, RAW, SHA2_256, digest), size, size)
        return _Child(Cid(profile.cid_version, DAG_PB, SHA2_256, digest), size, unixfs.wrapped_size(size))

    def _add(self, level: int, child: _Child) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(child)
        if len(self._levels[level]) == self._profile.width:
            self._close_group(level)

    def _close_group(self, level: int) -> None:
        """Build the parent of the nodes of a level."""
        children, self._levels[level] = self._levels[level], []
        # Empty names, although the specification advises against them: all producers write them.
        links = [Link(child.cid, b"", child.tsize) for child in children]
        block = unixfs.file_node(links, [child.size for child in children])
        cid = cid_of(block, DAG_PB, self._profile.cid_version)
        self._nodes.append((cid, block))
        tsize = len(block) + sum(child.tsize for child in children)
        self._add(level + 1, _Child(cid, sum(child.size for child in children), tsize))


def tree_of(table: LeafTable, profile: Profile) -> Built | None:
    """Build the tree of a file from the table of its leaves; None if it does not fit."""
    from modelfetch.ipfs.row_array import LeafKind  # here, as most trees are built without a table

    tree = FileTree(profile)
    try:
        for row in table.rows:
            if row.kind is not LeafKind.RAW:
                return None
            tree.add_leaf(row.digest, row.size)
    except ValueError:  # chunks of another size
        return None
    built = tree.finish()
    return built if built.root == table.root else None


def leaf_digest(chunk: Buffer, profile: Profile) -> bytes:
    """Compute the SHA-256 of the block of a leaf."""
    if profile.raw_leaves:
        return sha256(chunk).digest()
    return unixfs.wrapped_digest(chunk)

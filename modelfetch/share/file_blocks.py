"""The blocks of one file, and those of directories, as the sources of trees give them. Pure.

A tree comes from a chunk map (profile ``unixfs-v1-2025``), from the skeleton beside a manifest (any profile),
or is a single leaf, which needs no node::

    one_block    the file is a raw block: its SHA-256 is in the CID
    one_leaf     the file is a leaf in a UnixFS message: only the CID of the manifest tells its digest
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.cid import DAG_PB, Cid
from modelfetch.ipfs.directory import read_page
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.file_tree import Built
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.profiles import UNIXFS_V0_2015
from modelfetch.ipfs.row_array import LeafKind, RowArray
from modelfetch.lazy_dataclass import dataclass
from modelfetch.store.chunk_maps import one_chunk_cid

if TYPE_CHECKING:
    from modelfetch.share.model_index import PinnedFile


@dataclass(frozen=True, slots=True)
class FileBlocks:
    """The blocks of one file."""

    pinned: PinnedFile
    table: LeafTable
    nodes: Mapping[bytes, bytes]
    """Its inner nodes by multihash; from a skeleton, with those of other files of the model."""
    built: Built | None = None
    """Its tree, if it is that of a chunk map."""

    def has(self, cid: Cid) -> bool:
        """Whether the file has a block, as its table says."""
        return cid.multihash in self.nodes or bool(self.table.rows.indices_of(cid.digest))


def one_block(pinned: PinnedFile) -> FileBlocks:
    """Return the blocks of a file that is one raw block."""
    return _one_row(pinned, one_chunk_cid(pinned.file.sha256), LeafKind.RAW)


def one_leaf(pinned: PinnedFile, cid: Cid) -> FileBlocks | None:
    """Return the blocks of a file that is one wrapped leaf; None if it is too large for that."""
    if cid.codec != DAG_PB or pinned.file.size > UNIXFS_V0_2015.chunk_size:
        return None
    return _one_row(pinned, cid, LeafKind.WRAPPED)


def _one_row(pinned: PinnedFile, cid: Cid, kind: LeafKind) -> FileBlocks:
    rows = RowArray()
    if pinned.file.size:
        rows.append(0, pinned.file.size, cid.digest, kind, 0)
    return FileBlocks(pinned, LeafTable(cid, pinned.file.size, rows, {}), {})


def directories_in(blocks: Mapping[bytes, bytes], root: Cid) -> dict[bytes, bytes]:
    """Return those blocks of a skeleton that are directories at or below a root, by multihash."""
    found: dict[bytes, bytes] = {}
    waiting = [root]
    while waiting:
        cid = waiting.pop()
        block = blocks.get(cid.multihash)
        if block is None or cid.codec != DAG_PB or cid.multihash in found:
            continue
        try:
            node = dag_pb.decode(block)
            page = read_page(node, unixfs.message_of(node))
        except MalformedError:  # a file, or no directory that a client could read
            continue
        found[cid.multihash] = block
        waiting += [link.cid for link in (*page.entries, *page.shards)]
    return found

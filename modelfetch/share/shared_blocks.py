"""The IPFS blocks of pinned files: found by CID in chunk maps, and read from the files of the cache.

No block is stored. These are found:

- a file of one chunk, under the CID of a raw block: its SHA-256 is that of the file;
- the inner nodes of a larger file, from its chunk map;
- its leaves, which are ranges of the file;
- the directories of a model whose manifest has an ``[ipfs]`` CID, if the trees of all its files are known and
  give exactly this CID (profile ``unixfs-v1-2025``);
- nodes and directories of any profile, from the skeleton beside a manifest that states the CIDs of its files.

A chunk map is a hint that any user of a shared cache may have written, and a model may contain bytes that
look like nodes. So each block is compared with its CID before it is sent
(:mod:`modelfetch.ipfs.trustless_answer`), and an answer has limits in bytes and blocks that depend on the
files it touches.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from modelfetch.engine.skeletons import Skeletons
from modelfetch.errors import StoreError
from modelfetch.ipfs.car import BLOCK_LIMIT
from modelfetch.ipfs.cid import SHA2_256, Cid
from modelfetch.ipfs.directory_builder import build_tree
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.file_tree import tree_of
from modelfetch.ipfs.mapped_file import MappedFile
from modelfetch.ipfs.profiles import UNIXFS_V1_2025
from modelfetch.ipfs.trustless_answer import MissingBlockError
from modelfetch.share.file_blocks import FileBlocks, directories_in, one_block, one_leaf
from modelfetch.share.kept_directories import KeptDirectories
from modelfetch.store.chunk_digests import CHUNK
from modelfetch.store.chunk_maps import one_chunk_cid
from modelfetch.store.disk_errors import is_passing
from modelfetch.store.file_ranges import read_up_to
from modelfetch.store.receipt import Stamp

if TYPE_CHECKING:
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.share.model_index import ModelIndex, PinnedFile
    from modelfetch.share.shared_cache import SharedFile
    from modelfetch.store.chunk_maps import ChunkMaps

MAPS_SECONDS: Final = 1.0
"""Seconds for which the directory of chunk maps is not listed again."""
TREE_BYTES: Final = 64 << 20
"""Bytes of trees that are kept, about 600 GB of files; with directories, which take half of them at most."""
_ROW_BYTES: Final = 160
"""What a leaf takes in a tree: its row, and its part of the inner nodes."""

BASE_BYTES: Final = 4 << 20
"""Bytes of an answer at most, before any file: directories of 20,000 files take 2 MB."""
BASE_BLOCKS: Final = 8192
"""Blocks that an answer reads at most, before any file."""
FACTOR: Final = 2
"""Bytes that an answer may have for each byte of a file it touches; a whole file with its tree has 1.0003."""
LEAST_BLOCK: Final = 8 << 10
"""Bytes of a file for each block that an answer reads; the smallest leaves of real trees have 16 KiB."""


class AnswerLimitError(MissingBlockError):
    """An answer became longer than the files it is made of allow: the blocks repeat each other."""


class SharedBlocks:
    """Finds blocks in the chunk maps of the files that an index pins. Thread-safe.

    Args:
        index: The models.
        maps: The chunk maps of the cache.
        clock: Monotonic seconds.
    """

    def __init__(
        self, index: ModelIndex, maps: ChunkMaps, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._maps = maps
        self._clock = clock
        self._lock = threading.RLock()
        self._small: dict[bytes, PinnedFile] = {}
        """Files of one block, by SHA-256."""
        self._large: dict[str, PinnedFile] = {}
        """Files of several chunks, by SHA-256 in hexadecimal."""
        self._stated: dict[bytes, PinnedFile] = {}
        """Files whose CID a manifest states, by multihash."""
        self._models: dict[bytes, Manifest] = {}
        """Models whose directory has a CID, by multihash."""
        for pinned in index.files():
            self._add(pinned)
        for manifest in reversed(index.manifests):  # of two with one CID, the more trusted one counts
            if (cid := _cid(manifest.ipfs_cid)) is not None:
                self._models[cid.multihash] = manifest
        self._seen: dict[str, tuple[Stamp, Cid | None]] = {}
        """The maps whose headers were read, by SHA-256 of the file: what tells them from others, and the root
        that they claim; None if they are damaged."""
        self._roots: dict[bytes, dict[str, None]] = {}
        """SHA-256 of the files whose maps claim a root, by its multihash."""
        self._listed_at = float("-inf")
        self._waiting: dict[str, None] = {}
        """SHA-256 of the files whose maps were not loaded yet."""
        self._skeletons = Skeletons(clock)
        self._trees: OrderedDict[str, FileBlocks] = OrderedDict()
        """By SHA-256, or by the CID that a manifest states for a tree from its skeleton."""
        self._directories = KeptDirectories(TREE_BYTES // 2)

    def _add(self, pinned: PinnedFile) -> None:
        file = pinned.file
        if file.size <= BLOCK_LIMIT:
            self._small.setdefault(bytes.fromhex(file.sha256), pinned)
        if file.size > CHUNK:
            self._large.setdefault(file.sha256, pinned)
        if (cid := _cid(file.cid)) is not None:
            self._stated.setdefault(cid.multihash, pinned)

    def pinned(self, cid: Cid, path: tuple[bytes, ...]) -> PinnedFile | None:
        """Return the file that a request names, if manifests alone tell; it need not be in the cache."""
        if cid.hash_code != SHA2_256:
            return None
        if not path:
            return self._small.get(cid.digest) or self._stated.get(cid.multihash)
        manifest = self._models.get(cid.multihash)
        name = b"/".join(path).decode(errors="replace")
        for file in manifest.files if manifest is not None else ():
            if file.path == name:
                return self._large.get(file.sha256) or self._small.get(bytes.fromhex(file.sha256))
        return None

    def node(self, cid: Cid) -> bytes | None:
        """Return the block of a directory, if it is known or can be made.

        Raises:
            StoreError: A chunk map cannot be read at the moment; see :func:`.is_passing`.
        """
        with self._lock:
            manifest = self._models.get(cid.multihash)
            if manifest is not None and not self._directories.use(cid.multihash):
                found = directories_in(self._skeletons.blocks(manifest), cid)
                if found := found or self._built_directories(manifest, cid):
                    self._directories.keep(cid.multihash, found)
                    self._make_room()
            return self._directories.find(cid.multihash)

    def file_with(self, cid: Cid, latest: FileBlocks | None) -> FileBlocks | None:
        """Find the file that has a block.

        Args:
            cid: The block.
            latest: The file that had the block before, which most often has this one, too.

        Raises:
            StoreError: As for :meth:`node`.
        """
        if latest is not None and latest.has(cid):
            return latest
        with self._lock:
            small = self._small.get(cid.digest)
            if small is not None:
                return one_block(small)
            self._list_maps()
            return self._by_root(cid) or self._by_stated_root(cid) or self._by_any_block(cid)

    def proven_table(self, sha256: str) -> LeafTable | None:
        """Return the table of a file's chunks if the CID in its manifest proves it; None if none is known."""
        pinned = self._large.get(sha256)
        cid = _cid(pinned.file.cid) if pinned is not None else None
        if cid is None:
            return None
        with self._lock:
            self._list_maps()
            trees = self._tree(sha256), self._by_stated_root(cid)
        tables = (tree.table for tree in trees if tree is not None and tree.pinned.file.sha256 == sha256)
        return next((table for table in tables if table.root.multihash == cid.multihash), None)

    def _by_root(self, cid: Cid) -> FileBlocks | None:
        for sha256 in tuple(self._roots.get(cid.multihash, ())):
            tree = self._tree(sha256)
            if tree is not None and tree.table.root.multihash == cid.multihash:
                return tree
        return None

    def _by_stated_root(self, cid: Cid) -> FileBlocks | None:
        """Find a file by the CID in its manifest; its tree may be of any profile."""
        pinned = self._stated.get(cid.multihash)
        if pinned is None:
            return None
        found = self._trees.get(cid.text)
        if found is None:
            table = self._skeletons.table(pinned.manifest, pinned.file)
            if table is None:
                return one_leaf(pinned, cid)
            found = FileBlocks(pinned, table, self._skeletons.blocks(pinned.manifest))
            self._keep(cid.text, found)
        return found

    def _by_any_block(self, cid: Cid) -> FileBlocks | None:
        """Find a file by another inner node or a leaf: a client asks for them soon after the root.

        The client may have got the root elsewhere, so maps that were not loaded yet are loaded, each once.
        """
        found = next((tree for tree in reversed(self._trees.values()) if tree.has(cid)), None)
        while found is None and self._waiting and self._size() < TREE_BYTES:
            tree = self._tree(self._waiting.popitem()[0])
            found = tree if tree is not None and tree.has(cid) else None
        return found

    def _list_maps(self) -> None:
        """Note which root each map claims that is new, or is not the one that was seen before."""
        now = self._clock()
        if now - self._listed_at < MAPS_SECONDS:
            return
        for sha256, status in self._maps.statuses():
            stamp, seen = Stamp.of(status), self._seen.get(sha256)
            if sha256 in self._large and (seen is None or seen[0] != stamp):
                self._forget_map(sha256)
                self._note_map(sha256, stamp)
        self._listed_at = now

    def _note_map(self, sha256: str, stamp: Stamp) -> None:
        try:
            root = self._maps.claimed_root(sha256, self._large[sha256].file.size)
        except StoreError as error:
            if is_passing(error):
                raise
            return  # it is new with the next listing, too
        self._seen[sha256] = stamp, root
        self._waiting[sha256] = None
        if root is not None:
            self._roots.setdefault(root.multihash, {})[sha256] = None

    def _forget_map(self, sha256: str) -> None:
        """Forget all that is known from a map, so that it is new with the next listing."""
        _, root = self._seen.pop(sha256, (None, None))
        self._waiting.pop(sha256, None)
        self._trees.pop(sha256, None)
        if root is not None:
            claims = self._roots[root.multihash]
            del claims[sha256]
            if not claims:
                del self._roots[root.multihash]

    def _leave_map(self, sha256: str) -> None:
        """Read a damaged map no more until it is replaced: a large one takes seconds, for each request."""
        seen = self._seen.get(sha256)
        self._forget_map(sha256)
        if seen is not None:
            self._seen[sha256] = seen[0], None

    def _tree(self, sha256: str) -> FileBlocks | None:
        """Load the tree of a file from its map; None if there is no good one."""
        if sha256 in self._trees:
            self._trees.move_to_end(sha256)
            return self._trees[sha256]
        pinned, seen = self._large.get(sha256), self._seen.get(sha256)
        if pinned is None or (seen is not None and seen[1] is None):
            return None
        try:
            table = self._maps.load(sha256, pinned.file.size)
        except StoreError as error:
            self._forget_map(sha256)
            if is_passing(error):
                raise
            return None
        built = tree_of(table, UNIXFS_V1_2025) if table is not None else None
        if table is None or built is None:
            self._leave_map(sha256)
            return None
        nodes = {cid.multihash: block for cid, block in built.nodes}
        found = FileBlocks(pinned, table, nodes, built)
        self._keep(sha256, found)
        return found

    def _keep(self, key: str, tree: FileBlocks) -> None:
        """Keep a tree."""
        self._trees[key] = tree
        self._make_room()

    def _make_room(self) -> None:
        """Drop the trees that were used longest ago if there is too much."""
        while self._size() > TREE_BYTES and len(self._trees) > 1:
            self._trees.popitem(last=False)

    def _size(self) -> int:
        rows = sum(len(each.table.rows) for each in self._trees.values())
        return rows * _ROW_BYTES + self._directories.size

    def _built_directories(self, manifest: Manifest, cid: Cid) -> dict[bytes, bytes]:
        """Make the directories of a model; none unless they have the CID of its manifest."""
        entries = []
        for file in manifest.files:
            root = self._root_of(file)
            if root is None:
                return {}
            entries.append((file.path, *root))
        try:
            built = build_tree(entries, UNIXFS_V1_2025)
        except MalformedError:  # a path that no directory can have
            return {}
        if built.root.multihash != cid.multihash:
            return {}
        return {node.multihash: block for node, block in built.nodes}

    def _root_of(self, file: FileSpec) -> tuple[Cid, int] | None:
        """Return the CID of a file, and the bytes of all its blocks; None if it is not known."""
        if file.size <= CHUNK:
            return one_chunk_cid(file.sha256), file.size
        tree = self._tree(file.sha256)
        return (tree.built.root, tree.built.tsize) if tree is not None and tree.built is not None else None


class OneAnswer:
    """Reads the blocks of one answer from the files of the cache. Used by one thread at a time.

    Args:
        blocks: Finds them.
        find_file: Finds the verified file of a digest.
    """

    def __init__(self, blocks: SharedBlocks, find_file: Callable[[str], SharedFile | None]) -> None:
        self._blocks = blocks
        self._find_file = find_file
        self._latest: FileBlocks | None = None
        self._open: dict[str, int | None] = {}
        """Descriptors by digest; None for a file that is not here."""
        self._bytes_left = BASE_BYTES
        self._blocks_left = BASE_BLOCKS

    def find(self, cid: Cid) -> bytes | None:
        """Find a block; see :data:`modelfetch.ipfs.trustless_answer.Find`.

        Raises:
            AnswerLimitError: The answer has read more blocks than its files can have.
        """
        self._blocks_left -= 1
        if self._blocks_left < 0:
            raise AnswerLimitError("the answer has more blocks than its files")
        node = self._blocks.node(cid)
        if node is not None:
            return node
        found = self._blocks.file_with(cid, self._latest)
        if found is None:
            return None
        fd = self._opened(found.pinned.file)
        if fd is None:
            return None
        self._latest = found
        return MappedFile(found.table, found.nodes, partial(read_up_to, fd)).find(cid)

    def limited(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """Pass the bytes of an answer on, as long as its files can have so many.

        Raises:
            MissingBlockError: A block is missing.
            AnswerLimitError: The answer is too long.
        """
        for piece in body:
            self._bytes_left -= len(piece)
            if self._bytes_left < 0:
                raise AnswerLimitError("the answer has more bytes than its files")
            yield piece

    def close(self) -> None:
        """Close the files."""
        while self._open:
            _, fd = self._open.popitem()
            if fd is not None:
                os.close(fd)

    def _opened(self, file: FileSpec) -> int | None:
        if file.sha256 not in self._open:
            shared = self._find_file(file.sha256)
            self._open[file.sha256] = shared.open() if shared is not None else None
            if self._open[file.sha256] is not None:
                self._bytes_left += FACTOR * file.size
                self._blocks_left += file.size // LEAST_BLOCK
        return self._open[file.sha256]


def _cid(text: str | None) -> Cid | None:
    try:
        return Cid.parse(text) if text else None
    except MalformedError:
        return None

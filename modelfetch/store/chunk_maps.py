"""Chunk maps: the inner nodes of a file's UnixFS tree, from which each MiB of the file can be verified.

A map lies beside the blobs, as a CARv1 file with the root of the tree in its header; the root is the file's
CID under the profile ``unixfs-v1-2025``::

    chunks/sha256/3f/3f....car      header with the root, then the inner nodes, each with its CID

A file of at most one chunk has no inner nodes: its CID is that of a raw block, and needs no map.

A map is a hint. Nothing proves that it belongs to the bytes of its name, and any user of a shared cache may
have written it. So reading it takes nothing for granted, and the SHA-256 of the whole file always decides.
It is therefore not synced either: what a power cut leaves of it is recognized as damaged, and no map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from modelfetch.errors import StoreError
from modelfetch.store.chunk_digests import CHUNK
from modelfetch.store.disk_errors import is_passing
from modelfetch.store.files import (
    best_effort,
    is_directory,
    is_regular,
    make_directories,
    read_small,
    write_atomically,
)
from modelfetch.store.layout import CHUNK_MAP_SUFFIX, is_digest

if TYPE_CHECKING:
    import os

    from modelfetch.ipfs.cid import Cid
    from modelfetch.ipfs.file_tree import Built
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.model.manifest import FileSpec
    from modelfetch.settings.values import ChunkMapMode
    from modelfetch.store.disk import Disk
    from modelfetch.store.layout import Layout

T = TypeVar("T")

_LEAST_LIMIT: Final = 64 << 10
_LIMIT_SHARE: Final = 8192
_MOST_LIMIT: Final = 64 << 20
"""A map has at most 64 KiB and 128 bytes for each MiB of the file, and never more than 64 MiB. A real one has
50 bytes for each MiB: 52 MB for 1 TiB. The size of the file proves nothing: any user can make one with a hole
of terabytes."""


class ChunkMaps:
    """The chunk maps of a cache. Several threads and processes may use them at the same time.

    Args:
        disk: The disk.
        layout: The paths of the cache.
        mode: The setting ``cache.chunk_maps``: ``auto``, ``always`` or ``never``.
    """

    def __init__(self, disk: Disk, layout: Layout, mode: ChunkMapMode) -> None:
        self._disk = disk
        self._layout = layout
        self.mode: Final = mode
        self._written: dict[str, str] = {}
        """CIDs of the maps that were written, by digest: a receipt needs them soon after."""

    @property
    def is_enabled(self) -> bool:
        """Whether maps are made at all; those that are there are used in any case."""
        return self.mode != "never"

    def read(self, sha256: str, size: int) -> LeafTable | None:
        """Read the table of a file's chunks.

        Args:
            sha256: SHA-256 of the file, 64 lowercase hexadecimal digits.
            size: Bytes of the file.

        Returns:
            The table; for a file of at most one chunk without looking at the disk. None if there is no map,
            or what there is is not one of a file of this size. The chunks need not be those of the file.
        """
        try:
            return self.load(sha256, size)
        except StoreError:  # as good as none
            return None

    def load(self, sha256: str, size: int) -> LeafTable | None:
        """Read a table like :meth:`read`, for a caller that remembers what there is not.

        Raises:
            StoreError: There may be a map, but it cannot be read now.
        """
        if size <= CHUNK:
            return _table(one_chunk_cid(sha256), size, {})
        content = self._content(sha256, size)
        found = _root_and_blocks(content) if content is not None else None
        return _table(found[0], size, found[1]) if found is not None else None

    def cid(self, sha256: str, size: int) -> str | None:
        """Return the CID of a file under the profile ``unixfs-v1-2025``, if it is known; see :meth:`read`."""
        if size <= CHUNK:
            return one_chunk_cid(sha256).text
        if sha256 in self._written:
            return self._written[sha256]
        table = self.read(sha256, size)
        return table.root.text if table is not None else None

    def claimed_root(self, sha256: str, size: int) -> Cid | None:
        """Return the root in the header of a map, which is neither parsed nor verified; None without one.

        Raises:
            StoreError: There may be a map, but it cannot be read now.
        """
        from modelfetch.ipfs import car

        content = self._content(sha256, size)
        return car.root_of(content) if content is not None else None

    def written(self, sha256: str) -> str:
        """Return the CID of a file whose map this process made of verified bytes, else an empty text."""
        return self._written.get(sha256, "")

    def has(self, sha256: str) -> bool:
        """Whether there is a map, good or not."""
        try:
            return is_regular(self._disk, self._layout.chunk_map(sha256))
        except StoreError:  # a link in the path, which is not followed
            return False

    def is_intact(self, file: FileSpec) -> bool:
        """Whether there is a map of undamaged nodes. They are not parsed: that would load more modules."""
        if not self.has(file.sha256):  # first, as nothing is loaded for it
            return False
        try:
            content = self._content(file.sha256, file.size)
        except StoreError:
            return False
        return content is not None and _root_and_blocks(content) is not None

    def write(self, sha256: str, built: Built | None) -> str:
        """Store the map of a file; one that is there already is replaced.

        Best effort: without a map the file can still be used. Nothing is written for a file without inner
        nodes.

        Args:
            sha256: SHA-256 of the file.
            built: Its tree under the profile ``unixfs-v1-2025``; None if it is not known.

        Returns:
            The CID of the file if the map was stored, else an empty text.
        """
        if built is None or not built.nodes:
            return ""
        path = self._layout.chunk_map(sha256)
        with best_effort(self._disk):
            make_directories(self._disk, self._layout.root, path.parent, durable=False)
            write_atomically(self._disk, path, _format(built), durable=False)
            self._written[sha256] = built.root.text
            return built.root.text
        return ""

    def tree_of(self, table: LeafTable | None) -> Built | None:
        """Build the tree for :meth:`write` from a table; None if it has other chunks, or maps are off."""
        if table is None or self.mode == "never":
            return None
        from modelfetch.ipfs.file_tree import tree_of
        from modelfetch.ipfs.profiles import UNIXFS_V1_2025

        return tree_of(table, UNIXFS_V1_2025)

    def remove(self, sha256: str) -> bool:
        """Remove a map; returns whether there was one.

        Raises:
            StoreError: The disk refused.
        """
        self._written.pop(sha256, None)
        return self._disk.unlink(self._layout.chunk_map(sha256))

    def entries(self) -> Iterator[str]:
        """Yield the digest of each file that has a map, good or not.

        Directories that cannot be listed, such as those of other users, are left out.
        """
        with best_effort(self._disk):
            for digest, _ in self.statuses():
                yield digest

    def statuses(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield what :meth:`entries` does, with the status of each map.

        Raises:
            StoreError: They cannot be listed at the moment; see :func:`.is_passing`.
        """
        for prefix, is_below in self._list(self._disk.entries, self._layout.chunk_maps):
            below = self._layout.chunk_maps / prefix
            for name, found in self._list(self._disk.statuses, below) if is_below else ():
                digest = name.removesuffix(CHUNK_MAP_SUFFIX)
                if name != digest and is_digest(digest):
                    yield digest, found

    def _list(self, listing: Callable[[Path], list[T]], directory: Path) -> list[T]:
        try:
            return listing(directory) if is_directory(self._disk, directory) else []
        except StoreError as error:
            if is_passing(error):
                raise
            with best_effort(self._disk):
                raise
        return []

    def _content(self, sha256: str, size: int) -> bytes | None:
        limit = min(_LEAST_LIMIT + size // _LIMIT_SHARE, _MOST_LIMIT)
        return read_small(self._disk, self._layout.chunk_map(sha256), limit)


def one_chunk_cid(sha256: str) -> Cid:
    """The CID of a file of at most one chunk: that of a raw block, whose SHA-256 is the file's own."""
    from modelfetch.ipfs.cid import RAW, SHA2_256, Cid

    return Cid(1, RAW, SHA2_256, bytes.fromhex(sha256))


def _format(built: Built) -> bytes:
    from modelfetch.ipfs import car

    sections = (car.section(cid, block) for cid, block in built.nodes)
    return b"".join((car.header(built.root), *sections))


def _root_and_blocks(content: bytes) -> tuple[Cid, dict[bytes, bytes]] | None:
    """Read the nodes of a map by multihash, each verified; None if it is damaged, or has no root."""
    from modelfetch.ipfs import car
    from modelfetch.ipfs.errors import MalformedError

    root = car.root_of(content)
    if root is None:
        return None
    try:
        blocks = car.read_blocks(content)
    except MalformedError:
        return None
    return (root, blocks) if root.multihash in blocks else None


def _table(root: Cid, size: int, blocks: dict[bytes, bytes]) -> LeafTable | None:
    """Read a table from blocks; None if they are not those of a file of this size."""
    from modelfetch.ipfs.errors import MalformedError
    from modelfetch.ipfs.leaf_table_reader import read_table

    try:
        return read_table(root, size, lambda cid: blocks.get(cid.multihash))
    except MalformedError:
        return None

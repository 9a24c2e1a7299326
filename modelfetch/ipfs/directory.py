"""Directories: resolving a path in them, and finding all files below one.

A directory is one dag-pb node with a link for each entry, or above 262,144 bytes a tree of shards
(:mod:`modelfetch.ipfs.hamt`). Both classes here read them block by block, from any source
(:mod:`modelfetch.ipfs.block_walk`)::

    lookup = PathLookup(root, [b"onnx", b"model.onnx"])
    while lookup.wanted:
        lookup.add(get(lookup.wanted[0]))
    lookup.target                          # the CID of the file

- Names are bytes, compared exactly: nothing is percent-decoded or normalized, and case matters.
- Names that are not one part of a path (empty, ``.``, ``..``, with ``/`` or NUL) are rejected.
- Of two entries with the same name the first one counts.
- Symbolic links are rejected, and so are paths that continue behind a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from modelfetch.ipfs import dag_pb, hamt, unixfs
from modelfetch.ipfs.block_walk import BlockWalk
from modelfetch.ipfs.cid import IDENTITY, RAW, Cid
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.unixfs import Kind, Message

NAME_LIMIT: Final = 255
"""Longest name in bytes, as in manifests: the limit of most file systems."""
PATH_LIMIT: Final = 1024
"""Longest path in bytes, as in manifests."""
DEPTH_LIMIT: Final = 32
"""Most names in a path, as in manifests."""
ENTRY_LIMIT: Final = 20_000
"""Most files and directories below the one that is walked: a manifest can list as many files."""
SHARD_LIMIT: Final = 20_000
"""Most shards of all directories together; of ENTRY_LIMIT entries in one directory there are about 2,000."""


class NotFoundError(MalformedError):
    """A path does not exist: a directory was read and has no such entry, or the path continues in a file."""


class Page(NamedTuple):
    """The contents of one block of a directory."""

    entries: tuple[Link, ...]
    """The entries, by their own names."""
    shards: tuple[Link, ...] = ()
    """Shards with further entries; only in sharded directories."""
    fanout: int = 0
    """Slots of the shard; 0 if the directory is not sharded."""


class _Place(NamedTuple):
    """Which block of a directory is expected: its first one, or a shard below that."""

    fanout: int = 0
    """Slots of the shards above; 0 for the first block of a directory."""
    level: int = 0

    def check(self, fanout: int) -> None:
        """Check that a shard has the fan-out of those above; anything else has 0."""
        if self.fanout not in {0, fanout}:
            raise MalformedError(f"shard with fan-out {fanout} in a directory with {self.fanout}")

    def next_level(self, fanout: int) -> _Place:
        """The place of the shards that a shard links to."""
        if self.level + 1 >= hamt.levels(fanout):
            raise MalformedError("shards are deeper than the hash of a name has bits")
        return _Place(fanout, self.level + 1)


def check_name(name: bytes) -> None:
    """Check that a name is one part of a path, whatever system the path is used on.

    Raises:
        MalformedError: It is not, or it is too long.
    """
    if name in {b"", b".", b".."} or b"/" in name or b"\0" in name:
        raise MalformedError(f"name {shown(name)} is not one part of a path")
    if len(name) > NAME_LIMIT:
        raise MalformedError(f"name {shown(name)} is longer than {NAME_LIMIT} bytes")


def shown(name: bytes | str) -> str:
    """A name in quotes for messages: control characters escaped, and shortened if it is long."""
    text = name if isinstance(name, str) else name.decode(errors="backslashreplace")
    return repr(text if len(text) <= 80 else text[:77] + "...")


def read_page(node: Node, message: Message) -> Page:
    """Read one block of a directory, which can be a shard.

    Raises:
        MalformedError: The node is no directory, or an invalid shard.
    """
    if message.kind is Kind.DIRECTORY:
        return Page(node.links)
    if message.kind is Kind.HAMT_SHARD:
        shard = hamt.read_shard(node, message)
        links = [link for _, link in shard.slots]
        return Page(
            tuple(link for link in links if link.name),
            tuple(link for link in links if not link.name),
            shard.fanout,
        )
    if message.kind is Kind.SYMLINK:
        raise MalformedError("symbolic links are not supported")
    raise MalformedError(f"type {message.kind.name} of UnixFS is not a directory")


class _Step(NamedTuple):
    """A block on the way: how many names of the path were found, and the place in the directory."""

    depth: int
    place: _Place


class PathLookup(BlockWalk[_Step]):
    """Finds what a path leads to, with one block for each directory, or for each shard on the way."""

    def __init__(self, root: Cid, path: Sequence[bytes]) -> None:
        """Begin at a directory.

        Args:
            root: CID of the directory; or of a file, if the path has no names.
            path: The names, which are checked with :func:`check_name`.

        Raises:
            MalformedError: A name is invalid, or the root is neither file nor directory.
            NotFoundError: The root is a file, and the path continues.
        """
        super().__init__()
        for name in path:
            check_name(name)
        self.target: Cid | None = None
        """CID of the file or directory, as soon as it is known. Its block was not read."""
        self._path = tuple(path)
        self._enter(root, 0)
        self._visit_inline()

    def _enter(self, cid: Cid, depth: int) -> None:
        if depth == len(self._path):
            self.target = cid
        elif cid.codec == RAW:
            raise NotFoundError(f"{self._shown(depth)} is a file; nothing can be below it")
        else:
            self._want(cid, _Step(depth, _Place()))

    def _visit(self, block: bytes, purposes: list[_Step]) -> None:
        step = purposes[0]  # one block at a time is wanted, and for one reason
        try:
            link = self._find(block, step)
        except NotFoundError:
            raise
        except MalformedError as error:
            raise MalformedError(f"{self._shown(step.depth)}: {error}") from None
        if link.name:
            self._enter(link.cid, step.depth + 1)

    def _find(self, block: bytes, step: _Step) -> Link:
        """Find the next name in a block. Follows the link to another shard, whose name is empty."""
        node = dag_pb.decode(block)
        message = unixfs.message_of(node)
        name = self._path[step.depth]
        if message.kind is Kind.HAMT_SHARD:
            shard = hamt.read_shard(node, message)
            step.place.check(shard.fanout)
            link = shard.find(name, step.place.level)
            if link and not link.name:
                self._want(link.cid, _Step(step.depth, step.place.next_level(shard.fanout)))
        elif message.kind in {Kind.FILE, Kind.RAW}:
            raise NotFoundError(f"{self._shown(step.depth)} is a file; nothing can be below it")
        else:
            step.place.check(0)
            entries = read_page(node, message).entries
            link = next((entry for entry in entries if entry.name == name), None)
        if link is None:
            raise NotFoundError(f"{self._shown(step.depth)} has no entry {shown(name)}")
        return link

    def _shown(self, depth: int) -> str:
        return shown(b"/".join(self._path[:depth])) if depth else "the directory"


class Entry(NamedTuple):
    """A file below a directory, or any entry of it."""

    path: str
    """Names joined by ``/``; empty if the root itself is a file."""
    cid: Cid
    size: int | None
    """Bytes of a file. Of a raw block it is what the directory states, which its writer can have got wrong;
    None if it is not stated, and for entries that were not read."""


class _Spot(NamedTuple):
    """What a block was linked as."""

    path: str
    depth: int
    """Names in the path."""
    cid: Cid
    tsize: int | None
    place: _Place = _Place()


class DirectoryWalk(BlockWalk[_Spot]):
    """Finds the files below a directory.

    Wanted are the blocks of the directories, and the first block of each file that is not a raw block. The
    block of a directory is wanted again if a directory found later is the same.

    The limits of this module bound memory and time, whatever the blocks contain: a directory can link to the
    same block under thousands of names, on each of many levels.
    """

    def __init__(self, root: Cid, *, recursive: bool = True) -> None:
        """Begin at a directory; a file is returned as the only entry.

        Args:
            root: CID of the directory.
            recursive: Whether to read all directories below, and the first block of each file. Otherwise the
                entries of the directory itself are returned without knowing what they are; there can be
                some whose CID has a ``refusal``.

        Raises:
            MalformedError: The root is neither file nor directory.
        """
        super().__init__()
        self._recursive = recursive
        self._entries: dict[str, Entry] = {}
        self._paths: set[str] = set()
        self._sizes: dict[bytes, int] = {}
        """Sizes of the files whose first block was read, by multihash: many can have the same contents."""
        self._links = self._shards = 0
        self._enter(_Spot("", 0, root, None))
        self._visit_inline()

    @property
    def entries(self) -> tuple[Entry, ...] | None:
        """The files in the order of their paths, by code points; None while blocks are wanted."""
        if self._wanted:
            return None
        return tuple(self._entries[path] for path in sorted(self._entries))

    def _enter(self, spot: _Spot) -> None:
        known = self._sizes.get(spot.cid.multihash)
        if spot.depth and not self._recursive:
            self._add_file(spot, _raw_size(spot) if spot.cid.codec == RAW else None)
        elif spot.cid.refusal:
            raise _PlacedError(f"{shown(spot.path)}: {spot.cid.refusal}" if spot.path else spot.cid.refusal)
        elif spot.cid.codec == RAW:
            self._add_file(spot, _raw_size(spot))
        elif known is not None:
            self._add_file(spot, known)
        else:
            self._want(spot.cid, spot)

    def _add_file(self, spot: _Spot, size: int | None) -> None:
        self._entries[spot.path] = Entry(spot.path, spot.cid, size)

    def _visit(self, block: bytes, purposes: list[_Spot]) -> None:
        spot = purposes[0]
        try:
            node = dag_pb.decode(block)
            message = unixfs.message_of(node)
            size = page = None
            if message.kind in {Kind.FILE, Kind.RAW}:
                size = self._sizes[spot.cid.multihash] = unixfs.file_message(node).filesize or 0
            else:
                page = read_page(node, message)
            for spot in purposes:
                spot.place.check(page.fanout if page is not None else 0)
                if page is not None:
                    self._add_page(spot, page)
                else:
                    self._add_file(spot, size)
        except _PlacedError:
            raise
        except MalformedError as error:
            raise MalformedError(f"{_where(spot.path)}: {error}") from None

    def _add_page(self, spot: _Spot, page: Page) -> None:
        # Repeated names count too: they take as long to read.
        self._links += len(page.entries)
        self._shards += len(page.shards)
        if self._links > ENTRY_LIMIT or self._shards > SHARD_LIMIT:
            raise _PlacedError(f"directory has more than {ENTRY_LIMIT} entries, or {SHARD_LIMIT} shards")
        for link in page.entries:
            name = link.name or b""
            path = self._new_path(spot, name)
            if path not in self._paths:
                self._paths.add(path)
                self._enter(_Spot(path, spot.depth + 1, link.cid, link.tsize))
            elif page.fanout:
                # Shards arrive in any order, so that there is no first one.
                raise MalformedError(f"has two entries {shown(name)}")
        for link in page.shards:
            self._want(link.cid, spot._replace(cid=link.cid, place=spot.place.next_level(page.fanout)))

    def _new_path(self, spot: _Spot, name: bytes) -> str:
        check_name(name)
        if spot.depth >= DEPTH_LIMIT:
            raise _PlacedError(f"directories are more than {DEPTH_LIMIT} levels deep")
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise MalformedError(f"name {shown(name)} is not UTF-8") from None
        path = f"{spot.path}/{text}" if spot.path else text
        if len(path.encode()) > PATH_LIMIT:
            raise _PlacedError(f"a path is longer than {PATH_LIMIT} bytes")
        return path


class _PlacedError(MalformedError):
    """An error whose message already says where, or that belongs to no single directory."""


def _raw_size(spot: _Spot) -> int | None:
    """Bytes of a raw block: known if its CID contains it, else what the link states."""
    return len(spot.cid.digest) if spot.cid.hash_code == IDENTITY else spot.tsize


def _where(path: str) -> str:
    return shown(path) if path else "the directory"

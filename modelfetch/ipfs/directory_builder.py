"""Building directories, so that a set of files gets the CID that other tools give it.

An entry is a link to the root of a file or directory: its name, CID, and the bytes of all blocks below it. A
directory becomes one block, with the links in the order of their names, or a tree of shards if it is too
large for the profile. What counts is the size of the block in ``unixfs-v1-2025``, and that of all names and
CIDs in ``unixfs-v0-2015``; both limits are 262,144 bytes, and one byte more makes shards (IPIP-499).

Example, with a file ``a`` of one byte and an empty directory ``b``, after which the data ``0a 02 08 01`` says
that the node is a directory::

    12 2b 0a 24 <CID> 12 01 "a" 18 01
    12 2b 0a 24 <CID> 12 01 "b" 18 04
    0a 02 08 01
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from modelfetch.ipfs import dag_pb, hamt, unixfs
from modelfetch.ipfs.cid import DAG_PB, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.directory import DEPTH_LIMIT, check_name, shown
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.profiles import DirectoryMeasure, Profile
from modelfetch.ipfs.unixfs import Kind, Message
from modelfetch.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class BuiltDirectory:
    """A directory and its blocks, without those of its files."""

    root: Cid
    tsize: int
    """Bytes of all blocks: its own and those below its entries."""
    nodes: tuple[tuple[Cid, bytes], ...]
    """CID and block of each directory and shard; those further down first, the root last."""


def build_directory(entries: Iterable[Link], profile: Profile) -> BuiltDirectory:
    """Build one directory.

    Args:
        entries: Name, CID and total size of each entry, in any order.
        profile: Decides on the version of the CIDs, and when there are shards.

    Raises:
        MalformedError: A name is invalid or occurs twice.
    """
    links = sorted(entries, key=_name)
    for link in links:
        check_name(_name(link))
    for first, second in pairwise(links):
        if first.name == second.name:
            raise MalformedError(f"name {shown(_name(first))} occurs twice in a directory")
    nodes: tuple[tuple[Cid, bytes], ...] = (_one_block(links, profile),)
    if _measure(links, nodes[0][1], profile) > profile.shard_above:
        nodes = hamt.build_shards(links, profile.cid_version, profile.fanout)
    own = sum(len(block) for _, block in nodes)
    return BuiltDirectory(nodes[-1][0], own + sum(link.tsize or 0 for link in links), nodes)


def build_tree(files: Iterable[tuple[str, Cid, int]], profile: Profile) -> BuiltDirectory:
    """Build the directories of a set of files.

    Args:
        files: Path (names joined by ``/``), CID and ``tsize`` of each file, in any order.
        profile: As for :func:`build_directory`, for each directory.

    Raises:
        MalformedError: A path is invalid, or occurs twice, or is also that of a directory.
    """
    root: _Directory = {}
    for path, cid, tsize in files:
        *parents, name = path.split("/")
        if len(parents) >= DEPTH_LIMIT:
            raise MalformedError(f"path {shown(path)} is more than {DEPTH_LIMIT} names deep")
        directory = root
        for parent in parents:
            below = directory.setdefault(parent, {})
            if isinstance(below, Link):
                raise MalformedError(f"path {shown(path)} continues behind a file")
            directory = below
        if name in directory:
            raise MalformedError(f"path {shown(path)} occurs twice")
        directory[name] = Link(cid, _encoded(name), tsize)
    return _build(root, profile)


_Directory = dict[str, "Link | _Directory"]


def _build(directory: _Directory, profile: Profile) -> BuiltDirectory:
    """Build a directory and those below; recursion is as deep as the longest path."""
    links: list[Link] = []
    below: list[tuple[Cid, bytes]] = []
    for name, entry in directory.items():
        if isinstance(entry, Link):
            links.append(entry)
            continue
        built = _build(entry, profile)
        below += built.nodes
        links.append(Link(built.root, _encoded(name), built.tsize))
    own = build_directory(links, profile)
    # A directory that occurs twice has the same blocks: they are listed once.
    return BuiltDirectory(own.root, own.tsize, tuple(dict.fromkeys((*below, *own.nodes))))


def _one_block(links: list[Link], profile: Profile) -> tuple[Cid, bytes]:
    block = dag_pb.encode(Node(tuple(links), unixfs.encode(Message(Kind.DIRECTORY))))
    return cid_of(block, DAG_PB, profile.cid_version), block


def _measure(links: list[Link], block: bytes, profile: Profile) -> int:
    if profile.directory_measure is DirectoryMeasure.BLOCK:
        return len(block)
    return sum(len(_name(link)) + len(link.cid.binary) for link in links)


def _encoded(name: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError:  # a surrogate, which stands for a byte that is not UTF-8
        raise MalformedError(f"name {shown(name)} is not UTF-8") from None


def _name(link: Link) -> bytes:
    return link.name or b""

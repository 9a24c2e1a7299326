"""Shards: how a directory that is too large for one block is spread over a tree of them (HAMT).

A shard has a number of slots, the *fan-out*. The hash of a name chooses its slot: each level takes the next
bits of the hash, the most significant first, eight for a fan-out of 256. A slot holds the link of one entry,
or that of the shard with all entries of the slot. The name of a link starts with its slot as hexadecimal
digits in upper case, as many as the largest slot needs:

    ``6E470.txt``    slot 0x6e, entry ``470.txt``
    ``6E``           slot 0x6e, shard of the next level

The UnixFS message of a shard states the hash, the fan-out and a bit for each slot that is used. Readers do
not need the bits. Nor does it matter for safety whether an entry is in the slot of its name: the shard was
verified, so the entry is genuine.

The specification says that the lowest bits come first and that the bit field is little-endian. Files of all
known implementations do it the other way around, and so does this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.cid import DAG_PB, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.murmur3 import HASH_BITS, murmur3_x64_64
from modelfetch.ipfs.unixfs import Kind, Message

MURMUR3_X64_64: Final = 0x22
"""Code of the only hash for names (multicodec table)."""
FANOUT_LIMIT: Final = 1024
"""Most slots of a shard that is read; larger ones made other readers run out of memory (CVE-2023-23625)."""


class Shard(NamedTuple):
    """What a shard contains."""

    fanout: int
    slots: tuple[tuple[int, Link], ...]
    """Number and link of each slot that is used. The name of the link is without the digits of the slot: it
    is that of the entry, or empty if the link is that of another shard."""

    def find(self, name: bytes, level: int) -> Link | None:
        """Find the link that leads to an entry: its own, or that of the next shard; None if there is none.

        Args:
            name: The name of the entry.
            level: Level of this shard; the root has level 0.

        Raises:
            MalformedError: The hash has no bits left for this level.
        """
        slot = slot_of(name, level, self.fanout)
        return next(
            (link for number, link in self.slots if number == slot and link.name in {name, b""}), None
        )


def levels(fanout: int) -> int:
    """How many levels a tree can have, until the bits of the hash are used up: 8 for a fan-out of 256."""
    return HASH_BITS // _bits(fanout)


def slot_of(name: bytes, level: int, fanout: int) -> int:
    """The slot of a name in the shards of a level.

    Raises:
        MalformedError: The hash has no bits left for this level.
    """
    return _slot(murmur3_x64_64(name), level, fanout)


def read_shard(node: Node, message: Message) -> Shard:
    """Read a node whose message is of type HAMT_SHARD.

    Raises:
        MalformedError: The hash is another one, the fan-out is invalid, or a link does not name its slot.
    """
    fanout = message.fanout or 0
    if message.hash_type != MURMUR3_X64_64:
        raise MalformedError("shard of a directory: hash of names is not murmur3-x64-64")
    # A multiple of 8 and a power of two, so that the bit field has whole bytes, and slots take whole bits.
    if not 8 <= fanout <= FANOUT_LIMIT or fanout & (fanout - 1):
        raise MalformedError(f"shard of a directory: fan-out {fanout} is not a power of two from 8 to 1024")
    digits = _digits(fanout)
    return Shard(fanout, tuple(_read_slot(link, digits, fanout) for link in node.links))


def _read_slot(link: Link, digits: int, fanout: int) -> tuple[int, Link]:
    name = link.name or b""
    prefix = name[:digits]
    # int() accepts more than the format: signs, spaces, underscores and lower case.
    if len(prefix) == digits and all(byte in b"0123456789ABCDEF" for byte in prefix):
        slot = int(prefix, 16)
        if slot < fanout:
            return slot, link._replace(name=name[digits:])
    raise MalformedError("shard of a directory: name of a link does not start with its slot")


def build_shards(entries: Iterable[Link], cid_version: int, fanout: int) -> tuple[tuple[Cid, bytes], ...]:
    """Build the shards of a directory.

    Args:
        entries: Links with different names, in any order: the result does not depend on it.
        cid_version: Version of the CIDs of the shards, 0 or 1.
        fanout: Slots of a shard.

    Returns:
        CID and block of each shard; those of higher levels first, the root last.

    Raises:
        MalformedError: Two names have the same hash.
    """
    builder = _Builder(cid_version, fanout)
    builder.build([(murmur3_x64_64(link.name or b""), link) for link in entries], 0)
    return tuple(builder.nodes)


class _Builder:
    """Builds the shards of one directory."""

    def __init__(self, cid_version: int, fanout: int) -> None:
        self.nodes: list[tuple[Cid, bytes]] = []
        self._cid_version = cid_version
        self._fanout = fanout

    def build(self, entries: list[tuple[int, Link]], level: int) -> Link:
        """Build the shard of some entries, and before it those below; returns a link without a name.

        The depth of the recursion is limited by the bits of the hash: to 8 levels for a fan-out of 256.
        """
        groups: dict[int, list[tuple[int, Link]]] = {}
        for entry in entries:
            groups.setdefault(_slot(entry[0], level, self._fanout), []).append(entry)
        links = []
        for slot, group in sorted(groups.items()):
            prefix = f"{slot:0{_digits(self._fanout)}X}".encode()
            if len(group) == 1:
                link = group[0][1]
                links.append(link._replace(name=prefix + (link.name or b"")))
            else:
                links.append(self.build(group, level + 1)._replace(name=prefix))
        return self._add(links, sum(1 << slot for slot in groups))

    def _add(self, links: list[Link], used: int) -> Link:
        """Add a shard; ``used`` has a bit for each slot."""
        bits = used.to_bytes((used.bit_length() + 7) // 8, "big")
        message = Message(Kind.HAMT_SHARD, data=bits, hash_type=MURMUR3_X64_64, fanout=self._fanout)
        block = dag_pb.encode(Node(tuple(links), unixfs.encode(message)))
        cid = cid_of(block, DAG_PB, self._cid_version)
        self.nodes.append((cid, block))
        return Link(cid, None, len(block) + sum(link.tsize or 0 for link in links))


def _slot(name_hash: int, level: int, fanout: int) -> int:
    if level >= levels(fanout):
        raise MalformedError("shard of a directory: deeper than the hash of a name has bits")
    return name_hash >> HASH_BITS - _bits(fanout) * (level + 1) & fanout - 1


def _bits(fanout: int) -> int:
    """Bits of the hash that one level takes."""
    return fanout.bit_length() - 1


def _digits(fanout: int) -> int:
    """Hexadecimal digits of a slot: two for a fan-out of 256, three for 1024."""
    return len(f"{fanout - 1:X}")

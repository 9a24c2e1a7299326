"""Shards: names of links, slots, the limits of the fan-out, and what the builder makes."""

from __future__ import annotations

import random

import pytest

from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.cid import RAW, cid_of
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.hamt import MURMUR3_X64_64, Shard, build_shards, levels, read_shard, slot_of
from modelfetch.ipfs.unixfs import Kind, Message

LEAF = cid_of(b"x", RAW)


def shard(*names: bytes | None, fanout: int | None = 256, hash_type: int | None = MURMUR3_X64_64) -> Shard:
    message = Message(Kind.HAMT_SHARD, data=b"", hash_type=hash_type, fanout=fanout)
    return read_shard(Node(tuple(Link(LEAF, name, 1) for name in names), b""), message)


def decoded(block: bytes) -> Shard:
    node = dag_pb.decode(block)
    return read_shard(node, unixfs.message_of(node))


@pytest.mark.parametrize(
    ("name", "slots"),
    [
        (b"470.txt", [0x00, 0x6E, 0x88, 0xDF, 0x58, 0x47, 0xE6, 0x7C]),
        (b"742.txt", [0x00, 0xFF, 0x87, 0xD1, 0x29, 0xAE, 0x54, 0x28]),
        (b"", [0] * 8),
    ],
)
def test_slots_take_the_most_significant_bits_first(name: bytes, slots: list[int]) -> None:
    assert [slot_of(name, level, 256) for level in range(8)] == slots
    with pytest.raises(MalformedError, match="deeper than the hash"):
        slot_of(name, 8, 256)


@pytest.mark.parametrize(("fanout", "bits", "most"), [(8, 3, 21), (16, 4, 16), (512, 9, 7), (1024, 10, 6)])
def test_other_fanouts_take_other_numbers_of_bits(fanout: int, bits: int, most: int) -> None:
    value = 0x07C182825CB447E1  # 1.txt
    expected = [value >> 64 - bits * (level + 1) & fanout - 1 for level in range(most)]
    assert levels(fanout) == most
    assert [slot_of(b"1.txt", level, fanout) for level in range(most)] == expected


def test_links_are_entries_or_shards() -> None:
    found = shard(b"00", b"6E470.txt", b"6Eab", b"FFFF")
    assert [(slot, link.name) for slot, link in found.slots] == [
        (0x00, b""),
        (0x6E, b"470.txt"),
        (0x6E, b"ab"),
        (0xFF, b"FF"),
    ]
    assert [link.name for _, link in shard(b"3FFx", b"000", fanout=1024).slots] == [b"x", b""]
    assert [link.name for _, link in shard(b"7x", b"0", fanout=8).slots] == [b"x", b""]


def test_an_entry_is_found_by_slot_and_name() -> None:
    found = shard(b"00", b"6E470.txt", b"85a", b"85b")
    for name, level, expected in [
        (b"470.txt", 0, b""),  # slot 00: the next shard
        (b"470.txt", 1, b"470.txt"),
        (b"470.tx", 0, None),
        (b"a", 0, b"a"),
        (b"b", 0, None),  # in the wrong slot
    ]:
        link = found.find(name, level)
        assert (link.name if link else None) == expected


@pytest.mark.parametrize("fanout", [None, 0, 1, 4, 7, 24, 96, 255, 257, 2048, 1 << 20, 1 << 63])
def test_invalid_fanouts_are_rejected(fanout: int | None) -> None:
    with pytest.raises(MalformedError, match="is not a power of two from 8 to 1024"):
        shard(fanout=fanout)


@pytest.mark.parametrize("hash_type", [None, 0, 0x12, 0x23, 1 << 40])
def test_other_hashes_are_rejected(hash_type: int | None) -> None:
    with pytest.raises(MalformedError, match="is not murmur3-x64-64"):
        shard(hash_type=hash_type)


@pytest.mark.parametrize(
    "name", [None, b"", b"0", b"6e", b"6eab", b"G0", b" 0", b"+1", b"1_", b"-1", b"\xff\xff"]
)
def test_links_without_a_slot_are_rejected(name: bytes | None) -> None:
    with pytest.raises(MalformedError, match="does not start with its slot"):
        shard(b"00a", name)


@pytest.mark.parametrize(
    ("fanout", "name"), [(8, b"8x"), (16, b""), (512, b"200"), (1024, b"400"), (1024, b"3F")]
)
def test_slots_outside_of_the_fanout_are_rejected(fanout: int, name: bytes) -> None:
    with pytest.raises(MalformedError, match="does not start with its slot"):
        shard(name, fanout=fanout)


@pytest.mark.quick(1)
@pytest.mark.parametrize(("fanout", "version"), [(256, 1), (256, 0), (8, 1), (1024, 1)])
def test_built_shards_contain_every_entry_where_it_is_looked_up(fanout: int, version: int) -> None:
    names = [f"{number}.bin".encode() for number in range(700)]
    nodes = build_shards([Link(LEAF, name, 1) for name in names], version, fanout)
    blocks = {cid: decoded(block) for cid, block in nodes}
    assert all(cid.version == version and cid.matches(block) for cid, block in nodes)
    for name in names:
        level, link = 0, None
        shard = blocks[nodes[-1][0]]
        while (link := shard.find(name, level)) and not link.name:
            shard, level = blocks[link.cid], level + 1
        assert link == Link(LEAF, name, 1)


def test_the_order_of_entries_does_not_matter() -> None:
    links = [Link(LEAF, f"{number}".encode(), 1) for number in range(300)]
    expected = build_shards(links, 1, 256)
    random.Random(3).shuffle(links)
    assert build_shards(links, 1, 256) == expected


def test_a_built_shard_has_the_bytes_of_the_specification() -> None:
    """470.txt and 742.txt share slot 00 of the root; the bit field is a big-endian number."""
    (_, below), (_, root) = build_shards([Link(LEAF, b"470.txt", 1), Link(LEAF, b"742.txt", 1)], 1, 256)
    leaf = LEAF.binary.hex()
    tail = "2822308002"
    assert below.hex() == (
        f"12330a24{leaf}1209{b'6E470.txt'.hex()}1801"
        f"12330a24{leaf}1209{b'FF742.txt'.hex()}1801"
        f"0a2908051220{1 << 255 | 1 << 0x6E:064x}{tail}"
    )
    cid = cid_of(below, 0x70).binary.hex()
    tsize = len(below) + 2
    assert tsize == 0x95 + 2
    assert root.hex() == f"122d0a24{cid}1202{b'00'.hex()}1897010a0a0805120101{tail}"


def test_names_with_the_same_hash_are_rejected() -> None:
    with pytest.raises(MalformedError, match="deeper than the hash"):
        build_shards([Link(LEAF, b"a", 1), Link(LEAF, b"a", 1)], 1, 256)

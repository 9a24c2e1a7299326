"""dag-pb nodes: byte-exact writing, both orders of the fields, and every rule of the specification."""

import random

import pytest

from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, SHA2_256, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link, Node, decode, encode
from modelfetch.ipfs.errors import MalformedError

ROOT = bytes.fromhex(
    "122c0a24015512200268cb8e7373247d08ea6c0846700eb7b9c8eb58bfecbd921e4252e9e266ec98120018808040"
    "122a0a24015512204d7b3ef7300acf70c892d8327db8272f54434adbc61a4e130a563cb59a0d0f4712001801"
    "0a0c08021881804020808040" + "2001"
)
"""Root of 1,048,577 bytes in chunks of 1 MiB, from the vectors of IPIP-499."""
EMPTY = "0a0401550000"  # field 1 of a link: the CID of an empty identity block
IDENTITY_CID = Cid(1, RAW, IDENTITY, b"")


def test_a_known_root_is_read_and_written() -> None:
    node = decode(ROOT)
    assert cid_of(ROOT, DAG_PB).text == "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"
    assert [link.tsize for link in node.links] == [1_048_576, 1]
    assert [link.name for link in node.links] == [b"", b""]
    assert [link.cid.codec for link in node.links] == [RAW, RAW]
    assert [link.cid.digest[:2].hex() for link in node.links] == ["0268", "4d7b"]
    assert node.data == bytes.fromhex("08021881804020808040" + "2001")
    assert encode(node) == ROOT


@pytest.mark.parametrize(
    ("block", "node"),
    [
        ("", Node((), None)),
        ("0a00", Node((), b"")),
        ("0a03010203", Node((), b"\1\2\3")),
        ("1206" + EMPTY, Node((Link(IDENTITY_CID, None, None),), None)),
        ("1208" + EMPTY + "1200", Node((Link(IDENTITY_CID, b"", None),), None)),
        ("1208" + EMPTY + "1800", Node((Link(IDENTITY_CID, None, 0),), None)),
        ("120d" + EMPTY + "1203ff2f00" + "1805", Node((Link(IDENTITY_CID, b"\xff/\0", 5),), None)),
        ("1206" + EMPTY + "1206" + EMPTY + "0a0161", Node((Link(IDENTITY_CID, None, None),) * 2, b"a")),
        ("120b0a09015500050001020304", Node((Link(Cid(1, RAW, IDENTITY, b"\0\1\2\3\4"), None, None),), None)),
    ],
)
def test_every_field_may_be_absent_but_for_the_target(block: str, node: Node) -> None:
    assert decode(bytes.fromhex(block)) == node
    assert encode(node).hex() == block


def test_data_may_come_first() -> None:
    first = bytes.fromhex("0a0161" + "1206" + EMPTY + "1206" + EMPTY)
    last = bytes.fromhex("1206" + EMPTY + "1206" + EMPTY + "0a0161")
    assert decode(first) == decode(last)
    assert encode(decode(first)) == last


def test_a_link_may_lead_to_any_codec_and_hash() -> None:
    link = Link(Cid(1, 0x71, 0x13, b"a" * 64), b"x", 3)
    assert decode(encode(Node((link,), None))).links == (link,)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("0a", "ends inside a varint"),
        ("0a0201", "truncated"),
        ("0a000a00", "two data fields"),
        ("1206" + EMPTY + "0a00" + "1206" + EMPTY, "before and after the data"),
        ("0a00" + "1206" + EMPTY + "0a00", "two data fields"),
        ("1801", "field 3 of wire type 0 is unknown"),
        ("1a00", "field 3 of wire type 2 is unknown"),
        ("0801", "field 1 of wire type 0 is unknown"),
        ("1001", "field 2 of wire type 0 is unknown"),
        ("0b", "wire type 3"),
        ("0c", "wire type 4"),
        ("1200", "link 0: has no CID"),
        ("1206" + EMPTY + "1202" + "1200", "link 1: has no CID"),
        ("1208" + "1200" + EMPTY, "ascending"),
        ("120a" + EMPTY + "18001200", "ascending"),
        ("120c" + EMPTY + EMPTY, "ascending"),
        ("120a" + EMPTY + "18001800", "ascending"),
        ("1208" + EMPTY + "2000", "field 4 of wire type 0 is unknown"),
        ("1208" + EMPTY + "1000", "field 2 of wire type 0 is unknown"),
        ("1208" + EMPTY + "1a00", "field 3 of wire type 2 is unknown"),
        ("1202" + "0a00", "link 0: ends inside a varint"),
        ("1207" + "0a050155000000", "link 0: other bytes follow the digest"),
        ("1207" + "0a0501551220ff", "1 bytes instead of the stated 32"),
        ("1206" + EMPTY[:-2], "truncated"),
        ("1211" + EMPTY + "18ffffffffffffffffff02", "exceeds 64 bits"),
    ],
)
def test_anything_else_is_refused(block: str, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        decode(bytes.fromhex(block))


def random_cid(chance: random.Random) -> Cid:
    return chance.choice(
        [
            Cid(0, DAG_PB, SHA2_256, chance.randbytes(32)),
            Cid(1, chance.choice([RAW, DAG_PB, 0x71]), SHA2_256, chance.randbytes(32)),
            Cid(1, RAW, IDENTITY, chance.randbytes(chance.randrange(129))),
        ]
    )


def random_node(chance: random.Random) -> Node:
    links = [
        Link(
            random_cid(chance),
            chance.choice([None, b"", chance.randbytes(chance.randrange(300))]),
            chance.choice([None, 0, chance.randrange(2**64)]),
        )
        for _ in range(chance.randrange(5))
    ]
    return Node(tuple(links), chance.choice([None, b"", chance.randbytes(chance.randrange(300))]))


def test_what_is_written_is_read_back() -> None:
    chance = random.Random(13)
    for _ in range(300):
        node = random_node(chance)
        assert decode(encode(node)) == node


@pytest.mark.slow
def test_damaged_nodes_are_read_or_refused() -> None:
    """Cut off, or with any byte changed: never another error, and never the same value from other bytes."""
    chance = random.Random(14)
    for _ in range(3000):
        node = random_node(chance)
        block = bytearray(encode(node))
        if not block:
            continue
        if chance.random() < 0.3:
            del block[chance.randrange(len(block)) :]
        else:
            block[chance.randrange(len(block))] ^= 1 << chance.randrange(8)
        try:
            found = decode(bytes(block))
        except MalformedError:
            continue
        assert found != node

"""UnixFS messages: byte-exact writing, what may be absent, and what a file may not contain."""

import random
from hashlib import sha256

import pytest

from modelfetch.ipfs import dag_pb, protobuf, unixfs
from modelfetch.ipfs.cid import DAG_PB, RAW, SHA2_256, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.unixfs import Kind, Message, Time
from tests.ipfs.test_dag_pb import ROOT

NANOSECONDS = "15" + (5).to_bytes(4, "little").hex()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("0801", Message(Kind.DIRECTORY)),
        ("08021800", Message(Kind.FILE, filesize=0)),
        ("080212001800", Message(Kind.FILE, b"", 0)),
        ("0802120b68656c6c6f20776f726c64180b", Message(Kind.FILE, b"hello world", 11)),
        ("0800120161" + "1801", Message(Kind.RAW, b"a", 1)),
        ("08021881804020808040" + "2001", Message(Kind.FILE, None, 1_048_577, (1_048_576, 1))),
        ("0804" + "1203666f6f", Message(Kind.SYMLINK, b"foo")),
        ("0805" + "120101" + "2822" + "308002", Message(Kind.HAMT_SHARD, b"\1", hash_type=0x22, fanout=256)),
        (
            "0802" + "1800" + "38a403" + "42060880d8af9b06",
            Message(Kind.FILE, filesize=0, mode=0o644, mtime=Time(1_668_017_152)),
        ),
    ],
)
def test_known_messages_are_read_and_written(data: str, message: Message) -> None:
    assert unixfs.decode(bytes.fromhex(data)) == message
    assert unixfs.encode(message).hex() == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("18000802", Message(Kind.FILE, filesize=0)),
        ("0802" + "2203010203", Message(Kind.FILE, blocksizes=(1, 2, 3))),
        ("0802" + "2001" + "22028002" + "2003", Message(Kind.FILE, blocksizes=(1, 256, 3))),
        ("0802" + "2200", Message(Kind.FILE)),
        ("0801" + "4801" + "5200" + "5d00000000", Message(Kind.DIRECTORY)),
        ("0801" + "f8ff0701", Message(Kind.DIRECTORY)),
        ("0801" + "38ffff03", Message(Kind.DIRECTORY, mode=0o7777)),
        ("0801" + "38a48302", Message(Kind.DIRECTORY, mode=0o644)),
        ("0801" + "420b08ffffffffffffffffff01", Message(Kind.DIRECTORY, mtime=Time(-1))),
        ("0801" + "42070801" + NANOSECONDS, Message(Kind.DIRECTORY, mtime=Time(1, 5))),
        ("0801" + "4207" + NANOSECONDS + "0801", Message(Kind.DIRECTORY, mtime=Time(1, 5))),
        ("0801" + "420408011800", Message(Kind.DIRECTORY, mtime=Time(1))),
    ],
)
def test_other_spellings_are_read(data: str, message: Message) -> None:
    assert unixfs.decode(bytes.fromhex(data)) == message


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "has no type"),
        ("010203", "field number 0"),
        ("0001020304", "field number 0"),
        ("1800", "has no type"),
        ("0806", "type 6 is unknown"),
        ("08ffffffffffffffffff01", "type 18446744073709551615 is unknown"),
        ("0a00", "field 1 has wire type 2 instead of 0"),
        ("08021001", "field 2 has wire type 0 instead of 2"),
        ("08021a00", "field 3 has wire type 2 instead of 0"),
        ("080225" + "00" * 4, "field 4 has wire type 5"),
        ("0802220180", "ends inside a varint"),
        ("08020802", "field 1 occurs twice"),
        ("080212001200", "field 2 occurs twice"),
        ("080218001800", "field 3 occurs twice"),
        ("08021203" + "6162", "truncated"),
        ("08020b", "wire type 3"),
        ("08020c", "wire type 4"),
        ("080218" + "ff" * 10, "too long"),
        ("0802" + "4200", "no seconds"),
        ("0802" + "4205" + NANOSECONDS, "no seconds"),
        ("0802" + "42070801" + "1500000000", "has 0 nanoseconds"),
        ("0802" + "42070801" + "1500ca9a3b", "has 1000000000 nanoseconds"),
        ("0802" + "42020a00", "wrong wire type"),
        ("0802" + "420408011001", "wrong wire type"),
        ("0802" + "4001", "field 8 has wire type 0"),
    ],
)
def test_anything_else_is_refused(data: str, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        unixfs.decode(bytes.fromhex(data))


@pytest.mark.parametrize("block", ["", "0a00", "0a03010203", "0a050001020304", "120b0a09015500050001020304"])
def test_nodes_that_are_not_of_unixfs_are_refused(block: str) -> None:
    with pytest.raises(MalformedError):
        unixfs.message_of(dag_pb.decode(bytes.fromhex(block)))


LINK = Link(Cid(1, RAW, SHA2_256, bytes(32)), b"", 10)


def file_node(message: Message, *links: Link) -> Node:
    return Node(links, unixfs.encode(message))


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (file_node(Message(Kind.DIRECTORY)), "type DIRECTORY, not a file"),
        (file_node(Message(Kind.HAMT_SHARD)), "type HAMT_SHARD, not a file"),
        (file_node(Message(Kind.SYMLINK, b"x")), "type SYMLINK, not a file"),
        (file_node(Message(Kind.METADATA)), "type METADATA, not a file"),
        (file_node(Message(Kind.FILE, None, 10, (10,))), "0 links, but 1 block sizes"),
        (file_node(Message(Kind.FILE, None, 10, ()), LINK), "1 links, but 0 block sizes"),
        (file_node(Message(Kind.FILE, None, 11, (10,)), LINK), "size 11, but its parts have 10 bytes"),
        (file_node(Message(Kind.FILE, b"a", 10, (10,)), LINK), "size 10, but its parts have 11 bytes"),
        (file_node(Message(Kind.FILE, None, None, (10,)), LINK), "size 0, but its parts have 10 bytes"),
        (file_node(Message(Kind.FILE, b"a")), "size 0, but its parts have 1 bytes"),
        (file_node(Message(Kind.FILE, None, 10, (10,)), LINK._replace(name=b"x")), "part has a name"),
        (Node((), None), "without data"),
    ],
)
def test_a_file_must_not_contradict_itself(node: Node, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        unixfs.file_message(node)


@pytest.mark.parametrize(
    "node",
    [
        file_node(Message(Kind.FILE)),
        file_node(Message(Kind.FILE, b"abc", 3)),
        file_node(Message(Kind.RAW, b"abc", 3)),
        file_node(Message(Kind.FILE, None, 10, (10,)), LINK),
        file_node(Message(Kind.FILE, None, 10, (10,)), LINK._replace(name=None, tsize=None)),
        file_node(Message(Kind.FILE, b"abc", 23, (10, 10)), LINK, LINK),
    ],
)
def test_files_are_read(node: Node) -> None:
    assert unixfs.file_message(node).kind in {Kind.FILE, Kind.RAW}


def test_an_inner_node_is_written() -> None:
    links = dag_pb.decode(ROOT).links
    assert unixfs.file_node(links, (1_048_576, 1)) == ROOT


@pytest.mark.parametrize(
    ("chunk", "cid"),
    [
        (b"hello world", "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"),
        (b"", "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
    ],
)
def test_a_leaf_is_wrapped(chunk: bytes, cid: str) -> None:
    before, after = unixfs.leaf_envelope(len(chunk))
    assert cid_of(before + chunk + after, DAG_PB, version=0).text == cid


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 262_144, 1_048_576])
@pytest.mark.parametrize("kind", [Kind.FILE, Kind.RAW])
def test_an_envelope_is_the_message_without_its_bytes(size: int, kind: Kind) -> None:
    chunk = b"a" * size
    message = Message(kind, chunk or None, size)
    before, after = unixfs.leaf_envelope(size, kind)
    assert sha256(before + chunk + after).digest() == sha256(dag_pb.encode(file_node(message))).digest()


def test_an_envelope_of_256_kib_has_14_bytes() -> None:
    assert sum(map(len, unixfs.leaf_envelope(262_144))) == 14


def random_message(chance: random.Random) -> Message:
    def maybe(limit: int) -> int | None:
        return chance.choice([None, 0, chance.randrange(limit)])

    time = Time(chance.randrange(-(2**63), 2**63), chance.choice([None, chance.randrange(1, 10**9)]))
    return Message(
        chance.choice(list(Kind)),
        chance.choice([None, b"", chance.randbytes(20)]),
        maybe(2**64),
        tuple(chance.randrange(2**64) for _ in range(chance.randrange(4))),
        maybe(2**64),
        maybe(2**64),
        maybe(0o10000),
        chance.choice([None, time]),
    )


def test_what_is_written_is_read_back() -> None:
    chance = random.Random(13)
    for _ in range(500):
        message = random_message(chance)
        assert unixfs.decode(unixfs.encode(message)) == message


@pytest.mark.slow
def test_damaged_messages_are_read_or_refused() -> None:
    chance = random.Random(14)
    for _ in range(3000):
        data = bytearray(unixfs.encode(random_message(chance)))
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            unixfs.file_message(Node((), bytes(data)))
        except MalformedError:
            continue


def test_packed_sizes_take_memory_in_proportion() -> None:
    data = protobuf.varint_field(1, 2) + protobuf.bytes_field(4, bytes(100_000))
    assert len(unixfs.decode(data).blocksizes) == 100_000

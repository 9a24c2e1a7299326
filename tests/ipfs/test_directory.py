"""Directories: paths and walks in plain and sharded ones, every fixture, hostile blocks and limits."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, Cid, cid_of
from modelfetch.ipfs.dag_pb import Link, Node
from modelfetch.ipfs.directory import (
    ENTRY_LIMIT,
    SHARD_LIMIT,
    DirectoryWalk,
    Entry,
    NotFoundError,
    PathLookup,
    check_name,
)
from modelfetch.ipfs.directory_builder import build_directory, build_tree
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.hamt import read_shard
from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025, Profile
from modelfetch.ipfs.unixfs import Kind, Message
from modelfetch.lazy_dataclass import replace
from tests.ipfs.car_fixtures import Blocks, needs_fixtures

LEAF = cid_of(b"x", RAW)
OTHER = cid_of(b"other", RAW)
SHARDED = replace(UNIXFS_V1_2025, shard_above=0, fanout=16)
"""A profile with which every directory is sharded."""


class Maker:
    """Makes directories with any contents and keeps their blocks."""

    def __init__(self) -> None:
        self.blocks = Blocks()

    def node(self, links: list[Link], message: Message) -> Cid:
        return self.block(dag_pb.encode(Node(tuple(links), unixfs.encode(message))))

    def block(self, block: bytes) -> Cid:
        cid = cid_of(block, DAG_PB)
        self.blocks[cid.multihash] = block
        return cid

    def directory(self, *entries: tuple[bytes | None, Cid]) -> Cid:
        return self.node([Link(cid, name, 1) for name, cid in entries], Message(Kind.DIRECTORY))

    def shard(self, *entries: tuple[bytes, Cid], fanout: int = 256) -> Cid:
        message = Message(Kind.HAMT_SHARD, data=b"", hash_type=0x22, fanout=fanout)
        return self.node([Link(cid, name, 1) for name, cid in entries], message)

    def file(self, size: int) -> Cid:
        leaf = cid_of(bytes(size), RAW)
        return self.node([Link(leaf, b"", size)], Message(Kind.FILE, filesize=size, blocksizes=(size,)))

    def symlink(self, target: bytes) -> Cid:
        return self.node([], Message(Kind.SYMLINK, data=target))

    def walk(self, root: Cid, *, recursive: bool = True) -> tuple[Entry, ...]:
        walk = DirectoryWalk(root, recursive=recursive)
        self.blocks.feed(walk)
        assert walk.entries is not None
        return walk.entries

    def find(self, root: Cid, path: str) -> Cid | None:
        lookup = PathLookup(root, [name.encode() for name in path.split("/") if name])
        self.blocks.feed(lookup)
        return lookup.target


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture(params=[UNIXFS_V1_2025, UNIXFS_V0_2015, SHARDED], ids=["v1", "v0", "sharded"])
def profile(request: pytest.FixtureRequest) -> Profile:
    found: Profile = request.param
    return found


FILES = [
    "README.md",
    "config.json",
    "onnx/model.onnx",
    "onnx/fp16/model.onnx",
    "onnx/fp16/.hidden",
    "ą/ę/źł.txt",
]


def test_files_are_found_below_a_directory(maker: Maker, profile: Profile) -> None:
    file = maker.file(1000)
    built = build_tree([(path, file if "model" in path else LEAF, 1) for path in FILES], profile)
    maker.blocks |= Blocks.of(built.nodes)
    assert maker.walk(built.root) == tuple(
        Entry(path, file, 1000) if "model" in path else Entry(path, LEAF, 1) for path in sorted(FILES)
    )
    for path in FILES:
        assert maker.find(built.root, path) == (file if "model" in path else LEAF)
    assert maker.find(built.root, "") == built.root
    assert [entry.path for entry in maker.walk(built.root, recursive=False)] == [
        *("README.md", "config.json", "onnx", "ą")
    ]


def test_blocks_are_taken_in_any_order_and_others_are_ignored(maker: Maker, profile: Profile) -> None:
    built = build_tree([(f"{number % 7}/{number}", LEAF, 1) for number in range(400)], profile)
    blocks = [block for _, block in built.nodes]
    random.Random(1).shuffle(blocks)
    walk = DirectoryWalk(built.root)
    assert walk.wanted == (built.root,)
    assert walk.entries is None
    taken = 0
    for _ in range(20):
        taken += sum(walk.add(block) for block in [b"", b"\n\x02\x08\x01x", *blocks])
    assert taken == len(blocks)
    entries = walk.entries
    assert entries is not None
    assert len(entries) == 400
    assert not walk.add(blocks[0])


@pytest.mark.parametrize("profile", [UNIXFS_V1_2025, SHARDED], ids=["plain", "sharded"])
def test_paths_that_do_not_exist(maker: Maker, profile: Profile) -> None:
    built = build_tree([("a/b", LEAF, 1), ("a/file", maker.file(10), 1)], profile)
    maker.blocks |= Blocks.of(built.nodes)
    for path, message in [
        ("x", "the directory has no entry 'x'"),
        ("A", "the directory has no entry 'A'"),
        ("a/c", "'a' has no entry 'c'"),
        ("a/b%20", "'a' has no entry 'b%20'"),
        ("a/b/c", "'a/b' is a file; nothing can be below it"),
        ("a/file/c", "'a/file' is a file; nothing can be below it"),
    ]:
        with pytest.raises(NotFoundError, match=message):
            maker.find(built.root, path)
    with pytest.raises(NotFoundError, match="the directory is a file"):
        PathLookup(LEAF, [b"x"])


@pytest.mark.parametrize(
    "name", [b"", b".", b"..", b"/", b"a/b", b"../foo", b"/etc", b"a\0", b"\0", b"n" * 256]
)
def test_names_that_are_not_one_part_of_a_path(maker: Maker, name: bytes) -> None:
    with pytest.raises(MalformedError, match=r"is not one part of a path|longer than 255 bytes"):
        check_name(name)
    with pytest.raises(MalformedError):
        PathLookup(LEAF, [b"a", name])
    with pytest.raises(MalformedError, match=r"^the directory: name "):
        maker.walk(maker.directory((b"good", LEAF), (name, LEAF)))
    if name:
        with pytest.raises(MalformedError, match=r"^the directory: name "):
            maker.walk(maker.shard((b"00good", LEAF), (b"01" + name, LEAF)))
    # A path that does not lead there is not affected.
    assert maker.find(maker.directory((name, LEAF), (b"good", OTHER)), "good") == OTHER


def test_names_are_bytes(maker: Maker) -> None:
    names = [
        "%2e%2e",
        "Portugal%2C+España=x",
        "foo? #<'",
        "...",
        "..a",
        "a\\b",
        " ",
        "\u202egpj",
        "\x1b[31m",
        "n" * 255,
    ]
    root = maker.directory(*((name.encode(), LEAF) for name in names))
    assert {entry.path for entry in maker.walk(root)} == set(names)
    for name in names:
        assert maker.find(root, name) == LEAF
    latin = maker.directory((b"caf\xe9", LEAF))
    with pytest.raises(MalformedError, match=r"name 'caf\\\\xe9' is not UTF-8"):
        maker.walk(latin)
    lookup = PathLookup(latin, [b"caf\xe9"])
    maker.blocks.feed(lookup)
    assert lookup.target == LEAF


def test_messages_show_names_escaped_and_short(maker: Maker) -> None:
    with pytest.raises(MalformedError) as error:
        maker.walk(maker.directory((b"\x1b[2J\n" + "\u202e".encode() + b"/" * 10_000, LEAF)))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 200
    assert "\\x1b[2J\\n\\u202e///" in str(error.value)


def test_the_first_of_two_entries_counts(maker: Maker) -> None:
    file = maker.file(5)
    root = maker.directory((b"a", LEAF), (b"a", OTHER), (b"b", file), (b"b", maker.directory((b"c", LEAF))))
    assert maker.walk(root) == (Entry("a", LEAF, 1), Entry("b", file, 5))
    assert maker.find(root, "a") == LEAF
    # There is no first one among shards, which arrive in any order.
    with pytest.raises(MalformedError, match="the directory: has two entries 'a'"):
        maker.walk(maker.shard((b"00a", LEAF), (b"01a", OTHER)))


def test_absent_names_and_sizes(maker: Maker) -> None:
    with pytest.raises(MalformedError, match="name '' is not one part"):
        maker.walk(maker.directory((None, LEAF)))
    root = maker.node([Link(LEAF, b"a", None)], Message(Kind.DIRECTORY))
    assert maker.walk(root) == (Entry("a", LEAF, None),)


def test_the_root_can_be_a_file(maker: Maker) -> None:
    file = maker.file(77)
    assert maker.walk(file) == (Entry("", file, 77),)
    assert maker.walk(LEAF) == (Entry("", LEAF, None),)
    assert maker.walk(Cid.parse("bafkqaaa")) == (Entry("", Cid.parse("bafkqaaa"), 0),)


def test_identity_blocks_are_read_from_their_cids(maker: Maker) -> None:
    """An empty directory, a directory in a directory in a directory, and a file in one."""

    def inline(block: bytes) -> Cid:
        return Cid(1, DAG_PB, IDENTITY, block)

    def holding(name: bytes, cid: Cid) -> bytes:
        return dag_pb.encode(Node((Link(cid, name, 1),), unixfs.encode(Message(Kind.DIRECTORY))))

    assert maker.walk(Cid.parse("bafyaabakaieac")) == ()
    file = Cid(1, RAW, IDENTITY, b"hello")
    root = inline(holding(b"a", inline(holding(b"b", inline(holding(b"c", file))))))
    assert maker.walk(root) == (Entry("a/b/c", file, 5),)
    assert maker.find(root, "a/b/c") == file
    wrapped = inline(bytes.fromhex("0a0808021202686918020a"[:-2]))
    assert maker.walk(maker.directory((b"f", wrapped))) == (Entry("f", wrapped, 2),)
    with pytest.raises(NotFoundError):
        maker.find(root, "a/x")


def test_symbolic_links_are_rejected(maker: Maker) -> None:
    root = maker.directory((b"bar", maker.symlink(b"/etc/passwd")), (b"foo", LEAF))
    with pytest.raises(MalformedError, match=r"^'bar': symbolic links are not supported"):
        maker.walk(root)
    with pytest.raises(MalformedError, match=r"^'bar': symbolic links are not supported"):
        maker.find(root, "bar/x")
    with pytest.raises(MalformedError, match="symbolic links"):
        maker.walk(maker.symlink(b"x"))
    assert maker.find(root, "foo") == LEAF


@pytest.mark.parametrize(
    "hexadecimal", ["", "0a00", "0a03010203", "0a050001020304", "120b0a09015500050001020304"]
)
def test_blocks_that_are_not_unixfs_are_rejected(maker: Maker, hexadecimal: str) -> None:
    cid = maker.block(bytes.fromhex(hexadecimal))
    with pytest.raises(MalformedError, match=r"^the directory: "):
        maker.walk(cid)
    with pytest.raises(MalformedError, match=r"^'a': "):
        maker.walk(maker.directory((b"a", cid)))
    with pytest.raises(MalformedError, match=r"^'a': "):
        maker.find(maker.directory((b"a", cid)), "a/b")


def test_entries_that_are_not_files_are_rejected_by_name(maker: Maker) -> None:
    """But only where they are needed: by a walk, not by a path that leads elsewhere."""
    cbor = Cid(1, 0x71, 0x12, bytes(32))
    sha2_512 = Cid(1, RAW, 0x13, bytes(64))
    root = maker.directory((b"document", cbor), (b"file", LEAF), (b"long", sha2_512))
    with pytest.raises(MalformedError, match=r"^'document': codec dag-cbor does not describe files"):
        maker.walk(root)
    with pytest.raises(MalformedError, match=r"^'long': hash sha2-512 is not supported"):
        maker.walk(maker.directory((b"long", sha2_512)))
    with pytest.raises(MalformedError, match="codec dag-cbor does not describe files"):
        maker.find(root, "document/x")
    assert maker.find(root, "file") == LEAF
    assert [entry.cid.refusal != "" for entry in maker.walk(root, recursive=False)] == [True, False, True]
    for refused in (cbor, sha2_512):
        with pytest.raises(MalformedError):
            DirectoryWalk(refused, recursive=False)
    assert PathLookup(cbor, []).target == cbor


def test_invalid_files_below_a_directory_are_rejected(maker: Maker) -> None:
    lying = maker.node([Link(LEAF, b"", 1)], Message(Kind.FILE, filesize=5, blocksizes=(1,)))
    with pytest.raises(MalformedError, match=r"^'a/b': UnixFS file: size 5"):
        maker.walk(maker.directory((b"a", maker.directory((b"b", lying)))))
    metadata = maker.node([], Message(Kind.METADATA))
    with pytest.raises(MalformedError, match=r"^'a': type METADATA of UnixFS is not a directory"):
        maker.walk(maker.directory((b"a", metadata)))


def test_shards_must_be_shards_of_one_directory(maker: Maker) -> None:
    for below in (maker.directory((b"a", LEAF)), maker.file(3), maker.shard((b"00a", LEAF), fanout=16)):
        root = maker.shard((b"00", below), (b"85", below))
        with pytest.raises(
            MalformedError, match=r"shard with fan-out (0|16) in a directory with 256|is a file"
        ):
            maker.walk(root)
        with pytest.raises(
            MalformedError, match=r"shard with fan-out (0|16) in a directory with 256|is a file"
        ):
            maker.find(root, "a")


def test_shards_are_not_deeper_than_the_hash(maker: Maker) -> None:
    root = maker.shard((b"85a", LEAF))
    for byte in reversed(bytes.fromhex("85555565f6597889")):  # the hash of "a"
        root = maker.shard((b"%02X" % byte, root))
    with pytest.raises(MalformedError, match="deeper than the hash of a name has bits"):
        maker.walk(root)
    with pytest.raises(MalformedError, match="deeper than the hash of a name has bits"):
        maker.find(root, "a")


def test_after_an_error_a_walk_never_looks_complete(maker: Maker) -> None:
    walk = DirectoryWalk(maker.directory((b"a", maker.symlink(b"x")), (b"b", LEAF)))
    with pytest.raises(MalformedError):
        maker.blocks.feed(walk)
    assert walk.entries is None


def test_large_blocks_are_not_parsed(maker: Maker) -> None:
    walk = DirectoryWalk(maker.block(bytes(2 * 1024 * 1024 + 1)))
    with pytest.raises(MalformedError, match="is longer than 2097152 bytes"):
        maker.blocks.feed(walk)


def test_limits_of_depth_and_path(maker: Maker) -> None:
    root = LEAF
    for depth in range(32):
        root = maker.directory((b"d", root))
        assert [entry.path.count("/") for entry in maker.walk(root)] == [depth]
    with pytest.raises(MalformedError, match="more than 32 levels deep"):
        maker.walk(maker.directory((b"d", root)))
    root = LEAF
    for _ in range(5):
        root = maker.directory((b"n" * 250, root))
    with pytest.raises(MalformedError, match="a path is longer than 1024 bytes"):
        maker.walk(root)


@pytest.mark.slow
def test_hostile_directories_stop_at_a_limit_in_short_time(maker: Maker) -> None:
    """Two to the power of 30 paths, one directory under thousands of names, and endless shards."""
    doubled = maker.directory((b"f", LEAF))
    for _ in range(30):
        doubled = maker.directory((b"a", doubled), (b"b", doubled))
    same = maker.directory(*[(b"same", LEAF)] * 5000)
    many = maker.directory(*((b"%d" % number, same) for number in range(5000)))
    shards = maker.shard()
    for _ in range(8):
        shards = maker.shard(*[(b"%02X" % slot, shards) for slot in range(256)])
    start = time.process_time()
    for root in (doubled, many, shards):
        with pytest.raises(MalformedError, match=f"more than {ENTRY_LIMIT} entries, or {SHARD_LIMIT} shards"):
            maker.walk(root)
    assert time.process_time() - start < 3


@pytest.mark.slow
def test_damaged_directories_raise_nothing_else(maker: Maker) -> None:
    chance = random.Random(5)
    built = build_directory([Link(LEAF, b"%d" % number, 1) for number in range(40)], SHARDED)
    plain = build_directory([Link(LEAF, b"%d" % number, 1) for number in range(4)], UNIXFS_V1_2025)
    good = [block for _, block in (*built.nodes, *plain.nodes)]
    for _ in range(1500):
        damaged = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        del damaged[chance.randrange(len(damaged)) :][: chance.choice((0, 0, 5))]
        cid = maker.block(bytes(damaged))
        for walk in (DirectoryWalk(cid), PathLookup(cid, [b"7"])):
            with suppress(MalformedError):
                walk.add(bytes(damaged))


SHARDED_FIXTURES = {
    "gateway-conformance/trustless_gateway_car/single-layer-hamt-with-multi-block-files.car": (
        *("bafybeidbclfqleg2uojchspzd4bob56dqetqjsj27gy2cq3klkkgxtpn4i", 1000, 237),
    ),
    "generated/v1-2025_dir-hamt.car": (
        "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu",
        4766,
        439,
    ),
    "generated/v0-2015_dir-hamt.car": ("QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP", 4033, 388),
}


def nodes_of(blocks: Blocks) -> Iterator[tuple[bytes, Node]]:
    """All shards among some blocks."""
    for multihash, block in blocks.items():
        with suppress(MalformedError):
            node = dag_pb.decode(block)
            if unixfs.message_of(node).kind is Kind.HAMT_SHARD:
                yield multihash, node


@pytest.mark.quick(1)
@needs_fixtures
@pytest.mark.parametrize("name", SHARDED_FIXTURES)
def test_every_name_of_a_sharded_directory_is_found(name: str) -> None:
    text, names, shards = SHARDED_FIXTURES[name]
    root = Cid.parse(text)
    blocks = Blocks.read(name)
    walk = DirectoryWalk(root, recursive=False)
    assert blocks.feed(walk) == shards
    assert walk.entries is not None
    assert len(walk.entries) == names
    shards_read = {key: read_shard(node, unixfs.message_of(node)) for key, node in nodes_of(blocks)}
    for entry in walk.entries:
        link: Link | None = Link(root, b"", None)
        level = 0
        while link and not link.name:
            link = shards_read[link.cid.multihash].find(entry.path.encode(), level)
            level += 1
        assert link
        assert link.cid == entry.cid
    for entry in walk.entries[::100]:
        lookup = PathLookup(root, [entry.path.encode()])
        assert blocks.feed(lookup) <= 4
        assert lookup.target == entry.cid


@needs_fixtures
def test_known_names_are_where_the_specification_says() -> None:
    name = "gateway-conformance/trustless_gateway_car/single-layer-hamt-with-multi-block-files.car"
    root = Cid.parse(SHARDED_FIXTURES[name][0])
    blocks = Blocks.read(name)
    lookup = PathLookup(root, [b"470.txt"])
    assert blocks.feed(lookup) == 2
    for absent in (b"0.txt", b"1001.txt", b"470.TXT"):
        with pytest.raises(NotFoundError):
            blocks.feed(PathLookup(root, [absent]))

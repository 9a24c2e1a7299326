"""Trees made to exhaust or to deceive: each is refused with a reason, in little time and memory.

Every block here has the CID that leads to it: hashing alone does not stop them.
"""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest

from modelfetch.ipfs import leaf_table_reader, protobuf, unixfs
from modelfetch.ipfs.car import BLOCK_LIMIT
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, SHA2_256, Cid
from modelfetch.ipfs.dag_pb import Link
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.leaf_table_reader import LeafTableReader
from modelfetch.ipfs.row_array import LeafKind
from modelfetch.ipfs.unixfs import Kind, Message
from tests.ipfs.dag import Dag, Part, chunk, feed, table_of

TIB = 1 << 40


def refused(part: Part, dag: Dag, size: int | None, reason: str, seconds: float = 2.0) -> None:
    """Check that a tree is refused with this reason, in little processor time."""
    start = time.process_time()
    with pytest.raises(MalformedError, match=reason):
        feed(LeafTableReader(part.cid, size), dag)
    assert time.process_time() - start < seconds


@pytest.mark.parametrize("size", [5_000, None])
def test_one_leaf_linked_many_times(size: int | None) -> None:
    dag = Dag()
    root = dag.inner(*[dag.raw(b"a")] * 5_000)
    refused(root, dag, size, "more than 4096 parts")


@pytest.mark.quick(1)
@pytest.mark.parametrize(("unit", "most"), [(1, 4096), (16_384, 8192)])
def test_the_number_of_parts_is_exact(unit: int, most: int) -> None:
    """At any level, and with bytes inside of a node as a part: 4096, or one for every 16 KiB."""
    dag = Dag()
    leaf, half = dag.raw(b"a")._replace(size=unit), dag.raw(b"b")._replace(size=max(1, unit // 2))
    node = dag.inner(*[leaf] * 2000, data=bytes(unit))
    root = dag.inner(node, *[leaf] * (most - 2001))
    assert len(table_of(root.cid, dag, most * unit).rows) == most
    root = dag.inner(node, *[leaf] * (most - 2002), half, half)
    refused(root, dag, root.size, f"more than {most} parts")


@pytest.mark.quick(1)
@pytest.mark.parametrize("leaf", ["raw", "wrapped", "inner", "inlined"])
def test_one_child_linked_a_million_times(leaf: str) -> None:
    """By two levels of a thousand links each: two small blocks."""
    dag = Dag()
    parts = {"raw": dag.raw(b"a"), "wrapped": dag.wrapped(b"a"), "inner": dag.inner(dag.raw(b"a"))}
    parts["inlined"] = dag.inlined(parts["raw"])
    root = dag.inner(*[dag.inner(*[parts[leaf]] * 1000)] * 1000)
    for size in (1_000_000, None):
        refused(root, dag, size, "more than 4096 parts|inner nodes have more")


@pytest.mark.parametrize("depth", [5, pytest.param(10, marks=pytest.mark.slow), 15])
def test_a_tree_that_grows_without_end(depth: int) -> None:
    """Each level links the one below so often that fifteen blocks make 2 to the 60 leaves."""
    dag = Dag()
    part = dag.raw(b"a")
    for _ in range(depth):
        part = dag.inner(*[part._replace(tsize=None)] * 16)
    for size in (part.size, None):
        refused(part, dag, size, "more than", seconds=20)


@pytest.mark.slow
def test_a_stated_size_does_not_allow_any_number_of_rows() -> None:
    """Without a size from elsewhere: a million links to a leaf that is said to have a mebibyte."""
    dag = Dag()
    leaf = dag.raw(b"a")._replace(size=1 << 19, tsize=1 << 19)
    root = dag.inner(*[dag.inner(*[leaf] * 2000)] * 1000)
    tracemalloc.start()
    refused(root, dag, None, "more than 1048576 parts|inner nodes have more", seconds=10)
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("size", [TIB + 1, None])
def test_a_file_that_is_too_large(size: int | None) -> None:
    dag = Dag()
    root = dag.inner(dag.raw(b"a")._replace(size=TIB + 1))
    refused(root, dag, size, f"file has {TIB + 1} bytes, more than {TIB}")


@pytest.mark.parametrize("identity", [False, True])
def test_a_chain_that_is_too_deep(identity: bool) -> None:
    dag = Dag()
    part = dag.raw(b"a")
    for _ in range(17):
        part = dag.inner(part)
    refused(part, dag, 1, "stands below 16 others")
    assert feed(LeafTableReader(dag.inner(*_nested(dag, 15)).cid, 1), dag) == 16


def _nested(dag: Dag, depth: int) -> list[Part]:
    part = dag.raw(b"a")
    for _ in range(depth):
        part = dag.inner(part)
    return [part]


@pytest.mark.slow
def test_only_some_bytes_that_came_with_nodes_are_kept() -> None:
    dag = Dag()
    large = dag.raw(b"a")._replace(size=1 << 20)
    part = dag.inner(*[dag.inner(dag.inlined(dag.raw(b"b")), large)] * 5000)
    feed(reader := LeafTableReader(part.cid, part.size), dag)
    assert reader.table is not None
    assert len(reader.table.rows) == 10_000
    assert len(reader.table.known) == 4096


@pytest.mark.quick(1)
@pytest.mark.parametrize("size", [TIB, None])
def test_a_node_full_of_bytes_at_many_places(size: int | None) -> None:
    """The rest of the file is stated and never sent, so that the tree may be as large as any."""
    dag = Dag()
    large = dag.inner(dag.raw(b"a"), data=b"b" * 2_000_000)._replace(tsize=None)
    # Parsed again at each place: it arrives before the node that repeats it.
    repeated = dag.inner(*[large] * 40)._replace(tsize=None)
    missing = Part(Cid(1, DAG_PB, SHA2_256, bytes(32)), TIB - large.size - repeated.size, None)
    root = dag.inner(large, repeated, missing)
    tracemalloc.start()
    if size is None:
        refused(root, dag, size, "inner nodes have more than 68157440 bytes")
    else:
        feed(LeafTableReader(root.cid, size), dag)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


@pytest.mark.slow
def test_nodes_inside_of_identifiers() -> None:
    dag = Dag()
    part = dag.inlined(dag.raw(b"a"))
    for _ in range(6):
        inner = dag.inner(part)
        if len(dag[inner.cid.multihash]) > 128:
            break
        part = dag.inlined(inner)
    assert feed(LeafTableReader(part.cid, 1), {}) == 0
    assert LeafTableReader(part.cid, 1).table is not None
    refused(dag.inner(*[part] * 5000), dag, 5000, "more than 4096 parts")


@pytest.mark.parametrize("size", [1, 99, 300, 2**39])
def test_block_sizes_that_lie_about_nodes(size: int) -> None:
    dag = Dag()
    part = dag.inner(dag.raw(chunk(1)))._replace(size=size)
    refused(dag.inner(part), dag, size, f"has 100 bytes of the file instead of {size}")


def test_a_node_with_one_size_at_one_place_and_another_at_another() -> None:
    dag = Dag()
    part = dag.inner(dag.raw(chunk(1)))
    refused(dag.inner(part, part._replace(size=101)), dag, 201, "100 bytes of the file instead of 101")
    later = dag.inner(dag.inner(part._replace(size=101)), part)
    refused(later, dag, 201, "100 bytes of the file instead of 101")


@pytest.mark.parametrize("kind", ["raw", "wrapped", "inner"])
def test_parts_of_zero_bytes(kind: str) -> None:
    dag = Dag()
    empty = {"raw": dag.raw(b""), "wrapped": dag.wrapped(b""), "inner": dag.inner()}[kind]
    refused(dag.inner(dag.raw(b"a"), empty), dag, 1, "part of zero bytes")


@pytest.mark.parametrize("size", [0, 99, 101])
def test_a_file_of_another_size_than_expected(size: int) -> None:
    dag = Dag()
    refused(dag.inner(dag.raw(chunk(1))), dag, size, f"has 100 bytes of the file instead of {size}")


def test_too_many_bytes_of_inner_nodes() -> None:
    dag = Dag()
    padding = protobuf.bytes_field(100, bytes(600_000))  # an unknown field, which readers skip
    link = Link(dag.raw(b"a").cid, b"", 1)
    message = unixfs.encode(Message(Kind.FILE, filesize=1, blocksizes=(1,)))
    parts = [dag.node(message + padding + bytes((0x78, index)), link)._replace(size=1) for index in range(3)]
    refused(dag.inner(*parts), dag, 3, "inner nodes have more than 1048576 bytes")


def test_a_large_node_under_many_others() -> None:
    """Each use counts: otherwise small nodes could have the large one decoded again and again."""
    dag = Dag()
    padding = protobuf.bytes_field(100, bytes(400_000))
    link = Link(dag.raw(b"a").cid, b"", 1)
    message = unixfs.encode(Message(Kind.FILE, filesize=1, blocksizes=(1,)))
    large = dag.node(message + padding, link)._replace(size=1)
    parts = [dag.inner(large, dag.raw(chunk(number))) for number in range(100)]
    refused(dag.inner(large, *parts), dag, 10_101, "inner nodes have more than 1048626 bytes")


@pytest.mark.parametrize("count", [1, 2])
def test_a_large_node_at_two_places(count: int) -> None:
    dag = Dag()
    padding = protobuf.bytes_field(100, bytes(600_000))
    link = Link(dag.raw(b"a").cid, b"", 1)
    message = unixfs.encode(Message(Kind.FILE, filesize=1, blocksizes=(1,)))
    root = dag.inner(*[dag.node(message + padding, link)._replace(size=1)] * count)
    if count == 2:
        refused(root, dag, 2, "inner nodes have more than 1048576 bytes")
    else:
        assert len(table_of(root.cid, dag, 1).rows) == 1


def test_leaves_that_must_be_opened_count_as_inner_nodes() -> None:
    dag = Dag()
    parts = [dag.wrapped(chunk(number, 200_000))._replace(tsize=None) for number in range(8)]
    refused(dag.inner(*parts), dag, 1_600_000, "inner nodes have more than 1056576 bytes")


def test_a_root_that_is_a_leaf_may_be_large_but_not_too_large() -> None:
    dag = Dag()
    data = bytes(BLOCK_LIMIT - sum(map(len, unixfs.leaf_envelope(BLOCK_LIMIT - 20))))
    assert len(dag[dag.wrapped(data).cid.multihash]) == BLOCK_LIMIT
    assert table_of(dag.wrapped(data).cid, dag, len(data)).size == len(data)
    refused(dag.wrapped(bytes(BLOCK_LIMIT)), dag, BLOCK_LIMIT, f"more than {BLOCK_LIMIT}")
    refused(dag.raw(bytes(BLOCK_LIMIT + 1)), dag, None, f"more than {BLOCK_LIMIT}")
    refused(dag.raw(bytes(BLOCK_LIMIT + 1)), dag, BLOCK_LIMIT + 1, "too large")
    assert LeafTableReader(dag.raw(bytes(BLOCK_LIMIT)).cid, BLOCK_LIMIT).table is not None


def test_a_leaf_that_is_too_large() -> None:
    dag = Dag()
    leaf = dag.raw(b"a")._replace(size=BLOCK_LIMIT + 1)
    refused(dag.inner(leaf), dag, BLOCK_LIMIT + 1, "part at 0 is one block of 2097153 bytes")


def test_a_wrapped_leaf_that_is_said_to_be_too_large_is_opened() -> None:
    dag = Dag()
    leaf = dag.wrapped(b"a")._replace(size=BLOCK_LIMIT, tsize=BLOCK_LIMIT + 14)
    refused(dag.inner(leaf), dag, BLOCK_LIMIT, f"has 1 bytes of the file instead of {BLOCK_LIMIT}")


def test_nodes_with_the_size_of_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them copies all rows when it is expanded."""
    monkeypatch.setattr(leaf_table_reader, "EXPANSION_LIMIT", 10 * 20)
    dag = Dag()
    nodes = [dag.inner(dag.raw(chunk(number)))._replace(tsize=114) for number in range(20)]
    reader = LeafTableReader(dag.inner(*nodes).cid, 2000)
    feed(reader, dag)
    table = reader.table
    assert table is not None
    for row in table.rows[:10]:
        assert reader.expand(row)
        feed(reader, dag)
    with pytest.raises(MalformedError, match="too many nodes have the size of a leaf"):
        reader.expand(table.rows[10])


DIGEST = bytes(32)


@pytest.mark.parametrize(
    ("cid", "reason"),
    [
        (Cid(1, 0x71, SHA2_256, DIGEST), "part at 0: codec dag-cbor does not describe files"),
        (Cid(1, 0x72, IDENTITY, b"a"), "codec libp2p-key"),
        (Cid(1, RAW, 0x13, bytes(64)), "part at 0: hash sha2-512 is not supported"),
        (Cid(1, DAG_PB, 0x1E, DIGEST), "hash blake3"),
        (Cid(1, RAW, IDENTITY, b""), "0 bytes of the file instead of 1"),
        (Cid(1, RAW, IDENTITY, b"ab"), "2 bytes of the file instead of 1"),
        (Cid(1, DAG_PB, IDENTITY, b""), "without data"),
        (Cid(1, DAG_PB, IDENTITY, b"\x0a\x02\x08\x01"), "type DIRECTORY"),
        (Cid(1, DAG_PB, IDENTITY, b"\x0a\x04\x08\x02\x18\x00"), "0 bytes of the file instead of 1"),
    ],
)
def test_parts_that_cannot_be(cid: Cid, reason: str) -> None:
    dag = Dag()
    refused(dag.inner(Part(cid, 1, 1)), dag, 1, reason)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"", "without data"),
        (b"\x0a\x00", "has no type"),
        (b"\x0a\x03\x01\x02\x03", "field number 0"),
        (b"\x0a\x05\x00\x01\x02\x03\x04", "field number 0"),
        (b"\x12\x0b\x0a\x09\x01\x55\x00\x05\x00\x01\x02\x03\x04", "without data"),
        (b"\x0a\x02\x08\x01", "type DIRECTORY, not a file"),
        (b"\x0a\x04\x08\x02\x18\x01", "size 1, but its parts have 0 bytes"),
        (b"\xff" * 20, "varint is too long"),
    ],
)
def test_roots_that_are_no_files(block: bytes, reason: str) -> None:
    dag = Dag()
    part = dag._part(block, DAG_PB, 0, 0)
    refused(part, dag, None, f"block {part.cid.text}: .*{reason}")


@pytest.mark.parametrize(
    "root", [Cid(1, 0x71, SHA2_256, DIGEST), Cid(1, RAW, 0x1E, DIGEST), Cid(1, DAG_PB, IDENTITY, b"?")]
)
def test_roots_that_are_not_supported(root: Cid) -> None:
    with pytest.raises(MalformedError):
        LeafTableReader(root)


def test_a_part_with_a_name() -> None:
    dag = Dag()
    refused(dag.inner(dag.raw(b"a")._replace(name=b"x")), dag, 1, "a part has a name")


@pytest.mark.slow
def test_a_block_full_of_links_takes_little_time() -> None:
    dag = Dag()
    root = dag.inner(*[Part(Cid(1, RAW, IDENTITY, b""), 1, None, None)] * 40_000)
    refused(root, dag, 40_000, "more than 4096 parts", seconds=5)


@pytest.mark.slow
def test_a_block_full_of_packed_sizes_takes_little_time() -> None:
    dag = Dag()
    data = protobuf.varint_field(1, 2) + protobuf.bytes_field(4, bytes(300_000))
    refused(dag.node(data), dag, None, "0 links, but", seconds=5)


def random_part(dag: Dag, chance: random.Random, depth: int) -> Part:
    """A node that may be wrong in any of many ways."""
    if depth == 0:
        part = chance.choice([dag.raw, dag.wrapped])(chunk(chance.randrange(5), chance.choice([0, 1, 5])))
    else:
        parts = [random_part(dag, chance, depth - 1) for _ in range(chance.randrange(4))]
        part = dag.inner(*parts, data=chance.choice([None, b"", b"ab"]))
    block = bytearray(dag[part.cid.multihash])
    if block and chance.random() < 0.2:
        block[chance.randrange(len(block))] = chance.randrange(256)
        part = dag._part(bytes(block), part.cid.codec, part.size, part.tsize or 0)
    if len(block) <= 128 and chance.random() < 0.2:
        part = dag.inlined(part)
    if chance.random() < 0.1:
        part = part._replace(size=chance.choice([0, 1, part.size + 1, 2**64 - 1]))
    if chance.random() < 0.1:
        part = part._replace(tsize=chance.choice([None, 0, part.size + 10, 2**64 - 1]))
    return part


@pytest.mark.slow
def test_random_trees_with_random_faults() -> None:
    """A table, or one error: and every row of a table is inside of the file."""
    tables = 0
    for seed in range(600):
        chance = random.Random(seed)
        dag = Dag()
        part = random_part(dag, chance, 3)
        try:
            reader = LeafTableReader(part.cid, chance.choice([None, part.size]))
            feed(reader, dag)
            rows = reader.table.rows if reader.table else ()
            for row in rows:
                if row.kind is LeafKind.WRAPPED:
                    reader.expand(row)
                    feed(reader, dag)
        except MalformedError:
            continue
        if reader.table is None:  # the damage was in a CID
            continue
        tables += 1
        position = 0
        for row in reader.table.rows:
            assert row.offset == position
            assert row.size > 0
            position += row.size
        assert position == reader.table.size
    assert tables > 60

"""Reading the table of every shape of tree, from blocks in any order; bounds are in test_hostile_trees."""

from __future__ import annotations

import random

import pytest

from modelfetch.ipfs.cid import DAG_PB, Cid, cid_of
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.leaf_table_reader import LeafTableReader, read_table
from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025, Profile
from modelfetch.ipfs.row_array import LeafKind, Row
from modelfetch.ipfs.unixfs import Kind, Time
from modelfetch.lazy_dataclass import replace
from tests.ipfs import generated
from tests.ipfs.dag import Dag, Part, chunk, feed, proves, table_of

DATA = chunk(1) + chunk(2) + chunk(3)
INLINE, RAW, WRAPPED = LeafKind.INLINE, LeafKind.RAW, LeafKind.WRAPPED


def kinds_of(rows: tuple[Row, ...]) -> set[LeafKind]:
    return {row.kind for row in rows}


@pytest.mark.parametrize("size", [20_000, None])
@pytest.mark.parametrize(
    ("fixture", "rows", "nodes", "kind"),
    [
        (generated.BALANCED_RAW, 79, 40, RAW),
        (generated.BALANCED_WRAPPED, 79, 40, WRAPPED),
        (generated.TRICKLE_RAW, 79, 20, RAW),
        (generated.TRICKLE_WRAPPED, 79, 20, WRAPPED),
        (generated.WITH_TIME, 20, 1, RAW),
    ],
)
def test_trees_of_another_implementation(
    fixture: tuple[str, str], rows: int, nodes: int, kind: LeafKind, size: int | None
) -> None:
    name, root = fixture
    reader = LeafTableReader(Cid.parse(root), size)
    assert feed(reader, generated.blocks_of(name)) == nodes  # and no leaf
    table = reader.table
    assert table is not None
    assert (table.root.text, table.size, len(table.rows)) == (root, 20_000, rows)
    assert kinds_of(table.rows[:]) == {kind}
    assert proves(table, generated.BYTES)


def test_one_leaf_at_all_its_places() -> None:
    name, root = generated.REPEATED
    blocks = generated.blocks_of(name)
    (leaf,) = [block for block in blocks.values() if len(block) == 256]
    table = table_of(Cid.parse(root), blocks)
    assert table.offsets_of(table.rows[0].digest) == tuple(range(0, 4096, 256))
    assert proves(table, leaf * 16)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("profile", [UNIXFS_V1_2025, UNIXFS_V0_2015])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9, 10, 27, 28, 100])
def test_trees_that_are_built_here(profile: Profile, count: int) -> None:
    data = b"".join(chunk(number) for number in range(count))[:-1]
    tree = FileTree(replace(profile, chunk_size=100, width=3))
    dag = Dag()
    for start in range(0, len(data), 100):
        tree.add_chunk(data[start : start + 100])
        dag.wrapped(data[start : start + 100])
        dag.raw(data[start : start + 100])
    dag.wrapped(b"")
    built = tree.finish()
    blocks = dag | {cid.multihash: block for cid, block in built.nodes}
    assert proves(table_of(built.root, blocks, len(data)), data)
    skeleton = {cid.multihash: block for cid, block in built.nodes}
    if count > 1 or profile is UNIXFS_V1_2025:
        table = read_table(built.root, len(data), lambda cid: skeleton.get(cid.multihash))
        assert table is not None
        assert proves(table, data)


def mixed(dag: Dag) -> Part:
    """Leaves of all kinds at different depths, with bytes inside of nodes."""
    one, two, three = (dag.raw(chunk(number)) for number in (1, 2, 3))
    deep = dag.inner(dag.inner(dag.inner(one), two), three)
    inside = dag.inner(dag.wrapped(chunk(4)), dag.wrapped(chunk(5), Kind.RAW), data=chunk(6))
    timed = dag.wrapped(chunk(7), mtime=Time(-5, 5), mode=0o644)
    small = dag.inlined(dag.raw(chunk(8, 20)))
    wrapped_small = dag.inlined(dag.wrapped(chunk(9, 20)))
    node = dag.inlined(dag.inner(dag.inlined(dag.raw(b"a")), dag.inlined(dag.wrapped(b"b")), data=b"c"))
    return dag.inner(deep, one, inside, timed, small, wrapped_small, node, deep, data=chunk(10))


MIXED = b"".join(
    [
        *(chunk(number) for number in (10, 1, 2, 3, 1, 6, 4, 5, 7)),
        *(chunk(8, 20), chunk(9, 20), b"cab"),
        *(chunk(number) for number in (1, 2, 3)),
    ]
)


def test_a_tree_may_have_leaves_of_all_kinds_at_different_depths() -> None:
    dag = Dag()
    root = mixed(dag)
    table = table_of(root.cid, dag, len(MIXED))
    assert proves(table, MIXED)
    assert kinds_of(table.rows[:]) == {RAW, WRAPPED, INLINE}
    inside = [row.offset for row in table.rows if row.kind is INLINE]
    assert sorted(table.known) == inside  # the leaf with a time has an envelope of 29 bytes


def test_blocks_arrive_in_any_order_and_others_are_ignored() -> None:
    dag = Dag()
    root = mixed(dag)
    for seed in range(20):
        chance = random.Random(seed)
        reader = LeafTableReader(root.cid)
        while reader.table is None:
            blocks = [*dag.values(), b"", b"no block", chance.randbytes(50)]
            chance.shuffle(blocks)
            for block in blocks:
                wanted = any(cid.matches(block) for cid in reader.wanted)
                assert reader.add(block) == wanted
        assert proves(reader.table, MIXED)
        assert {cid.multihash for cid, _ in reader.nodes} <= dag.keys()
        assert all(cid.matches(block) for cid, block in reader.nodes)
        skeleton = {cid.multihash: block for cid, block in reader.nodes}
        assert proves(table_of(root.cid, skeleton), MIXED)


def test_a_node_is_wanted_once_however_often_it_occurs() -> None:
    dag = Dag()
    one = dag.inner(dag.raw(chunk(1)), dag.raw(chunk(2)))
    two = dag.inner(one, one)
    root = dag.inner(two, one, dag.inner(dag.inner(one)), two)
    reader = LeafTableReader(root.cid)
    assert feed(reader, dag) == 5
    assert reader.table is not None
    assert proves(reader.table, (chunk(1) + chunk(2)) * 6)


def test_wanted_blocks_are_named_in_the_order_of_the_file() -> None:
    dag = Dag()
    parts = [dag.inner(dag.raw(chunk(number))) for number in range(5)]
    root = dag.inner(*parts)
    reader = LeafTableReader(root.cid)
    assert reader.wanted == (root.cid,)
    assert reader.table is None
    reader.add(dag[root.cid.multihash])
    assert reader.wanted == tuple(part.cid for part in parts)
    reader.add(dag[parts[2].cid.multihash])
    assert reader.wanted == tuple(part.cid for part in parts if part is not parts[2])
    assert not reader.add(dag[parts[2].cid.multihash])


def test_a_missing_block_leaves_no_table() -> None:
    dag = Dag()
    part = dag.inner(dag.raw(chunk(1)))
    root = dag.inner(part, dag.raw(chunk(2)))
    del dag[part.cid.multihash]
    assert read_table(root.cid, 200, lambda cid: dag.get(cid.multihash)) is None
    assert read_table(root.cid, 200, lambda _cid: b"another block") is None


ROOTS = [
    ("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", RAW),
    ("Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD", WRAPPED),
]
HELLO = b"hello world"
HELLO_BLOCK = bytes.fromhex("0a110802120b68656c6c6f20776f726c64180b")


@pytest.mark.parametrize(("root", "kind"), ROOTS)
def test_a_root_that_is_a_leaf_tells_its_size(root: str, kind: LeafKind) -> None:
    reader = LeafTableReader(Cid.parse(root))
    assert reader.wanted == (Cid.parse(root),)
    assert reader.add(HELLO if kind is RAW else HELLO_BLOCK)
    assert reader.table is not None
    assert proves(reader.table, HELLO)
    assert kinds_of(reader.table.rows[:]) == {kind}
    assert reader.table.known == {0: HELLO}


def test_a_raw_root_of_known_size_needs_no_block() -> None:
    reader = LeafTableReader(Cid.parse(ROOTS[0][0]), 11)
    assert reader.wanted == ()
    assert reader.table is not None
    assert proves(reader.table, HELLO)
    assert reader.table.known == {}


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.RAW])
def test_a_wrapped_root_may_have_a_time(kind: Kind) -> None:
    dag = Dag()
    table = table_of(dag.wrapped(HELLO, kind, mtime=Time(1)).cid, dag, 11)
    assert proves(table, HELLO)
    assert kinds_of(table.rows[:]) == {INLINE}
    assert table.known == {0: HELLO}


@pytest.mark.parametrize(
    ("root", "block"),
    [
        ("QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH", "0a0408021800"),
        ("bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y", "0a0408021800"),
        ("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", ""),
        ("bafkqaaa", ""),
    ],
)
@pytest.mark.parametrize("size", [0, None])
def test_an_empty_file_has_no_rows(root: str, block: str, size: int | None) -> None:
    reader = LeafTableReader(Cid.parse(root), size)
    for _ in reader.wanted:
        assert reader.add(bytes.fromhex(block))
    assert reader.table is not None
    assert (reader.table.size, len(reader.table.rows)) == (0, 0)
    assert list(reader.table.rows_in(0, 10)) == []


@pytest.mark.parametrize(
    ("root", "size"),
    [
        ("QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH", 1),
        ("bafkqaaa", 1),
        (ROOTS[0][0], 0),
        (ROOTS[1][0], 0),
        (ROOTS[1][0], 10),
        (ROOTS[1][0], 12),
    ],
)
def test_a_root_of_another_size_is_malformed(root: str, size: int) -> None:
    cid = Cid.parse(root)
    blocks = [b"", bytes.fromhex("0a0408021800"), HELLO_BLOCK]
    with pytest.raises(MalformedError, match=r"instead of|empty file"):
        feed(LeafTableReader(cid, size), {cid_of(block, DAG_PB).multihash: block for block in blocks})


def test_a_link_that_overstates_its_size_costs_one_block() -> None:
    dag = Dag()
    parts = [dag.wrapped(chunk(1)), dag.wrapped(chunk(2))._replace(tsize=500), dag.wrapped(chunk(3))]
    reader = LeafTableReader(dag.inner(*parts).cid, 300)
    assert feed(reader, dag) == 2
    assert reader.table is not None
    assert proves(reader.table, DATA)
    assert kinds_of(reader.table.rows[:]) == {WRAPPED}
    assert reader.table.known == {100: chunk(2)}


@pytest.mark.parametrize("tsize", [101, 110, 124])
def test_a_link_with_a_likely_size_is_not_opened(tsize: int) -> None:
    dag = Dag()
    root = dag.inner(dag.wrapped(chunk(1))._replace(tsize=tsize))
    reader = LeafTableReader(root.cid)
    assert feed(reader, dag) == 1
    assert reader.table is not None


@pytest.mark.parametrize("tsize", [None, 0, 99, 100, 125])
def test_a_link_without_a_likely_size_is_opened(tsize: int | None) -> None:
    dag = Dag()
    root = dag.inner(dag.wrapped(chunk(1))._replace(tsize=tsize))
    reader = LeafTableReader(root.cid)
    assert feed(reader, dag) == 2
    assert reader.table is not None
    assert proves(reader.table, chunk(1))


def understated(dag: Dag, part: Part) -> Part:
    return part._replace(tsize=part.size + 14)


def test_a_node_taken_for_a_leaf_is_opened_on_demand() -> None:
    dag = Dag()
    inner = dag.inner(dag.raw(chunk(1)), dag.wrapped(chunk(2)))
    false = understated(dag, inner)
    root = dag.inner(dag.raw(chunk(3)), false, dag.wrapped(chunk(4)), false)
    reader = LeafTableReader(root.cid)
    assert feed(reader, dag) == 1
    data = chunk(3) + chunk(1) + chunk(2) + chunk(4) + chunk(1) + chunk(2)
    table = reader.table
    assert table is not None
    assert [table.check(row, data[row.offset : row.offset + row.size]) for row in table.rows] == [
        *(True, False, True, False)
    ]
    assert reader.expand(table.rows[1])
    assert reader.table is None
    assert reader.wanted == (inner.cid,)
    assert feed(reader, dag) == 1
    assert reader.table is not None
    assert proves(reader.table, data)
    assert len(reader.table.rows) == 6


def test_a_row_that_is_a_leaf_is_not_opened_twice() -> None:
    dag = Dag()
    root = dag.inner(dag.wrapped(chunk(1)), dag.raw(chunk(2)))
    reader = LeafTableReader(root.cid)
    feed(reader, dag)
    assert reader.table is not None
    wrapped, raw = reader.table.rows
    assert not reader.expand(raw)
    assert reader.expand(wrapped)
    assert reader.wanted == (dag.wrapped(chunk(1)).cid,)
    assert feed(reader, dag) == 1
    assert reader.table is not None
    assert list(reader.table.rows) == [wrapped, raw]
    assert not reader.expand(wrapped)


def test_a_node_opened_in_one_place_and_taken_for_a_leaf_in_another() -> None:
    dag = Dag()
    inner = dag.inner(dag.raw(chunk(1)), dag.raw(chunk(2)))
    root = dag.inner(understated(dag, inner), inner)
    reader = LeafTableReader(root.cid)
    assert feed(reader, dag) == 2
    assert reader.table is not None
    assert reader.expand(reader.table.rows[0])
    assert reader.table is not None
    assert proves(reader.table, (chunk(1) + chunk(2)) * 2)


def test_a_chain_of_nodes_taken_for_leaves_ends_at_the_limit() -> None:
    dag = Dag()
    part = dag.raw(chunk(1))
    for _ in range(30):
        part = understated(dag, dag.inner(part))
    reader = LeafTableReader(part.cid)
    feed(reader, dag)
    with pytest.raises(MalformedError, match="below 16 others"):
        expand_all(reader, dag, chunk(1))


def expand_all(reader: LeafTableReader, dag: Dag, data: bytes) -> None:
    """Open the rows that do not fit, as a fetch does when no source is left."""
    while (table := reader.table) is not None:
        wrong = [row for row in table.rows if not table.check(row, data[row.offset : row.offset + row.size])]
        if not any(reader.expand(row) for row in wrong):
            return
        feed(reader, dag)


def random_tree(dag: Dag, chance: random.Random, depth: int) -> tuple[Part, bytes]:
    if depth == 0 or chance.random() < 0.3:
        data = chance.randbytes(chance.randrange(1, 60))
        part = chance.choice([dag.raw(data), dag.wrapped(data), dag.wrapped(data, Kind.RAW)])
        return (dag.inlined(part) if chance.random() < 0.2 else part), data
    made = [random_tree(dag, chance, depth - 1) for _ in range(chance.randrange(1, 5))]
    made += [made[0]] * chance.randrange(3)
    own = chance.choice([b"", b"", chance.randbytes(10)])
    return dag.inner(*(part for part, _ in made), data=own or None), own + b"".join(data for _, data in made)


@pytest.mark.slow
def test_random_trees() -> None:
    for seed in range(150):
        dag = Dag()
        part, data = random_tree(dag, random.Random(seed), 4)
        reader = LeafTableReader(part.cid, len(data))
        feed(reader, dag)
        expand_all(reader, dag, data)  # very small nodes can look like leaves
        assert reader.table is not None
        assert proves(reader.table, data)

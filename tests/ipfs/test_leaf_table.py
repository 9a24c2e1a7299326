"""The leaf table: rows by offset, by range and by digest, and what proves their bytes."""

from __future__ import annotations

from hashlib import sha256

import pytest

from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.row_array import LeafKind, Row
from modelfetch.ipfs.unixfs import Kind, Time
from tests.ipfs.dag import Dag, Part, chunk, table_of

SIZES = (100, 7, 300, 1, 92)
"""Of unequal leaves, as tools that cut by content make them: 500 bytes."""


def unequal() -> LeafTable:
    dag = Dag()
    root = dag.inner(*(dag.raw(chunk(index, size)) for index, size in enumerate(SIZES)))
    return table_of(root.cid, dag, 500)


def test_rows_have_the_sizes_of_the_leaves() -> None:
    table = unequal()
    assert [row.offset for row in table.rows] == [0, 100, 107, 407, 408]
    assert [row.size for row in table.rows] == list(SIZES)


def test_every_offset_of_the_file_has_a_row() -> None:
    table = unequal()
    for offset in range(500):
        row = table.row_at(offset)
        assert row.offset <= offset < row.offset + row.size


@pytest.mark.parametrize(
    ("inside", "rows"),
    [
        ((0, 500), (0, 500)),
        ((0, 499), (0, 408)),
        ((1, 500), (100, 500)),
        ((99, 408), (100, 408)),
        ((100, 107), (100, 107)),
        ((101, 107), (107, 107)),
        ((1, 99), (100, 100)),
        ((0, 0), (0, 0)),
        ((500, 500), (500, 500)),
    ],
)
def test_a_range_has_the_rows_that_are_entirely_in_it(inside: tuple[int, int], rows: tuple[int, int]) -> None:
    assert unequal().whole_rows(*inside) == rows


@pytest.mark.parametrize("offset", [-1, 500, 2**70])
def test_other_offsets_have_none(offset: int) -> None:
    with pytest.raises(ValueError, match="not in a file of 500 bytes"):
        unequal().row_at(offset)


def test_rows_of_every_range() -> None:
    table = unequal()
    edges = [0, 1, 99, 100, 101, 106, 107, 108, 406, 407, 408, 409, 499, 500, 501]
    for start in edges:
        for end in edges:
            expected = [row for row in table.rows if row.offset < end and start < row.offset + row.size]
            assert list(table.rows_in(start, end)) == (expected if start < end else [])


def test_a_repeated_leaf_is_found_at_all_its_offsets() -> None:
    dag = Dag()
    zeros, other = dag.raw(bytes(10)), dag.raw(chunk(1, 5))
    table = table_of(dag.inner(zeros, other, zeros, zeros, other).cid, dag)
    assert table.offsets_of(zeros.cid.digest) == (0, 15, 25)
    assert table.offsets_of(other.cid.digest) == (10, 35)
    assert table.offsets_of(bytes(32)) == ()


def test_each_kind_of_leaf_is_checked_by_its_bytes_alone() -> None:
    dag = Dag()
    data = chunk(1)
    parts = [
        dag.raw(data),
        dag.wrapped(data),
        dag.wrapped(data, Kind.RAW),
        dag.wrapped(data),
        dag.inlined(dag.raw(data)),
    ]
    table = table_of(dag.inner(*parts).cid, dag)
    kinds = [LeafKind.RAW, LeafKind.WRAPPED, LeafKind.WRAPPED, LeafKind.WRAPPED, LeafKind.INLINE]
    assert [row.kind for row in table.rows] == kinds
    for row in table.rows:
        assert table.check(row, data)
        assert table.check(row, memoryview(data))
        assert not table.check(row, chunk(2))
        assert not table.check(row, data[:-1])
        assert not table.check(row, data + b"a")
        assert not table.check(row, b"")


def test_the_bytes_of_a_leaf_are_taken_out_of_its_block() -> None:
    dag = Dag()
    data = chunk(1)
    parts = [dag.raw(data), dag.wrapped(data), dag.wrapped(data, Kind.RAW), dag.wrapped(data, mtime=Time(1))]
    table = table_of(dag.inner(*parts).cid, dag)
    for row, part in zip(table.rows, parts, strict=True):
        block = dag[part.cid.multihash]
        assert table.chunk_in(row, block) == data
        assert table.chunk_in(row, block + b"a") is None
        assert table.chunk_in(row, b"") is None


def lie(part: Part, size: int, tsize: int) -> Part:
    return part._replace(size=size, tsize=tsize)


@pytest.mark.parametrize(
    ("lying", "reason"),
    [
        (lambda dag: lie(dag.raw(chunk(1)), 99, 99), "leaf at 0 has 100 bytes instead of 99"),
        (lambda dag: lie(dag.raw(chunk(1)), 101, 101), "leaf at 0 has 100 bytes instead of 101"),
        (lambda dag: lie(dag.wrapped(chunk(1)), 99, 110), "leaf at 0 has 100 bytes instead of 99"),
        (lambda dag: lie(dag.inner(dag.raw(chunk(1))), 100, 110), "a node with links is not a leaf"),
        (lambda dag: lie(dag.node(b"\x08\x01"), 100, 110), "type DIRECTORY, not a file"),
        (lambda dag: lie(dag.node(b"?"), 100, 110), "truncated|ends inside|wire type|field"),
    ],
)
def test_a_block_that_is_no_leaf_of_its_size_is_malformed(lying: object, reason: str) -> None:
    dag = Dag()
    part: Part = lying(dag)  # type: ignore[operator]
    table = table_of(dag.inner(part).cid, dag)
    with pytest.raises(MalformedError, match=reason):
        table.chunk_in(table.rows[0], dag[part.cid.multihash])


def test_a_row_has_the_identifier_of_its_block() -> None:
    dag = Dag()
    parts = [dag.raw(chunk(1)), dag.wrapped(chunk(2)), dag.inlined(dag.raw(chunk(3)))]
    rows = table_of(dag.inner(*parts).cid, dag).rows
    assert [row.cid for row in rows] == [parts[0].cid, parts[1].cid, None]


def test_rows_are_tuples() -> None:
    row = unequal().row_at(407)
    assert row == (407, 1, sha256(chunk(3, 1)).digest(), 0)
    assert isinstance(row, Row)

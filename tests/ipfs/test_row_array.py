"""Rows in arrays behave like a sequence of tuples."""

from __future__ import annotations

import random

import pytest

from modelfetch.ipfs.row_array import LeafKind, Row, RowArray


def rows_of(count: int, seed: int = 13) -> tuple[list[Row], RowArray]:
    chance = random.Random(seed)
    rows, array, offset = [], RowArray(), 0
    for _ in range(count):
        size = chance.randrange(1, 1 << 40)
        digest = bytes(31) + bytes((chance.randrange(8),))
        row = Row(offset, size, digest, chance.choice(list(LeafKind)))
        rows.append(row)
        array.append(*row, depth=chance.randrange(64))
        offset += size
    return rows, array


def test_rows_are_read_as_they_were_added() -> None:
    rows, array = rows_of(50)
    assert list(array) == rows
    assert len(array) == 50
    assert [array[index] for index in range(-50, 50)] == rows + rows
    assert array[10:40:7] == tuple(rows[10:40:7])
    assert array[::-1] == tuple(reversed(rows))
    for index in (50, -51):
        with pytest.raises(IndexError):
            array[index]


def test_no_rows() -> None:
    array = RowArray()
    assert (list(array), len(array), array.sorted()[:]) == ([], 0, ())
    assert array.indices_of(bytes(32)) == []


def test_rows_are_sorted_by_offset_with_their_depths() -> None:
    rows, array = rows_of(50)
    depths = [array.depth(index) for index in range(50)]
    order = list(range(50))
    random.Random(1).shuffle(order)
    shuffled = array.selected(order)
    assert list(shuffled) == [rows[index] for index in order]
    for again in (shuffled.sorted(), array.sorted()):
        assert list(again) == rows
        assert [again.depth(index) for index in range(50)] == depths


def test_a_copy_does_not_change_with_the_original() -> None:
    rows, array = rows_of(5)
    copied = array.sorted()
    array.append(*rows[0], depth=0)
    assert list(copied) == rows


def test_every_offset_belongs_to_one_row() -> None:
    rows, array = rows_of(50)
    for index, row in enumerate(rows):
        assert array.index_at(row.offset) == array.index_at(row.offset + row.size - 1) == index


def test_rows_are_found_by_digest() -> None:
    rows, array = rows_of(50)
    for last in range(10):
        digest = bytes(31) + bytes((last,))
        assert array.indices_of(digest) == [index for index, row in enumerate(rows) if row.digest == digest]
    array.append(*rows[0], depth=0)
    assert array.indices_of(rows[0].digest)[-1] == 50

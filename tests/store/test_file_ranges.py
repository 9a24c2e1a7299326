"""Ranges of open files: what can be read, and what was never written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from modelfetch.store.file_ranges import holes, read_up_to

MIB = 1 << 20
SIZE = 5 * MIB


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "data").open("w+b") as file:
        yield file.fileno()


def test_a_read_ends_with_the_file(fd: int) -> None:
    os.write(fd, b"0123456789")
    assert read_up_to(fd, 2, 3) == b"234"
    assert read_up_to(fd, 8, 9) == b"89"
    assert read_up_to(fd, 10, 9) == b""


def test_a_descriptor_that_cannot_be_read_gives_nothing(tmp_path: Path) -> None:
    with (tmp_path / "data").open("wb") as file:
        assert read_up_to(file.fileno(), 0, 5) == b""


@pytest.mark.quick(every=3)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
@pytest.mark.parametrize(
    ("written", "length", "most", "expected"),
    [
        ([], 0, 9, [(0, 5)]),
        ([], 5, 9, [(0, 5)]),
        ([(0, 1)], 0, 9, [(1, 5)]),
        ([(0, 5)], 0, 9, []),
        ([(0, 6)], 0, 9, []),
        ([(1, 2)], 5, 9, [(0, 1), (2, 5)]),
        ([(4, 5)], 0, 9, [(0, 4)]),
        ([(1, 2), (3, 4)], 5, 9, [(0, 1), (2, 3), (4, 5)]),
        ([(1, 2), (3, 4)], 5, 3, [(0, 1), (2, 3), (4, 5)]),
        ([(1, 2), (3, 4)], 5, 2, [(0, 1), (2, 5)]),
        ([(1, 2), (3, 4)], 5, 1, [(0, 5)]),
    ],
)
def test_holes(
    fd: int, written: Sequence[tuple[int, int]], length: int, most: int, expected: Sequence[tuple[int, int]]
) -> None:
    os.ftruncate(fd, length * MIB)
    for start, end in written:
        os.pwrite(fd, b"x" * ((end - start) * MIB), start * MIB)
    assert holes(fd, 0, SIZE, most) == [(start * MIB, end * MIB) for start, end in expected]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 1, [(0, 1)]), (1, 2, []), (1, 3, [(2, 3)]), (3, 4, [(3, 4)]), (5, 9, [(5, 9)])],
)
def test_holes_of_a_part(fd: int, start: int, end: int, expected: Sequence[tuple[int, int]]) -> None:
    os.ftruncate(fd, 5 * MIB)
    os.pwrite(fd, b"x" * MIB, MIB)
    assert holes(fd, start * MIB, end * MIB, 9) == [(first * MIB, last * MIB) for first, last in expected]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_of_what_cannot_be_searched_nothing_is_there() -> None:
    reading, writing = os.pipe()
    try:
        assert holes(reading, 0, SIZE, 9) == [(0, SIZE)]
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.skipif(sys.platform != "win32", reason="Other systems tell")
def test_where_the_system_does_not_tell_nothing_is_there(fd: int) -> None:
    """Else peers would be told that all of a file can be requested, and wait for it in vain."""
    os.write(fd, b"x")
    assert holes(fd, 0, SIZE, 9) == [(0, SIZE)]

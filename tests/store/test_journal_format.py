"""Journals: torn, damaged and foreign lines are ignored."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.model.manifest import FileSpec
from modelfetch.store.journal_format import Checkpoint, header, is_foreign, line, parse
from tests.store.material import digest

FILE = FileSpec("weights.bin", 5_000_000, digest(b"whole"))
FIRST = Checkpoint(1_000_000, digest(b"1"), "mirror models.example.org")
SECOND = Checkpoint(2_000_000, digest(b"2"), 'odd "host" \\ with é and \x1b[31m')


def lengths(content: bytes) -> list[int]:
    return [checkpoint.length for checkpoint in parse(content, FILE).checkpoints]


def test_what_is_written_is_read_back() -> None:
    journal = parse(header(FILE) + line(FIRST) + line(SECOND), FILE)
    first, second = journal.checkpoints
    assert (first.length, first.digest, first.origin) == (1_000_000, FIRST.digest, FIRST.origin)
    assert second.origin == 'odd "host" \\ with é and [31m'
    assert journal.claimed == 2_000_000


def test_the_end_is_that_of_the_last_whole_line() -> None:
    content = header(FILE) + line(FIRST)
    assert parse(content, FILE).end == len(content)
    assert parse(content + line(SECOND)[:-1], FILE).end == len(content)
    assert parse(b"something else\n", FILE).end == 0


def test_lines_are_plain_text_of_one_line_each() -> None:
    assert line(SECOND).isascii()
    assert line(SECOND).count(b"\n") == 1


def test_a_line_cut_anywhere_is_not_believed() -> None:
    whole = header(FILE) + line(FIRST) + line(SECOND)
    for cut in range(len(header(FILE) + line(FIRST)), len(whole)):
        assert lengths(whole[:cut]) == [1_000_000]


def test_a_changed_byte_takes_only_its_own_line() -> None:
    start = len(header(FILE))
    whole = bytearray(header(FILE) + line(FIRST) + line(SECOND))
    for index in range(start, start + len(line(FIRST)) - 1):
        damaged = bytearray(whole)
        damaged[index] ^= 1
        assert lengths(bytes(damaged)) == [2_000_000], index


def test_an_origin_that_is_no_text_is_damage_even_with_the_right_checksum() -> None:
    facts = b'1000 %b "\\q"' % digest(b"1").encode()
    assert lengths(header(FILE) + b"%b %08x\n" % (facts, zlib.crc32(facts))) == []


def test_lines_that_shrink_or_go_beyond_the_file_do_not_count() -> None:
    beyond = Checkpoint(FILE.size + 1, digest(b"3"), "mirror a")
    assert lengths(header(FILE) + line(SECOND) + line(FIRST) + line(beyond)) == [2_000_000]


@pytest.mark.parametrize(
    "other",
    [
        FileSpec("weights.bin", FILE.size, digest(b"another")),
        FileSpec("weights.bin", FILE.size + 1, FILE.sha256),
    ],
)
def test_a_journal_of_another_file_says_nothing(other: FileSpec) -> None:
    content = header(other) + line(FIRST)
    assert lengths(content) == []
    assert not is_foreign(content)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"modelfetch-jour", b"\xff\xfe", header(FILE)[:-1]])
def test_a_damaged_header_is_ours_to_overwrite(content: bytes) -> None:
    assert lengths(content) == []
    assert not is_foreign(content)


@pytest.mark.parametrize(
    "content", [b"modelfetch-journal 2 x\n", b"modelfetch-journal 10", b"modelfetch-journal 2\n"]
)
def test_a_newer_format_is_foreign(content: bytes) -> None:
    assert is_foreign(content)
    assert lengths(content) == []


@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_at_all_break_the_reader(content: bytes, with_header: bool) -> None:
    found = lengths((header(FILE) if with_header else b"") + content)
    assert found == sorted(set(found))
    assert all(0 < length <= FILE.size for length in found)

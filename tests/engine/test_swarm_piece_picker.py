"""What a reader fetches next: whole units of its own part, then what nobody else has."""

from __future__ import annotations

from collections.abc import Sequence

from modelfetch.engine.swarm_piece_picker import HELP_SECONDS, choose, unit
from modelfetch.swarm.file_pieces import FilePieces
from modelfetch.swarm.rendezvous import ReaderPart

KIB = 1024
PIECE = 256 * KIB
SPAN = FilePieces(0, 64 * PIECE, PIECE)


def all_of(pieces: Sequence[int]) -> list[int]:
    return list(pieces)


def order(span: FilePieces, part: ReaderPart, waited: float = 0.0) -> list[tuple[int, int]]:
    """All that a reader fetches when nobody else brings anything."""
    free, found = [(0, span.size)], []
    while (chosen := choose(free, span, part, all_of, waited)) is not None:
        found.append(chosen)
        rest = [(low, min(high, chosen[0])) for low, high in free]
        rest += [(max(low, chosen[1]), high) for low, high in free]
        free = sorted((low, high) for low, high in rest if low < high)
    return found


def test_one_reader_reads_in_order_in_whole_units() -> None:
    found = order(SPAN, ReaderPart(0, 1))
    assert found == [(at, at + 4 * PIECE) for at in range(0, SPAN.size, 4 * PIECE)]


def test_units_grow_with_the_file_and_have_whole_pieces() -> None:
    assert unit(SPAN) * PIECE == 1 << 20
    assert unit(FilePieces(0, 10 << 30, 4 << 20)) * (4 << 20) == 16 << 20
    assert unit(FilePieces(0, 10 << 20, 8 << 20)) == 1


def test_two_readers_begin_with_different_halves_and_end_with_everything() -> None:
    for index in (0, 1):
        found = order(SPAN, ReaderPart(index, 2))
        half = range(index * SPAN.size // 2, (index + 1) * SPAN.size // 2)
        assert all(start in half for start, _ in found[:8])
        assert not any(start in half for start, _ in found[8:])
        assert sum(end - start for start, end in found) == SPAN.size


def test_a_reader_helps_from_the_end_of_the_other_part() -> None:
    assert order(SPAN, ReaderPart(0, 2))[8] == (60 * PIECE, 64 * PIECE)


def test_two_machines_with_the_same_part_begin_at_different_places() -> None:
    assert order(SPAN, ReaderPart(0, 2, 0.0))[0] != order(SPAN, ReaderPart(0, 2, 0.5))[0]
    assert sum(end - start for start, end in order(SPAN, ReaderPart(0, 2, 0.9))) == SPAN.size


def test_small_files_are_shared_among_the_readers_and_waited_for() -> None:
    firsts = [FilePieces(number, 1000, PIECE) for number in range(10)]
    for span in firsts:
        now = [bool(order(span, ReaderPart(index, 2))) for index in (0, 1)]
        assert sorted(now) == [False, True]
        assert order(span, ReaderPart(0, 2), HELP_SECONDS) == [(0, 1000)]
    assert len({bool(order(span, ReaderPart(0, 2))) for span in firsts}) == 2


def test_what_the_swarm_has_is_left_to_it() -> None:
    def needs(pieces: Sequence[int]) -> list[int]:
        return [piece for piece in pieces if piece in (5, 6, 9)]

    assert choose([(0, SPAN.size)], SPAN, ReaderPart(0, 1), needs, 0.0) == (5 * PIECE, 7 * PIECE)
    assert choose([(0, 5 * PIECE)], SPAN, ReaderPart(0, 1), needs, 0.0) is None


def test_a_choice_in_a_large_file_looks_at_few_pieces() -> None:
    """There are thousands of choices, each while other connections wait: together they must not take long."""
    span = FilePieces(0, 100 << 30, 4 << 20)
    looked: list[int] = []

    def needs(pieces: Sequence[int]) -> list[int]:
        looked.extend(pieces)
        return list(pieces)

    free = [(at, at + (64 << 20) - 1000) for at in range(0, span.size, 64 << 20)]
    assert choose(free, span, ReaderPart(1, 2, 0.25), needs, 0.0) == (
        span.size * 5 // 8,
        span.size * 5 // 8 + (16 << 20),
    )
    assert len(looked) < 100


def test_only_free_bytes_of_a_piece_are_fetched() -> None:
    free = [(100, 200), (PIECE // 2, PIECE + 10), (SPAN.size - 5, SPAN.size)]
    assert choose(free, SPAN, ReaderPart(0, 1), all_of, 0.0) == (100, 200)
    assert choose(free[1:], SPAN, ReaderPart(0, 1), all_of, 0.0) == (PIECE // 2, PIECE + 10)


def test_the_last_piece_ends_with_the_file() -> None:
    span = FilePieces(7, 3 * PIECE + 10, PIECE)
    assert span.pieces == range(7, 11)
    assert span.range_of(10) == (3 * PIECE, 3 * PIECE + 10)
    assert span.touched(3 * PIECE - 1, 3 * PIECE + 1) == range(9, 11)
    assert order(span, ReaderPart(0, 1))[-1][1] == span.size

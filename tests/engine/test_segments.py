"""Which connection fetches which bytes: each byte is in one segment at a time, and none is missed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.engine.segments import Segment, Segments, SplitPolicy, cut
from modelfetch.engine.speed_probe import SpeedProbe
from tests.engine.fakes import MIB, FakeClock
from tests.patience import IN_TIME

POLICY = SplitPolicy(connections=8, min_size=2 * MIB, min_part=1 * MIB, min_remainder=2 * MIB, max_waste=1.0)
"""Splits small files, and allows any number of wasted bytes."""


def whole(size: int, clock: FakeClock | None = None) -> Segments:
    return Segments([(0, size)], POLICY, clock or FakeClock())


def taken(segment: Segment | None) -> Segment:
    assert segment is not None
    return segment


@given(st.integers(0, 10**12), st.integers(1, 10**10), st.integers(1, 64))
def test_parts_follow_each_other_without_a_gap(start: int, size: int, parts: int) -> None:
    cuts = cut(start, start + size, parts)
    assert cuts[0][0] == start
    assert cuts[-1][1] == start + size
    assert all(left[1] == right[0] for left, right in pairwise(cuts))
    assert len(cuts) <= parts


def test_a_segment_of_an_earlier_split_has_no_next_one() -> None:
    segment = taken(whole(2 * MIB).claim())
    segments = Segments([(2 * MIB, 4 * MIB)], POLICY)
    assert segments.claim_next(segment, is_whole=False) is None
    assert taken(segments.claim()).position == 2 * MIB


def test_nothing_is_granted_to_a_segment_of_an_earlier_split() -> None:
    segment = taken(whole(2 * MIB).claim())
    segments = Segments([(0, 2 * MIB)], POLICY)
    assert segments.advance(segment, 10) == 0
    assert (segment.position, taken(segments.claim()).left) == (0, 2 * MIB)


def test_later_parts_are_a_little_longer() -> None:
    lengths = [end - start for start, end in cut(0, 320 * MIB, 16)]
    assert lengths == sorted(lengths)
    assert 1.15 < lengths[-1] / lengths[0] < 1.25


@pytest.mark.parametrize("parts", [2, 4, 8, 32, 64])
def test_the_hash_can_follow_the_parts_as_they_end(parts: int) -> None:
    """From the first end to the last there is time to hash the file, at the speeds in STAGGER."""
    size, speed, hashed = 1000 * MIB, 20e6, 1.6e9
    lengths = [end - start for start, end in cut(0, size, parts)]
    assert (lengths[-1] - lengths[0]) / speed == pytest.approx(size / hashed, rel=0.01)


def test_the_first_connection_claims_everything() -> None:
    segment = taken(whole(10 * MIB).claim())
    assert (segment.position, segment.end) == (0, 10 * MIB)


def test_splitting_cuts_a_claimed_segment_and_happens_once() -> None:
    segments = whole(40 * MIB)
    first = taken(segments.claim())
    segments.advance(first, MIB)
    segments.split(4)
    segments.split(4)
    others = [taken(segments.claim()) for _ in range(3)]
    edges = [(part.position, part.end) for part in (first, *others)]
    assert edges[0][0] == MIB
    assert edges[-1][1] == 40 * MIB
    assert all(left[1] == right[0] for left, right in pairwise(edges))


def test_a_free_file_is_split_at_no_cost() -> None:
    segments = Segments([(0, 40 * MIB)], replace(POLICY, max_waste=0.0))
    segments.split(4)
    parts = [taken(segments.claim()) for _ in range(4)]
    assert [parts[0].position, parts[-1].end] == [0, 40 * MIB]
    assert all(left.end == right.position for left, right in pairwise(parts))
    assert segments.claim() is None


def test_a_single_connection_claims_adjacent_parts_together() -> None:
    segments = Segments([(0, 40 * MIB), (50 * MIB, 60 * MIB)], POLICY)
    segments.split(4)
    first = taken(segments.claim())
    rest = taken(segments.claim(is_alone=True))
    assert (rest.position, rest.end) == (first.end, 40 * MIB)
    other = taken(segments.claim(is_alone=True))
    assert (other.position, other.end) == (50 * MIB, 60 * MIB)


def test_a_finished_segment_is_not_cut() -> None:
    """The first connection was done before parallel ones began."""
    segments = whole(40 * MIB)
    segments.advance(taken(segments.claim()), 40 * MIB)
    segments.split(4)
    assert segments.claim() is None


def test_a_range_too_short_for_so_many_parts_is_cut_into_fewer() -> None:
    segments = whole(2)
    segments.advance(taken(segments.claim()), 1)
    segments.split(8)
    assert segments.claim() is None


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4 * MIB)), max_size=60))
def test_bytes_sent_twice_stay_below_their_share(steps: list[tuple[int, int]]) -> None:
    """Each cut may waste what was requested and is not read, up to what can be in flight."""
    size, waste = 64 * MIB, 0.08
    segments, connections, asked = (
        Segments([(0, size)], replace(POLICY, max_waste=waste)),
        dict[int, Segment](),
        0,
    )
    for who, count in steps:
        if who not in connections and (segment := segments.claim()) is not None:
            connections[who], asked = segment, asked + segment.left
        if who in connections:
            segments.advance(connections[who], count)
            if not connections[who].left:
                segments.release(connections.pop(who))
    assert asked <= (1 + waste) * size


def test_an_answer_with_the_whole_file_reclaims_segments_not_begun() -> None:
    segments = Segments([(0, 40 * MIB)], POLICY)
    segments.split(3)
    first, second, third = (taken(segments.claim()) for _ in range(3))
    segments.advance(second, 1)
    segments.reclaim(first)
    assert (second.left > 0, third.left) == (True, 0)
    segments.advance(first, first.left)
    following = taken(segments.claim_next(first, is_whole=True))
    assert (following.position, following.end) == (third.position, 40 * MIB)


def test_a_finished_connection_claims_half_of_the_largest_segment() -> None:
    segments = whole(40 * MIB)
    first = taken(segments.claim())
    second = taken(segments.claim())
    assert (first.end, second.position, second.end) == (20 * MIB, 20 * MIB, 40 * MIB)
    segments.advance(first, 19 * MIB)
    third = taken(segments.claim())
    assert (second.end, third.position) == (30 * MIB, 30 * MIB)


def test_a_small_remainder_is_not_cut() -> None:
    segments = whole(3 * MIB)
    segments.advance(taken(segments.claim()), MIB + 1)
    assert segments.claim() is None


def test_bytes_given_to_another_connection_are_not_granted() -> None:
    segments = whole(10 * MIB)
    first = taken(segments.claim())
    segments.claim()
    assert segments.advance(first, 10 * MIB) == 5 * MIB
    assert segments.advance(first, MIB) == 0


def test_the_rest_of_a_released_segment_is_free_again() -> None:
    segments = whole(10 * MIB)
    first = taken(segments.claim())
    segments.advance(first, 3 * MIB)
    segments.release(first)
    again = taken(segments.claim())
    assert (again.position, again.end) == (3 * MIB, 10 * MIB)


def test_a_stalled_segment_is_taken_over_however_small() -> None:
    clock = FakeClock()
    segments = whole(MIB, clock)
    first = taken(segments.claim())
    segments.advance(first, 1000)
    assert segments.claim() is None
    clock.now += POLICY.stall_seconds
    second = taken(segments.claim())
    assert (second.position, second.end) == (1000, MIB)
    assert segments.advance(first, 5) == 0


def test_bytes_that_wait_for_the_rest_of_their_chunk_are_no_stall() -> None:
    clock = FakeClock()
    segments = whole(MIB, clock)
    first = taken(segments.claim())
    segments.advance(first, 1000)
    clock.now += POLICY.stall_seconds
    segments.note_arrival(first)
    assert segments.claim() is None


def to_100s(offset: int) -> int:
    return offset // 100 * 100


@pytest.mark.parametrize(("start", "end", "parts"), [(0, 1000, 4), (50, 1050, 3), (0, 150, 8), (20, 90, 2)])
def test_ranges_are_cut_at_the_starts_of_chunks(start: int, end: int, parts: int) -> None:
    cuts = cut(start, end, parts, to_100s)
    assert (cuts[0][0], cuts[-1][1]) == (start, end)
    assert all(left[1] == right[0] for left, right in pairwise(cuts))
    assert all(first % 100 == 0 for first, _ in cuts[1:])


def test_a_claimed_segment_is_cut_at_the_start_of_a_chunk() -> None:
    segments = Segments([(0, 10 * MIB)], POLICY, FakeClock(), align=lambda offset: offset // MIB * MIB)
    first = taken(segments.claim())
    segments.advance(first, 100)
    second = taken(segments.claim())
    assert second.position % MIB == 0
    assert first.end == second.position


def test_an_answer_that_goes_on_claims_the_free_range_behind_it() -> None:
    segments = whole(12 * MIB)
    first = taken(segments.claim())
    segments.split(3)
    segments.advance(first, first.left)
    following = taken(segments.claim_next(first, is_whole=False))
    assert following.position == first.end
    other = taken(segments.claim())
    segments.advance(following, following.left)
    assert segments.claim_next(following, is_whole=False) is None
    segments.advance(other, 1)
    segments.release(other)
    assert segments.claim_next(following, is_whole=False) is None, "a byte lies between"
    assert taken(segments.claim_next(following, is_whole=True)).position == other.position


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3 * MIB)), max_size=60))
def test_every_byte_is_granted_exactly_once(steps: list[tuple[int, int]]) -> None:
    size = 12 * MIB
    segments, connections = whole(size), dict[int, Segment]()
    written: list[tuple[int, int]] = []
    for who, count in steps:
        if who not in connections and (segment := segments.claim()) is not None:
            connections[who] = segment
        if who in connections:
            at = connections[who].position
            written.append((at, at + segments.advance(connections[who], count)))
            if count % 3 == 0:
                segments.release(connections.pop(who))
    for segment in connections.values():
        segments.release(segment)
    while (segment := segments.claim()) is not None:
        at = segment.position
        written.append((at, at + segments.advance(segment, segment.left)))
        segments.release(segment)
    filled = sorted(part for part in written if part[0] < part[1])
    assert filled[0][0] == 0
    assert filled[-1][1] == size
    assert all(left[1] == right[0] for left, right in pairwise(filled))


# The probe


def probe(clock: FakeClock, **rules: float) -> SpeedProbe:
    return SpeedProbe(
        SplitPolicy(max_delay=0.0, sample_seconds=rules.get("sample_seconds", 0.1)), clock=clock
    )


def test_a_fast_connection_is_enough() -> None:
    clock = FakeClock()
    found = probe(clock)
    found.ask()
    found.add(1)
    clock.now += 0.02
    found.add(4 * MIB)
    assert not found.wait()


def test_the_first_byte_may_take_longer_over_tls() -> None:
    found = SpeedProbe(SplitPolicy(max_delay=0.05))
    found.ask(over_tls=True)
    began = time.monotonic()
    assert found.wait()
    assert time.monotonic() - began >= 0.075


def test_a_slow_connection_needs_parallel_ones() -> None:
    clock = FakeClock()
    found = probe(clock)
    found.ask()
    found.add(1)
    clock.now += 0.08
    found.add(4 * MIB)
    assert found.wait()


def test_few_bytes_are_measured_by_time() -> None:
    clock = FakeClock()
    found = probe(clock)
    found.ask()
    found.add(1)
    clock.now += 0.1
    found.add(1)
    assert found.wait()


def test_a_late_first_byte_calls_for_parallel_connections() -> None:
    found = probe(FakeClock())
    found.ask()
    assert found.wait()


def test_the_wait_for_the_first_byte_begins_with_the_request() -> None:
    found = probe(FakeClock())
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(found.wait()))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    found.ask()
    waiting.join(IN_TIME)
    assert answers == [True]


def test_a_file_is_cut_by_its_size() -> None:
    assert POLICY.parts(100 * MIB) == 8
    assert POLICY.parts(2 * MIB + 1) == 2
    assert POLICY.parts(2 * MIB - 1) == 1


# With a swarm


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def bounds(segment: Segment | None) -> tuple[int, int]:
    found = taken(segment)
    return found.position, found.end


def test_a_chosen_part_is_claimed_and_nothing_is_cut_from_others(clock: FakeClock) -> None:
    chosen = [(100, 200), None, (40, 60)]
    segments = Segments([(0, 300)], SplitPolicy(), clock, choose=lambda _: chosen.pop(0))
    assert bounds(segments.claim(is_alone=True)) == (100, 200)
    assert segments.claim() is None
    assert bounds(segments.claim()) == (40, 60)


def test_free_ranges_that_touch_are_offered_as_one(clock: FakeClock) -> None:
    seen: list[list[tuple[int, int]]] = []

    def choose(free: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
        seen.append(list(free))
        return (0, 50) if len(seen) == 1 else None

    segments = Segments([(0, 300)], SplitPolicy(), clock, choose=choose)
    first = segments.claim()
    assert first is not None
    segments.release(first)
    segments.claim()
    assert seen == [[(0, 300)], [(0, 300)]]


def test_a_piece_gets_what_is_free_and_not_what_a_connection_fetches(clock: FakeClock) -> None:
    segments = Segments([(0, 1000)], SplitPolicy(), clock, choose=lambda _: (400, 600))
    fetching = segments.claim()
    assert fetching is not None
    assert [bounds(found) for found in segments.claim_within(300, 700)] == [(300, 400), (600, 700)]
    assert segments.claim_within(300, 700) == []


def test_a_piece_gets_what_a_stalled_connection_fetches(clock: FakeClock) -> None:
    segments = Segments([(0, 1000)], SplitPolicy(stall_seconds=3), clock, choose=lambda _: (400, 600))
    fetching = segments.claim()
    assert fetching is not None
    assert segments.advance(fetching, 50) == 50
    clock.now += 4
    assert [bounds(found) for found in segments.claim_within(300, 700)] == [
        (300, 400),
        (450, 600),
        (600, 700),
    ]
    assert segments.advance(fetching, 10) == 0
    segments.release(fetching)


def test_without_the_swarm_the_rest_is_claimed_as_usual(clock: FakeClock) -> None:
    segments = Segments([(0, 1000)], SplitPolicy(), clock, choose=lambda _: None)
    assert segments.claim() is None
    segments.choose_freely()
    assert bounds(segments.claim()) == (0, 1000)

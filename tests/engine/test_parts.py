"""Which source supplied which bytes: the list in events, and what a run remembers of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.engine.events import Event, FileCommitted, FileQuarantined, FileStarted, Part, Progress
from modelfetch.engine.parts import (
    MAX_PARTS,
    PAUSE_FACTOR,
    FileParts,
    label_of,
    limited,
    parts_of,
    unless_implied,
)
from modelfetch.engine.state import RunState
from modelfetch.model.manifest import FileSpec

SIZE = 10_000
LABELS = ("mirror a.example", "peer lab-2:8765", "swarm swarm")
RUNS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60), st.sampled_from(LABELS)), max_size=200)


def laid_out(runs: list[tuple[int, int, str]]) -> list[Part]:
    """Parts in order: each run is a gap, a length and a source."""
    parts: list[Part] = []
    position = 0
    for gap, length, label in runs:
        start = position + gap
        position = start + length
        if position <= SIZE:
            parts.append((start, position, label))
    return parts


@pytest.mark.slow
@given(RUNS)
def test_any_file_has_few_parts_in_order_with_all_its_bytes(runs: list[tuple[int, int, str]]) -> None:
    parts = laid_out(runs)
    short = limited(parts, SIZE)
    assert len(short) <= MAX_PARTS
    assert sum(end - start for start, end, _ in short) == sum(end - start for start, end, _ in parts)
    assert all(before[1] <= after[0] for before, after in pairwise(short))
    assert all(0 <= start < end <= SIZE for start, end, _ in short)
    assert {label for *_, label in short} <= {label for *_, label in parts}
    if len(parts) <= MAX_PARTS:
        assert list(short) == parts


def test_each_cell_of_a_fragmented_file_has_the_source_of_most_of_its_bytes() -> None:
    """One hundred bytes of one source, nine hundred of another, again and again."""
    thousands = range(0, 1_000_000, 1000)
    parts = [
        part for at in thousands for part in ((at, at + 100, LABELS[0]), (at + 100, at + 1000, LABELS[1]))
    ]
    assert limited(parts, 1_000_000) == ((0, 1_000_000, LABELS[1]),)


def test_a_file_with_fewer_bytes_than_cells_is_no_problem() -> None:
    assert limited([(0, 1, "a"), (1, 3, "b")], 3) == ((0, 1, "a"), (1, 3, "b"))
    assert limited([], 0) == ()


def test_what_the_source_of_the_event_says_needs_no_list() -> None:
    label = label_of("mirror", "a.example")
    assert unless_implied(((0, 10, label),), label) == ()
    assert unless_implied(((5, 10, label),), label) == ((5, 10, label),)  # a gap before it
    assert unless_implied(((0, 10, "peer b"),), label) == ((0, 10, "peer b"),)
    assert parts_of((), 10, label) == ((0, 10, label),)
    assert parts_of((), 10, "") == parts_of((), 0, label) == ()


class Ranges:
    """A partial that counts how often it is asked."""

    file = FileSpec("f", SIZE, "0" * 64)

    def __init__(self) -> None:
        self.asked = 0

    @property
    def parts(self) -> list[Part]:
        self.asked += 1
        return [(0, 10, LABELS[0]), (10, 10 + self.asked, LABELS[1])]


def test_a_list_that_takes_long_is_made_less_often() -> None:
    ranges, now = Ranges(), [0.0]

    def clock() -> float:
        now[0] += 0.01  # the time that one look takes
        return now[0]

    shares = FileParts(ranges, clock)  # type: ignore[arg-type]
    first = shares.now(LABELS[0])
    assert [shares.now(LABELS[0]) for _ in range(20)] == [first] * 20
    assert ranges.asked == 1
    now[0] += PAUSE_FACTOR * 0.01
    assert shares.now(LABELS[0]) != first


# What a run remembers

STARTED = FileStarted("m", "f", 1000, 0)
MIXED = ((0, 300, LABELS[1]), (300, 700, LABELS[0]))


def parts_after(*events: Event) -> tuple[Part, ...]:
    state = RunState()
    for n, event in enumerate(events):
        state.apply(event, float(n))
    return state.files["m", "f"].parts


def test_progress_without_a_list_is_all_of_its_own_source() -> None:
    first = Progress("m", "f", "mirror", "a.example", 1, 400, 1000)
    assert parts_after(STARTED) == ()
    assert parts_after(STARTED, first) == ((0, 400, "mirror a.example"),)
    mixed = Progress("m", "f", "mirror", "a.example", 1, 700, 1000, MIXED)
    assert parts_after(STARTED, first, mixed) == MIXED


def test_a_wait_says_nothing_about_the_parts() -> None:
    mixed = Progress("m", "f", "mirror", "a.example", 1, 700, 1000, MIXED)
    waits = Progress("m", "f", "ipfs", "b.example", 0, 700, 1000)
    assert parts_after(STARTED, mixed, waits) == MIXED


def test_bytes_in_quarantine_are_no_parts() -> None:
    mixed = Progress("m", "f", "mirror", "a.example", 1, 1000, 1000, MIXED)
    gone = FileQuarantined("m", "f", "/q", "0" * 64, "1" * 64, "mirror a.example")
    assert parts_after(STARTED, mixed, gone) == ()
    assert parts_after(STARTED, mixed, STARTED) == ()


def test_the_end_of_a_file_has_the_last_word() -> None:
    mixed = Progress("m", "f", "mirror", "a.example", 1, 700, 1000, MIXED)
    alone = FileCommitted("m", "f", "/f", 1000, "0" * 64, "url", "c.example", 1000, 1.0)
    assert parts_after(STARTED, mixed, alone) == ((0, 1000, "url c.example"),)
    both = ((0, 500, LABELS[1]), (500, 1000, "url c.example"))
    shared = FileCommitted("m", "f", "/f", 1000, "0" * 64, "url", "c.example", 500, 1.0, parts=both)
    assert parts_after(STARTED, mixed, shared) == both

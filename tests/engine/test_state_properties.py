"""The state of random runs: what must hold for all events, whatever progress is dropped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.engine.events import (
    Event,
    FileKept,
    FileVerified,
    LockWaiting,
    Planned,
    PlannedFile,
    Progress,
    RetryScheduled,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.state import FileState, RunState, Totals
from tests.scripted import MODEL, Timed, committed, progress, started

SIZES = st.integers(0, 10**12)


@st.composite
def lives(draw: st.DrawFn, path: str) -> tuple[PlannedFile, list[Event]]:
    """Draw one file: its plan, and what happens to it, from first to last event."""
    size = draw(SIZES)
    held = draw(st.integers(0, size))
    fate = draw(st.sampled_from(["kept", "waited", "committed", "failed"]))
    if fate == "kept":
        return PlannedFile(path, size, "0" * 64, "kept", size, ()), [FileKept(MODEL, path, size)]
    events: list[Event] = [LockWaiting(MODEL, path, "process 1", 0.0)] if fate == "waited" else []
    events += [started(path, size, held), *draw(st.lists(steps(path, size), max_size=6))]
    if fate == "failed":
        events.append(
            SourceFailed(MODEL, path, "url", "h", "hash", "wrong", "", draw(st.integers(0, size)), "", "")
        )
    else:
        events += [FileVerified(MODEL, path, size, "0" * 64), committed(path, size)]
    return PlannedFile(path, size, "0" * 64, "partial" if held else "missing", held, ("url h",)), events


@st.composite
def steps(draw: st.DrawFn, path: str, size: int) -> Event:
    """Draw something that happens in the middle of a file; positions jump back and forth."""
    received = draw(st.integers(0, size))
    source = draw(st.sampled_from(["mirror", "url"]))
    choices: list[Event] = [
        progress(path, received, size, source),
        RetryScheduled(MODEL, path, source, "h", 2, "busy", "503", 1.0),
        SourceFailed(MODEL, path, source, "h", "cut", "cut", "", received, "ipfs", "i"),
        started(path, size, received),
    ]
    return draw(st.sampled_from(choices))


@st.composite
def runs(draw: st.DrawFn) -> list[Timed]:
    """Draw a run of a few files whose events are mixed at random, at random times."""
    files = [draw(lives(f"file-{n}")) for n in range(draw(st.integers(1, 4)))]
    plans = tuple(plan for plan, _ in files)
    size = sum(plan.size for plan in plans)
    plan = Planned(MODEL, "1", "", "MIT", "", "", "/x", size, size - sum(p.held for p in plans), plans)
    queues = [list(events) for _, events in files]
    mixed: list[Event] = [RunStarted("ensure", (MODEL,)), plan]
    while any(queues):
        queue = draw(st.sampled_from([queue for queue in queues if queue]))
        mixed.append(queue.pop(0))
    gaps = draw(st.lists(st.floats(0, 100), min_size=len(mixed), max_size=len(mixed)))
    return list(zip(accumulated(gaps), mixed, strict=True))


def accumulated(gaps: list[float]) -> Iterator[float]:
    at = 0.0
    for gap in gaps:
        at += gap
        yield at


def states(run: list[Timed]) -> Iterator[RunState]:
    state = RunState()
    for at, event in run:
        state.apply(event, at)
        yield state


def last(run: list[Timed]) -> RunState:
    return list(states(run))[-1]


def counted(totals: Totals) -> tuple[int, int, float, int, int]:
    return totals.received, totals.size, totals.percent, totals.files, totals.files_done


@pytest.mark.slow
@given(runs(), st.data())
def test_dropping_any_progress_changes_no_final_total(run: list[Timed], data: st.DataObject) -> None:
    kept = [
        timed for timed in run if not isinstance(timed[1], Progress) or data.draw(st.booleans(), label="keep")
    ]
    assert counted(last(run).totals) == counted(last(kept).totals)
    assert last(run).results("cancelled") == last(kept).results("cancelled")


@pytest.mark.slow
@given(runs())
def test_totals_are_the_sums_of_the_files_at_every_moment(run: list[Timed]) -> None:
    for state in states(run):
        files = list(state.files.values())
        assert state.totals.received == sum(file.received for file in files)
        assert state.totals.size == sum(file.size for file in files)
        assert state.totals.files_done == sum(file.phase == "done" for file in files)
        assert state.phases.total() == len(files)
        assert list(state.active.values()) == [state.files[key] for key in state.active]
        assert set(state.active) == {key for key, file in state.files.items() if file.is_active}


@pytest.mark.slow
@given(runs())
def test_figures_stay_in_their_range_at_every_moment(run: list[Timed]) -> None:
    for state in states(run):
        everything: list[Totals | FileState] = [state.totals, *state.files.values()]
        for figures in everything:
            assert 0 <= figures.received <= figures.size
            assert 0 <= figures.percent <= 100
            assert figures.speed is None or figures.speed >= 0
            assert figures.eta is None or figures.eta >= 0


@pytest.mark.slow
@given(runs())
def test_100_percent_means_that_every_file_is_done(run: list[Timed]) -> None:
    for state in states(run):
        is_done = bool(state.files) and all(file.phase == "done" for file in state.files.values())
        assert (state.totals.percent == 100) == is_done

"""Those who wait for a model's lock read how far its holder is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.engine.events import Event, FileCommitted, LockWaiting, Planned, PlannedFile, Progress
from modelfetch.engine.locking import LockNotes, acquire
from modelfetch.engine.runtime import Runtime
from modelfetch.store import Lock, Store
from tests.engine.fakes import FakeClock, FakeTime, Laboratory, body, model

FILES = (
    PlannedFile("big.bin", 900, "a" * 64, "partial", 100, ("mirror a.example",)),
    PlannedFile("config.json", 100, "b" * 64, "kept", 100, ()),
)
PLAN = Planned("m", "1", "", "MIT", "", "", "/cache/models/m/1", 1000, 800, FILES)


def at(received: int) -> Progress:
    return Progress("m", "big.bin", "mirror", "a.example", 1, received, 900)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Lock]:
    with Store(tmp_path, fsync=False).lock_model("m") as lock:
        assert lock.try_acquire()
        yield lock


def other(tmp_path: Path) -> Lock:
    return Store(tmp_path, fsync=False).lock_model("m")


def test_what_is_there_counts_from_the_plan_on(tmp_path: Path, held: Lock) -> None:
    notes = LockNotes(FakeClock())
    notes.add("m", held)
    notes.apply(PLAN)
    assert other(tmp_path).progress() == (200, 1000)


def test_a_note_is_written_once_a_second_at_most(tmp_path: Path, held: Lock) -> None:
    clock = FakeClock()
    notes = LockNotes(clock)
    notes.add("m", held)
    seen = []
    events: list[Event] = [PLAN, *(at(100 + 10 * step) for step in range(1, 31))]
    for number, event in enumerate(events):
        clock.now = 1000.0 + number * 0.1
        notes.apply(event)
        seen.append(other(tmp_path).progress()[0])
    assert sorted(set(seen)) == [200, 300, 400, 500]


def test_a_committed_file_counts_whole(tmp_path: Path, held: Lock) -> None:
    clock = FakeClock()
    notes = LockNotes(clock)
    notes.add("m", held)
    notes.apply(PLAN)
    clock.now += 1
    notes.apply(FileCommitted("m", "big.bin", "/x", 900, "a" * 64, "mirror", "a.example", 800, 1.0))
    assert other(tmp_path).progress() == (1000, 1000)


def test_models_whose_lock_is_not_ours_are_left_alone(tmp_path: Path, held: Lock) -> None:
    notes = LockNotes(FakeClock())
    notes.apply(PLAN)
    assert other(tmp_path).progress() == (0, 0)
    assert held.effective


def test_the_engine_writes_it_while_it_holds_the_lock(lab: Laboratory) -> None:
    content = body(300_000)
    lab.serve(content)
    seen = set()
    for _ in lab.follow(model("m", {"f.bin": content})):
        seen.add(lab.store.lock_model("m").progress()[1])
    assert seen == {0, 300_000}
    assert lab.store.lock_model("m").progress() == (0, 0)


def test_a_waiter_hears_of_every_step_and_of_silence_less_often(tmp_path: Path, held: Lock) -> None:
    passing = FakeTime()
    runtime = Runtime(Store(tmp_path, fsync=False), (), passing, clock=passing.clock)
    told: list[LockWaiting] = []
    for wait in acquire(other(tmp_path), runtime, "m"):
        told.append(wait)
        if len(told) < 4:
            held.note(len(told) * 100, 1000)
        if len(told) == 6:
            held.release()
    assert [wait.received for wait in told] == [0, 100, 200, 300, 300, 300]
    assert {wait.size for wait in told[1:]} == {1000}
    assert [wait.waited for wait in told] == pytest.approx([0, 1, 2, 3, 8, 13], abs=0.6)

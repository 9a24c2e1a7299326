"""Waiting for another process: told, bounded, cancellable."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelfetch.cancel import Cancelled
from modelfetch.engine.ensure import ensure
from modelfetch.engine.events import LockWaiting
from modelfetch.engine.locking import POLL_SECONDS, REPORT_SECONDS, acquire
from modelfetch.engine.options import Request
from modelfetch.engine.runtime import Runtime
from modelfetch.errors import DeadlineError, LockTimeoutError
from modelfetch.store import Lock, Store
from tests.engine.fakes import FakeTime, Laboratory, body, code, kinds, last, model, of, steady

HOLDER = """
import sys
from pathlib import Path
from modelfetch.store import Store
lock = Store(Path(sys.argv[1])).lock_model(sys.argv[2])
assert lock.try_acquire()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(root: Path, name: str) -> Iterator[int]:
    """Have another process hold the lock of a model; gives its number."""
    command = [sys.executable, "-c", HOLDER, str(root), name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process.pid
        finally:
            process.kill()


def waiting_runtime(
    root: Path, passing: FakeTime, *, lock_timeout: float | None = None, timeout: float | None = None
) -> Runtime:
    return Runtime(
        Store(root, fsync=False),
        (),
        passing,
        lock_timeout=lock_timeout,
        timeout=timeout,
        clock=passing.clock,
    )


@pytest.fixture
def taken(tmp_path: Path) -> Lock:
    """The lock of model m, held through a handle of its own."""
    lock = Store(tmp_path, fsync=False).lock_model("m")
    assert lock.try_acquire()
    return lock


def test_a_free_lock_is_taken_without_a_word(tmp_path: Path) -> None:
    lock = Store(tmp_path).lock_model("m")
    assert list(acquire(lock, waiting_runtime(tmp_path, FakeTime()), "m")) == []
    assert not Store(tmp_path).lock_model("m").try_acquire()
    lock.release()


def test_the_wait_is_reported_at_once_and_names_the_holder(tmp_path: Path, taken: Lock) -> None:
    lock = Store(tmp_path).lock_model("m")
    waits = acquire(lock, waiting_runtime(tmp_path, FakeTime()), "m", "weights.bin")
    told = next(waits)
    assert (told.model, told.file, told.waited) == ("m", "weights.bin", 0.0)
    assert f"process {os.getpid()} on " in told.holder
    taken.release()
    assert list(waits) == []
    assert not taken.try_acquire()
    lock.release()


def test_a_long_wait_is_reported_after_two_seconds_and_then_every_five(tmp_path: Path, taken: Lock) -> None:
    passing = FakeTime()
    runtime = waiting_runtime(tmp_path, passing, lock_timeout=17.0)
    told: list[float] = []
    with pytest.raises(LockTimeoutError):
        told.extend(wait.waited for wait in acquire(Store(tmp_path).lock_model("m"), runtime, "m"))
    assert told == pytest.approx([0, 2, 7, 12], abs=0.5)
    assert {round(seconds, 6) for seconds in passing.sleeps} == {POLL_SECONDS}
    assert taken.effective


def test_a_holder_who_gets_on_is_reported_every_second(tmp_path: Path, taken: Lock) -> None:
    passing = FakeTime()
    waits = acquire(Store(tmp_path).lock_model("m"), waiting_runtime(tmp_path, passing), "m")
    told = []
    for step in range(4):
        taken.note(step * 100, 1000)
        wait = next(waits)
        told.append((wait.waited, wait.received, wait.size))
    assert told == [
        (0.0, 0, 1000),
        (pytest.approx(1.0, abs=0.11), 100, 1000),
        (pytest.approx(2.0, abs=0.21), 200, 1000),
        (pytest.approx(3.0, abs=0.31), 300, 1000),
    ]


def test_patience_ends_when_it_was_said_to(tmp_path: Path, taken: Lock) -> None:
    passing = FakeTime()
    runtime = waiting_runtime(tmp_path, passing, lock_timeout=3.0)
    with pytest.raises(
        LockTimeoutError, match=rf"m: f\.bin is held by process {os.getpid()} .*gave up after 3\.0 s"
    ):
        list(acquire(Store(tmp_path).lock_model("m"), runtime, "m", "f.bin"))
    assert passing.clock.now - 1000.0 == pytest.approx(3.0, abs=POLL_SECONDS + 0.01)
    assert taken.effective


def test_no_patience_at_all_is_one_try(tmp_path: Path, taken: Lock) -> None:
    passing = FakeTime()
    runtime = waiting_runtime(tmp_path, passing, lock_timeout=0.0)
    with pytest.raises(LockTimeoutError):
        list(acquire(Store(tmp_path).lock_model("m"), runtime, "m"))
    assert passing.sleeps == []
    taken.release()
    assert list(acquire(taken, runtime, "m")) == []
    taken.release()


def test_the_time_limit_of_the_run_holds_here_too(tmp_path: Path, taken: Lock) -> None:
    passing = FakeTime()
    runtime = waiting_runtime(tmp_path, passing, timeout=2.0)
    with pytest.raises(DeadlineError, match=r"^m, held by process \d+ on .*: the time limit of 2 s"):
        list(acquire(Store(tmp_path).lock_model("m"), runtime, "m"))
    assert passing.clock.now == pytest.approx(1002.0, abs=POLL_SECONDS + 0.01)
    assert taken.effective


def test_cancelling_ends_the_wait(tmp_path: Path, taken: Lock) -> None:
    passing = FakeTime()
    waits = acquire(Store(tmp_path).lock_model("m"), waiting_runtime(tmp_path, passing), "m")
    next(waits)
    passing.cancel()
    with pytest.raises(Cancelled):
        next(waits)
    assert taken.effective


def test_the_pauses_between_words_are_short_enough_for_a_follower() -> None:
    assert POLL_SECONDS <= 0.5
    assert REPORT_SECONDS <= 5.0


@pytest.mark.slow
def test_another_process_is_named_and_the_run_ends_with_8(lab: Laboratory) -> None:
    content = body(1000)
    offer = lab.serve(content)
    wanted = model("m", {"f.bin": content})
    with held_elsewhere(lab.root, "m") as pid:
        events = lab.ensure(wanted, runtime=lab.runtime(lock_timeout=0.2))
    (told,) = of(events, LockWaiting)
    assert steady(told) == LockWaiting("m", "", told.holder, 0.0)
    assert f"process {pid} on " in told.holder
    finished = last(events)
    assert finished.exit_code == 8
    assert finished.error is not None
    assert finished.error.code == "lock_timeout"
    assert f"process {pid} " in finished.error.message
    assert [(result.status, result.reason) for result in finished.files] == [("cancelled", "lock_timeout")]
    assert offer.asked == []


def test_the_lock_of_a_killed_process_is_free_at_once(lab: Laboratory) -> None:
    content = body(1000)
    lab.serve(content)
    with held_elsewhere(lab.root, "m"):
        pass
    assert code(lab.ensure(model("m", {"f.bin": content}), runtime=lab.runtime(lock_timeout=0))) == 0


def test_one_held_file_fails_alone(lab: Laboratory) -> None:
    held, free = body(1000, 1), body(1000, 2)
    lab.serve(held)
    lab.serve(free)
    lock = lab.store.lock_blob(model("m", {"held.bin": held}).files[0].sha256)
    assert lock.try_acquire()
    wanted = model("m", {"held.bin": held, "free.bin": free})
    events = lab.ensure(wanted, runtime=lab.runtime(lock_timeout=0.05))
    lock.release()
    assert code(events) == 8
    assert [told.file for told in of(events, LockWaiting)] == ["held.bin"]
    results = {result.file: (result.status, result.reason) for result in last(events).files}
    assert results == {"held.bin": ("failed", "lock_timeout"), "free.bin": ("completed", "")}


def test_who_waited_finds_the_work_done(lab: Laboratory) -> None:
    content = body(300_000)
    offer = lab.serve(content)
    wanted = model("m", {"f.bin": content})
    first = lab.store.lock_model("m")
    assert first.try_acquire()
    events = ensure(lab.runtime(), Request([wanted]))
    assert kinds([next(events), next(events)]) == ["run_started", "lock_waiting"]
    first.release()
    lab.install(wanted, contents=[content])
    assert kinds(events) == ["planned", "file_kept", "model_ready", "run_finished"]
    assert offer.asked == []

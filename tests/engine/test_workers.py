"""Many tasks, one ordered stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.engine.events import Event, FileKept
from modelfetch.engine.workers import LEAVE_SECONDS, More, Task, merge
from tests.engine.fakes import Gate, all_workers_end, workers
from tests.patience import HELD, IN_TIME
from tests.server.running import until


def told(name: str) -> FileKept:
    return FileKept("m", name, 1)


def task(name: str, count: int = 2) -> Task[str]:
    for n in range(count):
        yield told(f"{name}{n}")
    return name


def failing(error: BaseException) -> Task[str]:
    yield told("before")
    raise error


def told_by(items: Iterable[Event | None]) -> Iterator[Event]:
    """The items without those that tell of silence, which is long on a busy machine."""
    return (item for item in items if item is not None)


def run(tasks: Sequence[Task[str]], threads: int = 4) -> list[Event]:
    return list(told_by(merge(tasks, threads, Cancellation())))


def test_nothing_to_do_ends_at_once() -> None:
    assert run([]) == []


def test_one_thread_runs_tasks_one_after_the_other_in_their_order() -> None:
    assert run([task("a"), task("b"), task("c", 0)], threads=1) == [
        told("a0"),
        told("a1"),
        told("b0"),
        told("b1"),
    ]


def test_the_items_of_every_task_come_in_their_order() -> None:
    happened = run([task(str(n), 20) for n in range(10)], threads=3)
    for n in range(10):
        own = [item for item in happened if isinstance(item, FileKept) and item.file.startswith(str(n))]
        assert own == [told(f"{n}{step}") for step in range(20)]
    assert len(happened) == 200


def test_tasks_run_at_the_same_time_but_no_more_than_allowed() -> None:
    lock, running, most, all_in = threading.Lock(), 0, 0, threading.Barrier(3, timeout=IN_TIME)

    def counting() -> Task[str]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        yield told("")
        all_in.wait()
        with lock:
            running -= 1
        return ""

    run([counting() for _ in range(9)], threads=3)
    assert most == 3


def test_an_error_is_raised_after_the_items_before_it_and_ends_the_others() -> None:
    cancel = Cancellation()
    gate = Gate(cancel)

    def waiting() -> Task[str]:
        gate()
        yield told("never")
        return ""

    happened = merge([waiting(), failing(ValueError("on purpose")), task("not begun")], 2, cancel, idle=60)
    assert next(happened) == told("before")
    with pytest.raises(ValueError, match="on purpose"):
        list(happened)
    assert cancel.cancelled
    assert all_workers_end()


def test_even_an_exit_is_raised_instead_of_waiting_for_the_worker_forever() -> None:
    with pytest.raises(SystemExit):
        run([failing(SystemExit(3))])


def test_without_threads_tasks_run_in_the_calling_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelfetch.engine.workers.start", lambda _work, _name: None)
    assert run([task("a"), task("b", 1)]) == [told("a0"), told("a1"), told("b0")]
    with pytest.raises(ValueError, match="on purpose"):
        run([failing(ValueError("on purpose"))])


def test_silence_is_told() -> None:
    cancel = Cancellation()
    gate = Gate(cancel)

    def waiting() -> Task[str]:
        gate()
        yield told("late")
        return ""

    happened = merge([waiting()], 1, cancel, idle=0.01)
    assert next(happened) is None
    assert next(happened) is None
    gate.opened.set()
    assert list(told_by(happened)) == [told("late")]


class SlowToCancel(Cancellation):
    """Cancels, and then takes until those who were cancelled have ended."""

    def cancel(self) -> None:
        super().cancel()
        assert all_workers_end()


@pytest.mark.parametrize("kind", [Cancellation, SlowToCancel])
def test_closing_cancels_what_runs_and_what_waits(kind: type[Cancellation]) -> None:
    cancel, ended = kind(), list[int]()
    gates = [Gate(cancel) for _ in range(5)]

    def stuck(n: int) -> Task[str]:
        try:
            yield told(str(n))
            gates[n]()
        except Cancelled:
            ended.append(n)
            raise
        return ""

    happened = merge([stuck(n) for n in range(5)], 2, cancel)
    next(happened)
    assert gates[0].reached.wait(IN_TIME)
    assert gates[1].reached.wait(IN_TIME)
    happened.close()
    assert cancel.cancelled
    assert sorted(ended) == [0, 1]
    assert all_workers_end()


@pytest.mark.slow
def test_closing_leaves_a_worker_behind_that_cannot_be_woken() -> None:
    free = threading.Event()

    def deaf() -> Task[str]:
        yield told("")
        free.wait(HELD)
        return ""

    happened = merge([deaf()], 1, Cancellation())
    next(told_by(happened))
    began = time.monotonic()
    happened.close()
    assert LEAVE_SECONDS <= time.monotonic() - began < IN_TIME
    until(lambda: [worker.daemon for worker in workers()] == [True])
    free.set()
    assert all_workers_end()


@pytest.mark.slow
def test_a_run_cancelled_by_somebody_else_does_not_wait_for_the_deaf() -> None:
    free, cancel = threading.Event(), Cancellation()

    def deaf() -> Task[str]:
        yield told("")
        free.wait(HELD)
        return ""

    happened = merge([deaf()], 1, cancel, idle=0.01)
    assert next(told_by(happened)) == told("")
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(happened)
    free.set()
    assert all_workers_end()


def test_a_run_that_ended_is_not_cancelled() -> None:
    cancel = Cancellation()
    list(merge([task("a")], 1, cancel))
    assert not cancel.cancelled
    assert all_workers_end()


def test_closing_nested_work_ends_its_own_workers_only() -> None:
    cancel = Cancellation()
    nested = cancel.child()
    outer_gate, inner_gate = Gate(cancel), Gate(nested)

    def waiting(gate: Gate) -> Task[str]:
        yield told("")
        gate()
        yield told("opened")
        return ""

    outer = merge([waiting(outer_gate)], 1, cancel)
    next(told_by(outer))
    inner = merge([waiting(inner_gate)], 1, nested)
    next(told_by(inner))
    inner.close()
    assert nested.cancelled
    assert not cancel.cancelled
    until(lambda: len(workers()) == 1)
    outer_gate.opened.set()
    assert list(told_by(outer)) == [told("opened")]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_task_may_add_tasks(threads: int) -> None:
    def adding() -> Task[str]:
        yield told("first")
        yield More([task("second"), task("third")])  # type: ignore[misc]  # taken out by merge()
        return ""

    assert {*told_by(merge([adding()], threads, Cancellation()))} == {
        told("first"),
        *(told(f"{name}{n}") for name in ("second", "third") for n in (0, 1)),
    }
    assert all_workers_end()


def test_an_exception_in_the_follower_cancels_too() -> None:
    cancel = Cancellation()
    gate = Gate(cancel)

    def waiting() -> Task[str]:
        yield told("")
        gate()
        return ""

    happened = merge([waiting()], 1, cancel)
    next(told_by(happened))
    with pytest.raises(KeyboardInterrupt):
        happened.throw(KeyboardInterrupt())
    assert cancel.cancelled
    assert all_workers_end()

"""A generator in a thread of its own: waits that end, and a producer that is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.net.background import AHEAD, Background
from modelfetch.net.time_limits import Limits, StallTimer
from tests.patience import IN_TIME


def timer(seconds: float = 30.0) -> StallTimer:
    return StallTimer(Limits(stall_timeout=seconds))


def started(produce: Iterator[int], cancel: Cancellation | None = None) -> Background[int]:
    return Background(lambda: produce, cancel or Cancellation(), "test")


def test_items_come_in_order_and_end() -> None:
    work = started(iter(range(20)))
    found = []
    while (item := work.next(timer())) is not None:
        found.append(item)
    assert found == [*range(20)]


def test_an_exception_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    work = started(failing())
    assert work.next(timer()) == 1
    with pytest.raises(ZeroDivisionError):
        work.next(timer())


def test_a_silent_producer_runs_into_the_limit() -> None:
    release = threading.Event()
    work = started(int(release.wait(IN_TIME)) for _ in range(1))
    with pytest.raises(TimeoutError):
        work.next(timer(0.05))
    release.set()


def test_cancelling_ends_a_wait() -> None:
    release, cancel = threading.Event(), Cancellation()
    work = started((int(release.wait(IN_TIME)) for _ in range(1)), cancel)
    threading.Timer(0.05, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        work.next(timer())
    assert time.monotonic() - began < IN_TIME
    release.set()


def test_a_producer_is_only_a_few_items_ahead_and_ends_when_it_is_left() -> None:
    made = list[int]()
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                made.append(len(made))
                yield len(made)
        finally:
            ended.set()

    work = started(endless())
    assert work.next(timer()) == 1
    time.sleep(0.2)
    assert len(made) <= AHEAD + 3
    work.close(IN_TIME)
    assert ended.wait(IN_TIME)


def test_a_waiting_caller_is_called_back() -> None:
    release = threading.Event()
    calls = list[int]()

    def late() -> Iterator[int]:
        release.wait(IN_TIME)
        yield 1

    def tick() -> None:
        calls.append(1)
        if len(calls) == 3:
            release.set()

    assert started(late()).next(timer(), tick) == 1
    assert len(calls) >= 3

"""Limits on speed: bytes per second of all connections together, and progress events of each file."""

from __future__ import annotations

import threading
import time

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.engine.rate_limit import BURST_SECONDS, PROGRESS_SECONDS, Allowance, RateLimit, Ticker
from tests.engine.fakes import FakeClock, FakeTime
from tests.patience import IN_TIME


def test_without_a_limit_nothing_waits() -> None:
    passing = FakeTime()
    RateLimit(None, passing, passing.clock).take(10**12)
    assert passing.sleeps == []


def test_the_rate_holds_over_time() -> None:
    passing = FakeTime()
    limit = RateLimit(1000, passing, passing.clock)
    for _ in range(100):
        limit.take(100)
    took = passing.clock.now - 1000.0
    assert took == pytest.approx(10.0, abs=BURST_SECONDS + 0.001)


def test_bytes_that_came_slower_by_themselves_do_not_wait() -> None:
    passing = FakeTime()
    limit = RateLimit(1000, passing, passing.clock)
    for _ in range(20):
        passing.clock.now += 0.2
        limit.take(100)
    assert sum(passing.sleeps) == 0


def test_a_long_pause_is_not_caught_up_with() -> None:
    passing = FakeTime()
    limit = RateLimit(1000, passing, passing.clock)
    limit.take(1000)
    passing.clock.now += 3600.0
    began = passing.clock.now
    for _ in range(20):
        limit.take(100)
    assert passing.clock.now - began >= 2.0 - BURST_SECONDS - 0.001


def test_a_piece_larger_than_a_second_takes_its_time() -> None:
    passing = FakeTime()
    limit = RateLimit(1000, passing, passing.clock)
    limit.take(5000)
    assert sum(passing.sleeps) == pytest.approx(5.0, abs=BURST_SECONDS + 0.001)


def test_a_large_piece_is_yielded_in_parts() -> None:
    passing, piece = FakeTime(), bytes(range(250)) * 20
    limit, parts, pauses = RateLimit(1000, passing, passing.clock), [], []
    last = passing.clock.now
    for part in limit.throttle(memoryview(piece)):
        pauses.append(passing.clock.now - last)
        last = passing.clock.now
        parts.append(bytes(part))
    assert b"".join(parts) == piece
    assert max(pauses) <= BURST_SECONDS + 0.001
    assert list(RateLimit(None, passing, passing.clock).throttle(piece)) == [piece]


def test_runs_at_the_same_time_are_together_no_faster_than_one() -> None:
    """Also if one of them has another rate: the time is shared."""
    passing, allowance = FakeTime(), Allowance()
    fast, slow = (RateLimit(rate, passing, passing.clock, allowance) for rate in (1000, 500))
    began = passing.clock.now
    for _ in range(10):
        fast.take(500)  # half a second
        slow.take(250)  # and another one
    assert passing.clock.now - began >= 10.0 - BURST_SECONDS - 0.001


@pytest.mark.slow
def test_all_threads_share_one_allowance() -> None:
    limit = RateLimit(1_000_000, Cancellation())
    threads = [threading.Thread(target=take, args=(limit, 20, 10_000)) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.8 - BURST_SECONDS - 0.05 <= time.monotonic() - began < IN_TIME


def take(limit: RateLimit, times: int, count: int) -> None:
    for _ in range(times):
        limit.take(count)


def test_cancelling_ends_the_wait() -> None:
    cancel = Cancellation()
    limit = RateLimit(1, cancel)
    threading.Timer(0.05, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        limit.take(10_000)
    assert time.monotonic() - began < IN_TIME


def test_progress_is_due_at_once_and_then_ten_times_a_second() -> None:
    clock = FakeClock()
    ticker = Ticker(clock)
    due = []
    for step in range(100):
        clock.now = 1000.0 + step / 100
        due += [ticker.due()]
    assert due[0]
    assert 9 <= sum(due) <= 1 / PROGRESS_SECONDS

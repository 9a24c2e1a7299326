"""A sign of life from files that have nothing new to tell."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from modelfetch.engine.events import Event, FileVerified, Progress
from modelfetch.engine.heartbeat import FIRST_SECONDS, SILENCE_SECONDS, with_heartbeat
from modelfetch.engine.workers import Done
from tests.engine.fakes import FakeClock

Item = Event | Done[str] | None


def progress(file: str, received: int = 1) -> Progress:
    return Progress("m", file, "mirror", "a.example", 1, received, 10)


def heard(*items: tuple[float, Item]) -> list[Item]:
    """What comes out when items come in at their times."""
    clock = FakeClock()

    def happening() -> Iterator[Item]:
        for at, item in items:
            clock.now = 1000.0 + at
            yield item

    return list(with_heartbeat(happening(), clock))


def test_everything_is_passed_on_in_order() -> None:
    items: list[Item] = [progress("a"), None, FileVerified("m", "a", 10, ""), Done(0, "", None)]
    assert heard(*((0.1 * n, item) for n, item in enumerate(items))) == items


def test_a_file_that_stands_still_is_told_again_every_five_seconds() -> None:
    out = heard((0, progress("a", 0)), (1, progress("a")), *((at, None) for at in range(2, 14)))
    assert [item for item in out if item is not None][1:] == [progress("a")] * 3
    assert [n for n, item in enumerate(out) if item is not None] == [0, 1, 7, 13]


def test_an_attempt_that_brings_nothing_is_told_again_soon_and_then_rarely() -> None:
    out = heard((0, progress("a", 0)), *((at / 8, None) for at in range(1, 50)))
    told = [n for n, item in enumerate(out) if item is not None]
    assert [(n - before) / 8 for before, n in pairwise(told)] == [
        pytest.approx(seconds, abs=1 / 4) for seconds in (FIRST_SECONDS, SILENCE_SECONDS)
    ]


def test_a_file_that_gets_on_is_not_told_twice() -> None:
    items = [(at, progress("a", at)) for at in range(1, 10)]
    assert heard(*items) == [item for _, item in items]


def test_one_busy_file_does_not_hide_a_silent_one() -> None:
    silent = progress("silent", 0), progress("silent")
    out = heard((0, silent[0]), (0, silent[1]), *((at, progress("busy", at)) for at in range(1, 7)))
    assert out.count(silent[1]) == 2


def test_a_file_that_has_ended_is_silent() -> None:
    out = heard((0, progress("a")), (1, FileVerified("m", "a", 10, "")), (20, None))
    assert out.count(progress("a")) == 1


def test_the_pause_is_short_enough_for_a_follower() -> None:
    assert SILENCE_SECONDS <= 5.0

"""Threads that write to a file at the same time, and one that keeps them out."""

from __future__ import annotations

import threading
from collections.abc import Callable

from modelfetch.engine.writers import Writers
from tests.patience import IN_TIME


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_threads_write_at_the_same_time() -> None:
    writers, meeting = Writers(), threading.Barrier(2, timeout=IN_TIME)

    def write() -> None:
        with writers:
            meeting.wait()

    threads = [started(write), started(write)]
    for thread in threads:
        thread.join(IN_TIME)
    assert not meeting.broken


def test_one_alone_waits_for_a_write_even_if_that_fails() -> None:
    writers, order = Writers(), list[str]()
    begun, may_end = threading.Event(), threading.Event()

    def write() -> None:
        try:
            with writers:
                begun.set()
                assert may_end.wait(IN_TIME)
                order.append("written")
                raise OSError
        except OSError:
            pass

    def alone() -> None:
        with writers.exclusive():
            order.append("alone")

    threads = [started(write)]
    assert begun.wait(IN_TIME)
    threads.append(started(alone))
    may_end.set()
    for thread in threads:
        thread.join(IN_TIME)
    assert order == ["written", "alone"]


def test_no_write_begins_meanwhile() -> None:
    writers, order = Writers(), list[str]()

    def write() -> None:
        with writers:
            order.append("written")

    with writers.exclusive():
        thread = started(write)
        order.append("alone")
    thread.join(IN_TIME)
    assert order == ["alone", "written"]

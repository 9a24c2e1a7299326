"""The log of a job, read by many followers at once, each at its own speed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from modelfetch.engine.events import ErrorInfo, Outcome, RunFinished
from modelfetch.server.event_streams import ThreadEvent, last_event_id, log_frames
from modelfetch.server.job_log import MAX_FOLLOWERS, MAX_PROGRESS, Entry, Log, TooManyFollowers
from modelfetch.server.job_state import JobState


def fact(n: int) -> Entry:
    return Entry(n, "file_started", "{}")


def progress(n: int) -> Entry:
    return Entry(n, "progress", "{}")


def numbers(found: list[Entry]) -> list[int]:
    return [entry.n for entry in found]


def test_all_events_are_kept_but_of_progress_only_the_latest() -> None:
    log = Log(progress(n) if n % 10 else fact(n) for n in range(10_000))
    kept = numbers(log.after(-1, 100_000))
    assert kept == sorted(kept)
    assert [n for n in kept if n % 10 == 0] == list(range(0, 10_000, 10))
    newest = [n for n in range(10_000) if n % 10][-MAX_PROGRESS:]
    assert [n for n in kept if n % 10] == newest
    assert log.last == 9_999


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("after", [-1, 0, 4, 5, 98, 99, 1000])
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_reading_in_batches_gives_everything_once(after: int, limit: int) -> None:
    log = Log(progress(n) if n % 3 else fact(n) for n in range(100))
    read: list[int] = []
    while batch := log.after(read[-1] if read else after, limit):
        assert len(batch) <= limit
        read += numbers(batch)
    assert read == list(range(after + 1, 100))


def test_an_empty_log_has_no_last_entry() -> None:
    assert Log().last is None
    assert Log().after(-1, 10) == []


def test_followers_are_woken_by_each_entry_and_the_end_until_they_unsubscribe() -> None:
    log, woken = Log(), []
    with log.subscribe(lambda: woken.append("one")), log.subscribe(lambda: woken.append("two")):
        log.append(fact(0))
        log.end("[DONE]")
    log.append(fact(1))
    assert sorted(woken) == ["one", "one", "two", "two"]


def test_followers_are_bounded() -> None:
    log = Log()
    calls: list[Callable[[], None]] = [threading.Event().set for _ in range(MAX_FOLLOWERS)]
    entered = [log.subscribe(call) for call in calls]
    for following in entered:
        following.__enter__()
    with pytest.raises(TooManyFollowers), log.subscribe(threading.Event().set):
        pass
    entered.pop().__exit__(None, None, None)
    with log.subscribe(threading.Event().set):
        pass


@pytest.mark.slow
def test_writing_and_reading_at_once_loses_and_repeats_nothing() -> None:
    log, count = Log(), 20_000

    def write() -> None:
        for n in range(count):
            log.append(progress(n) if n % 2 else fact(n))

    writer = threading.Thread(target=write)
    writer.start()
    read: list[int] = []
    while writer.is_alive() or log.after(read[-1] if read else -1, 1):
        read += numbers(log.after(read[-1] if read else -1, 64))
    writer.join()
    assert all(one < two for one, two in pairwise(read))
    assert [n for n in read if n % 2 == 0] == list(range(0, count, 2))


# Streams


async def collect(log: Log, after: int = -1) -> list[bytes]:
    alarm = ThreadEvent()
    with log.subscribe(alarm.set):
        return [piece async for piece in log_frames(log, after, alarm)]


def test_a_stream_waits_for_entries_and_ends_with_the_marker() -> None:
    async def run() -> list[bytes]:
        log = Log([fact(0)])
        reading = asyncio.create_task(collect(log))
        for n in range(1, 4):
            await asyncio.sleep(0.005)
            await asyncio.to_thread(log.append, fact(n))
        await asyncio.sleep(0.02)
        assert not reading.done()
        log.end("[DONE]")
        return await reading

    pieces = asyncio.run(run())
    assert b"".join(pieces).split(b"\n\n") == [
        *(b"id: %d\nevent: file_started\ndata: {}" % n for n in range(4)),
        b"data: [DONE]",
        b"",
    ]


def test_entries_added_just_before_the_end_are_sent_before_the_marker() -> None:
    """A stream that read the entries before the marker would end too early."""

    async def run() -> None:
        for _ in range(200):
            log = Log()
            reading = asyncio.create_task(collect(log))
            await asyncio.sleep(0)

            def write(log: Log = log) -> None:
                log.append(fact(0))
                log.end("[DONE]")

            writer = threading.Thread(target=write)
            writer.start()
            assert (await reading)[-1] == b"data: [DONE]\n\n"
            assert b"".join(await reading).startswith(b"id: 0\n")
            writer.join()

    asyncio.run(run())


def test_setting_an_event_after_its_loop_has_ended_is_no_error() -> None:
    async def make() -> ThreadEvent:
        return ThreadEvent()

    asyncio.run(make()).set()


@pytest.mark.parametrize(
    ("outcome", "message", "marker"),
    [
        ("completed", None, "[DONE]"),
        ("cancelled", "cancelled", "[CANCELLED]"),
        ("failed", "no source", "[ERROR] no source"),
        ("failed", "a\nb\r\nc\u2028d", "[ERROR] a b c d"),
        ("failed", "", "[ERROR]"),
        ("failed", None, "[ERROR]"),
        ("failed", "[DONE]", "[ERROR] [DONE]"),
    ],
)
def test_the_marker_is_one_line(outcome: Outcome, message: str | None, marker: str) -> None:
    error = None if message is None else ErrorInfo("x", message, "")
    at = datetime(2026, 11, 20, tzinfo=UTC)
    assert JobState(at).ended(RunFinished(outcome, 1, 0.0, (), error), at).marker == marker


@pytest.mark.parametrize(
    ("value", "after"), [("0", 0), (" 17 ", 17), (None, -1), ("", -1), ("-3", -1), ("1e3", -1), ("٣", -1)]
)
def test_last_event_id_is_a_number_or_nothing(value: str | None, after: int) -> None:
    assert last_event_id(value) == after

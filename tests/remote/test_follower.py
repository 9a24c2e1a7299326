"""Following one job: replays, cuts, repeated and invalid messages, and unavailable servers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from modelfetch.engine.events import RunFinished
from modelfetch.net.retry import RetryPolicy
from modelfetch.remote import Job, ReconnectPolicy, ServerClient
from modelfetch.remote.decoder import JobRecord
from modelfetch.remote.follower import ConnectionState, JobFollower
from tests.patience import HELD
from tests.remote.conftest import Connect
from tests.remote.scripted import (
    CANCELLED,
    DONE,
    JOB,
    STREAM,
    Answer,
    Script,
    document,
    frame,
    frames,
    records_of,
    refusal,
    serving,
    snapshot,
    stream,
    whole,
)
from tests.scripted import FILES, download

FAST = ReconnectPolicy(HELD, RetryPolicy(base=0.01, cap=0.02))
"""Reconnects at once, and does not give up while a test lasts."""
RECORDS = records_of(download(FILES[-2:]))
"""All records of one job."""
EVENTS = download(FILES[-2:])


def follow_job(
    server: ServerClient, reconnect: ReconnectPolicy = FAST
) -> tuple[list[JobRecord], list[ConnectionState], RunFinished]:
    """Follow a job; returns its records, the states of the connection, and its end."""
    following = JobFollower(server, Job(JOB, "whisper-base"), reconnect).follow()
    records: list[JobRecord] = []
    lines: list[ConnectionState] = []
    while True:
        try:
            seen = next(following)
        except StopIteration as stop:
            return records, lines, stop.value
        if isinstance(seen, JobRecord):
            records.append(seen)
        else:
            lines.append(seen)


def documents(records: Sequence[JobRecord]) -> list[dict[str, Any]]:
    return [record.document for record in records]


def test_a_job_is_followed_from_its_beginning_to_its_end(connect: Connect) -> None:
    server, script = connect({STREAM: [stream(frames(RECORDS), DONE)]})
    records, lines, finished = follow_job(server)
    assert documents(records) == RECORDS
    assert [record.event for record in records] == EVENTS
    assert finished == EVENTS[-1]
    assert [request.after for request in script.asked] == [None]
    assert [line.wait for line in lines] == [f"its turn in the queue of {server.base}"]


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("place", range(0, len(frames(RECORDS)), 997))
def test_wherever_it_is_cut_no_record_is_lost_or_repeated(connect: Connect, place: int, reset: bool) -> None:
    text = frames(RECORDS)
    whole_events = text[:place].count("\n\n")
    server, script = connect(
        {STREAM: [stream(text[:place], reset=reset), stream(frames(RECORDS[whole_events:]), DONE)]}
    )
    records, _, finished = follow_job(server)
    assert documents(records) == RECORDS
    assert finished.outcome == "completed"
    seen = int(script.asked[1].after or -1) + 1
    assert seen <= whole_events  # a reset may swallow what was on its way
    assert reset or seen == whole_events


def test_replayed_records_are_yielded_once(connect: Connect) -> None:
    """A server that ignores the header replays everything."""
    server, _ = connect({STREAM: [stream(frames(RECORDS[:5])), stream(frames(RECORDS), DONE)]})
    assert documents(follow_job(server)[0]) == RECORDS


def test_many_cuts_in_a_row_are_resumed(connect: Connect) -> None:
    pieces: list[Answer] = [stream(frame(record)) for record in RECORDS]
    server, script = connect({STREAM: [*pieces, stream(DONE)]})
    records, lines, _ = follow_job(server)
    assert documents(records) == RECORDS
    assert [request.after for request in script.asked] == [None, *(str(n) for n in range(len(RECORDS) - 1))]
    assert f"{server.base}: the connection was cut" in [line.wait for line in lines]


def test_a_cut_after_the_end_causes_no_reconnect(connect: Connect) -> None:
    server, script = connect({STREAM: [stream(frames(RECORDS))]})
    assert follow_job(server)[2].outcome == "completed"
    assert len(script.asked) == 1


def test_heartbeats_and_invalid_messages_are_skipped(connect: Connect) -> None:
    odd = [
        ": heartbeat\n\n",
        "data: {\n\n",
        "data: []\n\n",
        "data: 3\n\n",
        "data: [MAYBE]\n\n",
        "data: " + "[" * 50_000 + "\n\n",
        'data: {"n": "7"}\n\n',
        'data: {"v": 1, "n": true}\n\n',
        "event: jobs\ndata: {}\n\n",
    ]
    server, _ = connect({STREAM: [stream(*odd, frames(RECORDS), *odd, DONE)]})
    assert documents(follow_job(server)[0]) == RECORDS


def test_an_event_of_unknown_kind_or_form_is_passed_on_undecoded(connect: Connect) -> None:
    new = {"v": 1, "run": "r1", "n": 1, "at": "later", "event": "chunk_verified"}
    odd = RECORDS[2] | {"size": "large"}
    server, _ = connect({STREAM: [stream(frames([RECORDS[0], new, odd, *RECORDS[3:]]), DONE)]})
    records, _, finished = follow_job(server)
    assert [record.event is None for record in records[:4]] == [False, True, True, False]
    assert documents(records)[1:3] == [new, odd]
    assert finished.outcome == "completed"


def test_another_version_is_reported(connect: Connect) -> None:
    server, _ = connect({STREAM: [stream(frame(RECORDS[0] | {"v": 2}))]})
    records, _, finished = follow_job(server)
    assert finished.error is not None
    assert "another version" in finished.error.message
    assert documents(records)[-1]["event"] == "run_finished"


@pytest.mark.parametrize("answer", [refusal(503, "stopping", "x"), refusal(429, "too_many_followers", "x")])
def test_a_temporary_refusal_is_retried(connect: Connect, answer: Answer) -> None:
    server, script = connect({STREAM: [answer, whole(b"<html>", 502), stream(frames(RECORDS), DONE)]})
    records, lines, _ = follow_job(server)
    assert documents(records) == RECORDS
    assert len(script.asked) == 3
    assert f"{server.base}: HTTP 502" in [line.wait for line in lines]


def test_a_server_that_was_unavailable_is_reconnected() -> None:
    script = Script({STREAM: [stream(frames(RECORDS[:5])), stream(frames(RECORDS[5:]), DONE)]})
    with serving(script) as address:
        server = ServerClient(address)
        following = JobFollower(server, Job(JOB, "m"), FAST).follow()
        seen = [next(following) for _ in range(6)]
    waits = [next(following), next(following)]
    assert all(isinstance(line, ConnectionState) and line.wait for line in waits)
    with closing(server), serving(script, int(address.base.rpartition(":")[2])):
        seen += following
    assert [item.document for item in seen if isinstance(item, JobRecord)] == RECORDS


class Clock:
    """Monotonic seconds that go on when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_server_that_stays_unavailable_is_given_up() -> None:
    script = Script({STREAM: [stream(frames(RECORDS[:5]))]})
    clock = Clock()
    with serving(script) as address:
        server = ServerClient(address)
        reconnect = ReconnectPolicy(60, FAST.backoff)
        following = JobFollower(server, Job(JOB, "m"), reconnect, clock).follow()
        for _ in range(6):
            next(following)
    with closing(server):
        clock.now += 59
        waits = [next(following), next(following)]
        assert all(isinstance(line, ConnectionState) and line.wait for line in waits), "too early to give up"
        clock.now += 2
        [last] = following
    assert isinstance(last, JobRecord)
    assert isinstance(last.event, RunFinished)
    assert last.event.error is not None
    assert (last.event.exit_code, last.event.error.code) == (6, "unavailable")
    assert "connection refused, for 61 s" in last.event.error.message
    assert "modelfetch attach job-0b54c6de" in last.event.error.hint


@pytest.mark.parametrize(
    "answer", [refusal(404, "unknown_job", "x"), refusal(401, "bad_token", "x")], ids=["job", "token"]
)
@pytest.mark.parametrize("seen", [0, 5])
def test_a_restarted_server_without_the_job_means_interrupted(
    connect: Connect, answer: Answer, seen: int
) -> None:
    server, _ = connect({STREAM: [stream(frames(RECORDS[:seen])), answer]})
    records, _, finished = follow_job(server)
    assert finished.error is not None
    assert (finished.outcome, finished.exit_code, finished.error.code) == ("failed", 143, "interrupted")
    last = records[-1].document
    assert (last["event"], last["n"], last["v"]) == ("run_finished", seen, 1)
    assert last["run"] == ("r1" if seen else JOB)
    assert last["error"]["code"] == "interrupted"


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("answer", "code", "exit_code"),
    [
        (refusal(401, "bad_token", "wrong"), "unauthorised", 9),
        (refusal(404, "unknown_job", "none"), "usage", 2),
        (refusal(421, "wrong_host", "not me"), "unavailable", 6),
        (whole(b"<html>"), "unavailable", 6),
        (stream(b"data: " + b"x" * (17 << 20)), "unavailable", 6),
    ],
)
def test_a_permanent_refusal_is_the_end(connect: Connect, answer: Answer, code: str, exit_code: int) -> None:
    server, script = connect({STREAM: [answer]})
    _, _, finished = follow_job(server)
    assert finished.error is not None
    assert (finished.error.code, finished.exit_code) == (code, exit_code)
    where = f"modelfetch server at {server.base}: "
    assert finished.error.message.startswith(f"cannot follow job-0b54c6de: {where}")
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("marker", "status", "exit_code"),
    [(DONE, "completed", 0), (CANCELLED, "cancelled", 130), ("data: [ERROR] disk full\n\n", "failed", 7)],
)
def test_an_end_missing_from_the_stream_is_requested(
    connect: Connect, marker: str, status: str, exit_code: int
) -> None:
    over = snapshot(status=status, exit_code=exit_code)
    server, _ = connect(
        {STREAM: [stream(frames(RECORDS[:-1]), marker)], f"GET /v1/jobs/{JOB}": [document(over)]}
    )
    records, _, finished = follow_job(server)
    assert (finished.outcome, finished.exit_code) == (status, exit_code)
    assert documents(records)[:-1] == RECORDS[:-1]
    assert records[-1].event == finished


@pytest.mark.parametrize(
    ("marker", "outcome", "exit_code"),
    [(DONE, "completed", 0), ("data: [ERROR] disk \x1b[31mfull\n\n", "failed", 6)],
)
def test_an_end_that_cannot_be_requested_follows_the_marker(
    connect: Connect, marker: str, outcome: str, exit_code: int
) -> None:
    server, _ = connect({STREAM: [stream(frames(RECORDS[:-1]), marker)]})
    finished = follow_job(server)[2]
    assert (finished.outcome, finished.exit_code) == (outcome, exit_code)
    assert finished.error is None or "[ERROR] disk [31mfull" in finished.error.message


def test_replayed_records_keep_their_times(connect: Connect) -> None:
    """So that replayed records do not look as if they had happened at once."""
    date = format_datetime(datetime(2026, 11, 20, 6, 1, tzinfo=UTC), usegmt=True)
    server, _ = connect({STREAM: [stream(frames(RECORDS), DONE, date=date)]})
    before = time.monotonic()
    records, _, _ = follow_job(server)
    first, second = records[0].at, records[1].at
    assert second - first == pytest.approx(0.1, abs=0.001)
    assert before - 0.001 <= first + 61 <= time.monotonic() + 0.001


def test_times_in_the_future_become_now(connect: Connect) -> None:
    date = format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)
    odd = [RECORDS[0] | {"at": "9999-12-31T23:59:59.999Z"}, RECORDS[1] | {"at": "x"}]
    odd += [RECORDS[2] | {"at": "2026-11-20T06:00:00"}, RECORDS[3] | {"at": 3}]
    server, _ = connect({STREAM: [stream(frames([*odd, *RECORDS[4:]]), DONE, date=date)]})
    before = time.monotonic()
    records, _, _ = follow_job(server)
    assert all(before <= record.at <= time.monotonic() for record in records)

"""Following one job: replayed, cut, doubled, garbled, and the server gone in every way."""

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
from tests.patience import IN_TIME
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
    refusal,
    serving,
    snapshot,
    stream,
    told,
    whole,
)
from tests.scripted import FILES, download

HASTY = ReconnectPolicy(0.3, RetryPolicy(base=0.01, cap=0.02))
STORY = told(download(FILES[-2:]))
"""All there is to hear of one job."""
EVENTS = download(FILES[-2:])


def listen(
    server: ServerClient, reconnect: ReconnectPolicy = HASTY
) -> tuple[list[JobRecord], list[ConnectionState], RunFinished]:
    """Everything told, how the line was, and the end."""
    following = JobFollower(server, Job(JOB, "whisper-base"), reconnect).follow()
    records: list[JobRecord] = []
    lines: list[ConnectionState] = []
    while True:
        try:
            heard = next(following)
        except StopIteration as stop:
            return records, lines, stop.value
        if isinstance(heard, JobRecord):
            records.append(heard)
        else:
            lines.append(heard)


def documents(records: Sequence[JobRecord]) -> list[dict[str, Any]]:
    return [record.document for record in records]


def test_a_job_is_told_from_its_beginning_to_its_end(connect: Connect) -> None:
    server, script = connect({STREAM: [stream(frames(STORY), DONE)]})
    records, lines, finished = listen(server)
    assert documents(records) == STORY
    assert [record.event for record in records] == EVENTS
    assert finished == EVENTS[-1]
    assert [request.after for request in script.asked] == [None]
    assert [line.wait for line in lines] == [f"its turn in the queue of {server.base}"]


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("place", range(0, len(frames(STORY)), 997))
def test_wherever_it_is_cut_nothing_is_lost_or_told_twice(connect: Connect, place: int, reset: bool) -> None:
    text = frames(STORY)
    whole_events = text[:place].count("\n\n")
    server, script = connect(
        {STREAM: [stream(text[:place], reset=reset), stream(frames(STORY[whole_events:]), DONE)]}
    )
    records, _, finished = listen(server)
    assert documents(records) == STORY
    assert finished.outcome == "completed"
    heard = int(script.asked[1].after or -1) + 1
    assert heard <= whole_events  # a reset may swallow what was on its way
    assert reset or heard == whole_events


def test_what_comes_twice_is_told_once(connect: Connect) -> None:
    """A server that does not know the header begins anew."""
    server, _ = connect({STREAM: [stream(frames(STORY[:5])), stream(frames(STORY), DONE)]})
    assert documents(listen(server)[0]) == STORY


def test_many_cuts_in_a_row_are_survived(connect: Connect) -> None:
    pieces: list[Answer] = [stream(frame(record)) for record in STORY]
    server, script = connect({STREAM: [*pieces, stream(DONE)]})
    records, lines, _ = listen(server)
    assert documents(records) == STORY
    assert [request.after for request in script.asked] == [None, *(str(n) for n in range(len(STORY) - 1))]
    assert f"{server.base}: the connection was cut" in [line.wait for line in lines]


def test_a_cut_behind_the_end_is_none(connect: Connect) -> None:
    server, script = connect({STREAM: [stream(frames(STORY))]})
    assert listen(server)[2].outcome == "completed"
    assert len(script.asked) == 1


def test_heartbeats_and_what_is_not_understood_are_passed_over(connect: Connect) -> None:
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
    server, _ = connect({STREAM: [stream(*odd, frames(STORY), *odd, DONE)]})
    assert documents(listen(server)[0]) == STORY


def test_an_event_of_a_new_kind_or_form_is_passed_on_without_a_meaning(connect: Connect) -> None:
    new = {"v": 1, "run": "r1", "n": 1, "at": "later", "event": "chunk_verified"}
    odd = STORY[2] | {"size": "large"}
    server, _ = connect({STREAM: [stream(frames([STORY[0], new, odd, *STORY[3:]]), DONE)]})
    records, _, finished = listen(server)
    assert [record.event is None for record in records[:4]] == [False, True, True, False]
    assert documents(records)[1:3] == [new, odd]
    assert finished.outcome == "completed"


def test_another_version_is_told_as_such(connect: Connect) -> None:
    server, _ = connect({STREAM: [stream(frame(STORY[0] | {"v": 2}))]})
    records, _, finished = listen(server)
    assert finished.error is not None
    assert "another version" in finished.error.message
    assert documents(records)[-1]["event"] == "run_finished"


@pytest.mark.parametrize("answer", [refusal(503, "stopping", "x"), refusal(429, "too_many_followers", "x")])
def test_a_refusal_that_may_pass_is_waited_out(connect: Connect, answer: Answer) -> None:
    server, script = connect({STREAM: [answer, whole(b"<html>", 502), stream(frames(STORY), DONE)]})
    records, lines, _ = listen(server)
    assert documents(records) == STORY
    assert len(script.asked) == 3
    assert f"{server.base}: HTTP 502" in [line.wait for line in lines]


def test_a_server_that_was_away_is_found_again() -> None:
    script = Script({STREAM: [stream(frames(STORY[:5])), stream(frames(STORY[5:]), DONE)]})
    with serving(script) as address:
        server = ServerClient(address)
        following = JobFollower(server, Job(JOB, "m"), ReconnectPolicy(5, HASTY.backoff)).follow()
        heard = [next(following) for _ in range(6)]
    waits = [next(following), next(following)]
    assert all(isinstance(line, ConnectionState) and line.wait for line in waits)
    with closing(server), serving(script, int(address.base.rpartition(":")[2])):
        heard += following
    assert [item.document for item in heard if isinstance(item, JobRecord)] == STORY


def test_patience_with_a_server_that_stays_away_has_an_end(connect: Connect) -> None:
    script = Script({STREAM: [stream(frames(STORY[:5]))]})
    with serving(script) as address:
        server = ServerClient(address)
        following = JobFollower(server, Job(JOB, "m"), HASTY).follow()
        for _ in range(6):
            next(following)
    started = time.monotonic()
    with closing(server):
        *_, last = following
    assert 0.2 < time.monotonic() - started < IN_TIME
    assert isinstance(last, JobRecord)
    assert isinstance(last.event, RunFinished)
    assert last.event.error is not None
    assert (last.event.exit_code, last.event.error.code) == (6, "unavailable")
    assert "connection refused, for" in last.event.error.message
    assert "modelfetch attach job-0b54c6de" in last.event.error.hint


@pytest.mark.parametrize(
    "answer", [refusal(404, "unknown_job", "x"), refusal(401, "bad_token", "x")], ids=["job", "token"]
)
@pytest.mark.parametrize("heard", [0, 5])
def test_a_server_that_came_back_without_the_job_was_interrupted(
    connect: Connect, answer: Answer, heard: int
) -> None:
    server, _ = connect({STREAM: [stream(frames(STORY[:heard])), answer]})
    records, _, finished = listen(server)
    assert finished.error is not None
    assert (finished.outcome, finished.exit_code, finished.error.code) == ("failed", 143, "interrupted")
    last = records[-1].document
    assert (last["event"], last["n"], last["v"]) == ("run_finished", heard, 1)
    assert last["run"] == ("r1" if heard else JOB)
    assert last["error"]["code"] == "interrupted"


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
def test_what_cannot_be_followed_at_all_says_so(
    connect: Connect, answer: Answer, code: str, exit_code: int
) -> None:
    server, script = connect({STREAM: [answer]})
    _, _, finished = listen(server)
    assert finished.error is not None
    assert (finished.error.code, finished.exit_code) == (code, exit_code)
    where = f"modelfetch server at {server.base}: "
    assert finished.error.message.startswith(f"cannot follow job-0b54c6de: {where}")
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("marker", "status", "exit_code"),
    [(DONE, "completed", 0), (CANCELLED, "cancelled", 130), ("data: [ERROR] disk full\n\n", "failed", 7)],
)
def test_an_end_that_was_not_told_is_asked_for(
    connect: Connect, marker: str, status: str, exit_code: int
) -> None:
    over = snapshot(status=status, exit_code=exit_code)
    server, _ = connect(
        {STREAM: [stream(frames(STORY[:-1]), marker)], f"GET /v1/jobs/{JOB}": [document(over)]}
    )
    records, _, finished = listen(server)
    assert (finished.outcome, finished.exit_code) == (status, exit_code)
    assert documents(records)[:-1] == STORY[:-1]
    assert records[-1].event == finished


@pytest.mark.parametrize(
    ("marker", "outcome", "exit_code"),
    [(DONE, "completed", 0), ("data: [ERROR] disk \x1b[31mfull\n\n", "failed", 6)],
)
def test_an_end_that_nobody_can_tell_is_what_the_marker_says(
    connect: Connect, marker: str, outcome: str, exit_code: int
) -> None:
    server, _ = connect({STREAM: [stream(frames(STORY[:-1]), marker)]})
    finished = listen(server)[2]
    assert (finished.outcome, finished.exit_code) == (outcome, exit_code)
    assert finished.error is None or "[ERROR] disk [31mfull" in finished.error.message


def test_the_past_has_its_own_times(connect: Connect) -> None:
    """So that what is replayed at once does not look as if it had come in at once."""
    date = format_datetime(datetime(2026, 11, 20, 6, 1, tzinfo=UTC), usegmt=True)
    server, _ = connect({STREAM: [stream(frames(STORY), DONE, date=date)]})
    now = time.monotonic()
    records, _, _ = listen(server)
    first, second = records[0].at, records[1].at
    assert second - first == pytest.approx(0.1, abs=0.001)
    assert now - first == pytest.approx(61, abs=1)


def test_the_future_is_now(connect: Connect) -> None:
    date = format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)
    odd = [STORY[0] | {"at": "9999-12-31T23:59:59.999Z"}, STORY[1] | {"at": "x"}]
    odd += [STORY[2] | {"at": "2026-11-20T06:00:00"}, STORY[3] | {"at": 3}]
    server, _ = connect({STREAM: [stream(frames([*odd, *STORY[4:]]), DONE, date=date)]})
    before = time.monotonic()
    records, _, _ = listen(server)
    assert all(before <= record.at <= time.monotonic() for record in records)

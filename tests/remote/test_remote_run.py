"""Several jobs as one run: merged, waited for, detached."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from modelfetch.engine.events import ErrorInfo, Event, LockWaiting, Progress, RunFinished, RunStarted
from modelfetch.engine.stream import Record, follow, records
from modelfetch.net.retry import RetryPolicy
from modelfetch.remote import Job, ReconnectPolicy, Run
from modelfetch.remote.remote_run import LEAVE_SECONDS
from tests.origin.channel import Channel
from tests.patience import HELD, IN_TIME
from tests.remote.conftest import Connect
from tests.remote.scripted import (
    CANCELLED,
    DONE,
    JOB,
    STREAM,
    Answer,
    document,
    frames,
    records_of,
    refusal,
    snapshot,
    stream,
)
from tests.scripted import FILES, at_once, download, failed, play

OTHER = "job-0b999999-5b0a-4a3f-8f56-0c5ee6a7a4c1"
OTHER_STREAM = f"GET /v1/jobs/{OTHER}/stream"
EVENTS = download(FILES[-2:])
RECORDS = records_of(EVENTS)
FAST = ReconnectPolicy(HELD, RetryPolicy(base=0.01, cap=0.02))
"""Reconnects at once, and does not give up while a test lasts."""
OURS = Job(JOB, "whisper-base", is_ours=True)
THEIRS = replace(OURS, is_ours=False)


def fast_clock() -> float:
    """A clock that runs ten times as fast."""
    return time.monotonic() * 10


def slow_clock() -> float:
    """A clock by which a cancel may take as long as a loaded machine needs."""
    return time.monotonic() * LEAVE_SECONDS / HELD


def of_other_run(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same records for another model in another run."""
    return [
        {key: "silero-vad" if key == "model" else value for key, value in record.items()}
        | ({"models": ["silero-vad"]} if "models" in record else {})
        | {"run": "r2"}
        for record in records
    ]


def test_one_job_yields_the_events_of_a_local_run(connect: Connect) -> None:
    server, _ = connect({STREAM: [stream(frames(RECORDS), DONE)]})
    assert list(Run(server, [OURS]).events()) == EVENTS


class Figures:
    """Records the totals after each event."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.speeds: list[float] = []

    def report(self, record: Record) -> None:
        totals = record.state.totals
        self.received.append(totals.received)
        self.speeds.append(-1.0 if totals.speed is None else totals.speed)

    def close(self) -> None:
        pass


def test_the_figures_are_those_of_the_server(connect: Connect) -> None:
    """Speeds included: a replay arrives at once, but its events did not happen at once."""
    server, _ = connect({STREAM: [stream(frames(records_of(download())), DONE)]})
    run, here, there = Run(server, [OURS]), Figures(), Figures()
    follow(run.events(), [here], clock=run.clock)
    play(at_once(download()), there)
    assert here.received == there.received
    assert here.speeds == pytest.approx(there.speeds, rel=1e-3)
    assert max(here.speeds) > 0


def test_several_jobs_become_one_run_with_one_end(connect: Connect) -> None:
    answers = {
        STREAM: [stream(frames(RECORDS[:7])), stream(frames(RECORDS[7:]), DONE)],
        OTHER_STREAM: [stream(frames(of_other_run(RECORDS)), DONE)],
    }
    server, _ = connect(answers)
    tapped: list[dict[str, Any]] = []
    run = Run(server, [OURS, Job(OTHER, "silero-vad")], tap=tapped.append, reconnect=FAST)
    *rest, last = list(records(run.events(), clock=run.clock))
    assert isinstance(last.event, RunFinished)
    assert (last.event.outcome, len(last.event.files)) == ("completed", 4)
    assert not any(isinstance(record.event, RunFinished) for record in rest)
    assert {*last.state.models} == {"whisper-base", "silero-vad"}
    assert last.state.totals.percent == 100
    assert [record for record in tapped if record["run"] == "r1"] == RECORDS
    assert [record for record in tapped if record["run"] == "r2"] == of_other_run(RECORDS)


def test_the_most_severe_end_is_the_end_of_the_run(connect: Connect) -> None:
    bad = records_of([RunStarted("ensure", ("n",)), failed()])
    server, _ = connect({STREAM: [stream(frames(RECORDS), DONE)], OTHER_STREAM: [stream(frames(bad), DONE)]})
    *_, last = Run(server, [OURS, Job(OTHER, "n")]).events()
    assert isinstance(last, RunFinished)
    assert (last.outcome, last.exit_code, len(last.files)) == ("failed", 6, 2)


def waits(events: list[Event]) -> list[LockWaiting]:
    return [event for event in events if isinstance(event, LockWaiting)]


def test_a_queued_job_is_reported_as_a_wait(connect: Connect) -> None:
    server, _ = connect({STREAM: [stream(": heartbeat\n\n", hold=True)]})
    following = Run(server, [OURS], clock=fast_clock).events()
    wait = next(following)
    following.close()
    assert isinstance(wait, LockWaiting)
    assert (wait.model, wait.holder) == ("whisper-base", f"its turn in the queue of {server.base}")
    assert wait.waited >= 1


def test_an_unavailable_server_is_reported_as_a_wait(connect: Connect) -> None:
    is_reported = threading.Event()

    def busy(channel: Channel) -> None:
        over = stream(frames(RECORDS[9:]), DONE)
        (over if is_reported.is_set() else refusal(503, "stopping", "x"))(channel)

    server, _ = connect({STREAM: [stream(frames(RECORDS[:9])), busy]})
    events: list[Event] = []
    for event in Run(server, [OURS], reconnect=FAST, clock=fast_clock).events():
        events.append(event)
        if isinstance(event, LockWaiting) and event.holder == f"{server.base}: HTTP 503":
            is_reported.set()
    assert is_reported.is_set()
    assert all(wait.waited >= 1 for wait in waits(events))
    assert [event for event in events if not isinstance(event, LockWaiting)] == EVENTS


# Leaving


def leave_in_the_middle(run: Run, exit_code: int = 130) -> tuple[list[Event], float]:
    """Leave at the first progress; returns the events from then on, and how long it took."""
    following = run.events()
    while not isinstance(next(following), Progress):
        pass
    started = time.monotonic()
    run.leave(exit_code)
    return list(following), time.monotonic() - started


def cancelled() -> list[dict[str, Any]]:
    error = ErrorInfo("cancelled", "cancelled", "run it again")
    return records_of([*EVENTS[:5], RunFinished("cancelled", 130, 1.0, (), error)])[-1:]


def test_leaving_cancels_own_jobs_and_reports_their_end(connect: Connect) -> None:
    server, script = connect({STREAM: [], f"DELETE /v1/jobs/{JOB}": []})

    def end(channel: Any) -> None:
        channel.sock.sendall(head_of_stream + frames(RECORDS[:5]).encode())
        while not script.to(f"DELETE /v1/jobs/{JOB}"):
            time.sleep(0.01)
        channel.sock.sendall((frames(cancelled()) + CANCELLED).encode())
        channel.end()

    head_of_stream = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    script.answers[STREAM].append(end)
    script.answers[f"DELETE /v1/jobs/{JOB}"].append(document({"job_id": JOB, "status": "cancelled"}))
    tapped: list[dict[str, Any]] = []
    rest, seconds = leave_in_the_middle(Run(server, [OURS], tap=tapped.append, clock=slow_clock))
    last = rest[-1]
    assert isinstance(last, RunFinished)
    assert last.error is not None
    assert (last.outcome, last.exit_code) == ("cancelled", 130)
    assert last.error.message == "cancelled: 2.24 kB of 2.58 kB stay on the server"
    assert seconds < IN_TIME
    assert tapped[-1] == cancelled()[0]


@pytest.mark.parametrize("exit_code", [130, 143, 129])
def test_jobs_of_others_continue(connect: Connect, exit_code: int) -> None:
    server, script = connect({STREAM: [stream(frames(RECORDS[:5]), hold=True)]})
    tapped: list[dict[str, Any]] = []
    rest, seconds = leave_in_the_middle(Run(server, [THEIRS], tap=tapped.append), exit_code)
    last = rest[-1]
    assert isinstance(last, RunFinished)
    assert last.error is not None
    assert (last.outcome, last.exit_code) == ("cancelled", exit_code)
    assert last.error.message == "job-0b54c6de continues on the server"
    assert seconds < IN_TIME
    assert [request.line for request in script.asked] == [STREAM]
    assert all(record["event"] != "run_finished" for record in tapped)


@pytest.mark.slow
def test_a_cancel_without_an_answer_is_not_waited_for_long(connect: Connect) -> None:
    silent: Answer = lambda channel: channel.wait(HELD)  # noqa: E731
    server, _ = connect(
        {STREAM: [stream(frames(RECORDS[:5]), hold=True)], f"DELETE /v1/jobs/{JOB}": [silent]}
    )
    rest, seconds = leave_in_the_middle(Run(server, [OURS], clock=fast_clock))
    last = rest[-1]
    assert isinstance(last, RunFinished)
    assert last.error is not None
    assert (last.exit_code, last.error.message) == (130, "job-0b54c6de was cancelled but has not ended yet")
    assert LEAVE_SECONDS / 10 <= seconds < IN_TIME


def test_leaving_after_the_end_keeps_that_end(connect: Connect) -> None:
    over = document(snapshot(status="completed", exit_code=0))
    server, _ = connect({STREAM: [stream(frames(RECORDS), DONE)], f"GET /v1/jobs/{JOB}": [over]})
    run = Run(server, [OURS])
    run.leave(130)
    *_, last = run.events()
    assert isinstance(last, RunFinished)
    assert (last.outcome, last.exit_code) == ("completed", 0)

"""The stream of all jobs: present, changed and forgotten ones."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import Event, Planned, PlannedFile, Progress, RunFinished, RunStarted
from modelfetch.server import event_streams, job_queue, serve
from modelfetch.server.event_streams import SNAPSHOT_SECONDS, ThreadEvent, snapshot_frames
from modelfetch.server.job_state import Order
from tests.patience import HELD, IN_TIME
from tests.server.running import FakeEngine, Follower, Served


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of a server wait for its jobs and streams, however long a busy machine takes for them."""
    monkeypatch.setattr(job_queue, "CANCEL_SECONDS", IN_TIME)
    monkeypatch.setattr(serve, "STOP_SECONDS", IN_TIME)


def snapshots_until(stream: Follower, field: str, value: object) -> list[Any]:
    """Read until a snapshot has this value in a field; returns the snapshots that were read."""
    snapshots = []
    for message in stream:
        if message.event == "jobs":
            snapshots.append(message.document)
            if snapshots[-1][field] == value:
                break
    return snapshots


def test_it_begins_with_every_job_oldest_first_and_then_ready(served: Served) -> None:
    jobs = [served.submit("m"), served.submit("n")]
    for job_id in jobs:
        served.until_over(job_id)
    with served.follow("/v1/jobs/stream") as stream:
        first, second, ready = next(stream), next(stream), next(stream)
    assert [message.document["job_id"] for message in (first, second)] == jobs
    assert first.document == served.snapshot(jobs[0])
    assert (ready.event, ready.document) == ("ready", {"jobs": jobs})
    assert first.id is None


def test_it_sends_new_jobs_their_changes_and_their_end(served: Served) -> None:
    with served.follow("/v1/jobs/stream") as stream:
        assert next(stream).event == "ready"
        job_id = served.submit()
        last = snapshots_until(stream, "status", "completed")[-1]
    assert (last["job_id"], last["phase"]) == (job_id, "done")


def test_it_sends_gone_for_forgotten_jobs(served: Served) -> None:
    job_id = served.submit()
    served.until_over(job_id)
    with served.follow("/v1/jobs/stream") as stream:
        assert [next(stream).event, next(stream).event] == ["jobs", "ready"]
        served.ask("POST", "/v1/jobs/clear")
        gone = next(message for message in stream if message.event == "gone")
    assert gone.document == {"job_id": job_id}


def test_it_ends_with_the_server_after_the_end_of_each_job(tmp_path: Path) -> None:
    def wait_for_cancel(order: Order, cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        while not cancel.cancelled:
            time.sleep(0.002)
        yield RunFinished("cancelled", 130, 0.0, (), None)

    with Served(tmp_path, FakeEngine(wait_for_cancel)) as served, served.follow("/v1/jobs/stream") as stream:
        served.submit()
        snapshots_until(stream, "status", "running")
        served.stop()
        assert [message.document["status"] for message in stream][-1] == "cancelled"


class LastJob:
    """The only job of a server. It ends, and the server with it, just after its second snapshot was made."""

    id = "job-0"

    def __init__(self, changed: ThreadEvent) -> None:
        self.version = 0
        self.is_closed = False
        self._changed = changed

    def all(self) -> list[LastJob]:
        return [self]

    def snapshot(self) -> dict[str, Any]:
        status = ("running", "running", "cancelled")[self.version]
        if status == "running":
            self.version += 1
            self.is_closed = self.version == 2
            self._changed.set()
        return {"status": status, "files": []}


def test_an_end_just_before_that_of_the_server_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "SNAPSHOT_SECONDS", 0.0)

    async def read() -> list[bytes]:
        changed = ThreadEvent()
        jobs: Any = LastJob(changed)
        return [frame async for frame in snapshot_frames(jobs, changed)]

    last = asyncio.run(asyncio.wait_for(read(), IN_TIME))[-1]
    assert b'"status":"cancelled"' in last


@pytest.mark.slow
def test_many_changes_give_few_snapshots_and_large_ones_leave_out_idle_files(tmp_path: Path) -> None:
    go = threading.Event()
    files = tuple(PlannedFile(f"{n}.bin", 10, "a" * 64, "missing", 0, ()) for n in range(1000))

    def busy(order: Order, _cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        yield Planned(order.model, "1", "", "MIT", "", "", "/x", 10_000, 10_000, files)
        for n in range(1000):
            yield Progress(order.model, "7.bin", "mirror", "a.example", 1, n // 100, 10)
            time.sleep(0.0005)
        go.wait(HELD)
        yield RunFinished("completed", 0, 0.0, (), None)

    with Served(tmp_path, FakeEngine(busy)) as served, served.follow("/v1/jobs/stream") as stream:
        began = time.monotonic()
        job_id = served.submit()
        snapshots = snapshots_until(stream, "last_event_id", 1001)
        told = snapshots[-1]
        go.set()
        snapshots += snapshots_until(stream, "status", "completed")
        # A thousand changes; three of the snapshots need not wait for the one before.
        assert len(snapshots) <= 3 + (time.monotonic() - began) / SNAPSHOT_SECONDS
        assert all(len(snapshot["files"]) <= 1 for snapshot in snapshots)
        assert [file["file"] for file in told["files"]] == ["7.bin"]
        assert snapshots[-1]["files_total"] == 1000
        assert len(served.snapshot(job_id)["files"]) == 1000

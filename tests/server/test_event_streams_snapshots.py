"""The stream of all jobs: present, changed and forgotten ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import Event, Planned, PlannedFile, Progress, RunFinished, RunStarted
from modelfetch.server.job_state import Order
from tests.patience import HELD
from tests.server.running import FakeEngine, Follower, Message, Served


def until_status(stream: Follower, status: str) -> list[Message]:
    """Read until a job has a status; returns what was read."""
    read = []
    for message in stream:
        read.append(message)
        if message.event == "jobs" and message.document["status"] == status:
            break
    return read


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
        last = until_status(stream, "completed")[-1]
    assert last.document["job_id"] == job_id
    assert last.document["phase"] == "done"


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
        until_status(stream, "running")
        served.stop()
        assert [message.document["status"] for message in stream][-1] == "cancelled"


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
        job_id = served.submit()
        threading.Timer(0.9, go.set).start()
        read = until_status(stream, "completed")
        snapshots = [message.document for message in read if message.event == "jobs"]
        assert len(snapshots) < 100  # of a thousand changes; how many depends on how long they took
        assert all(len(snapshot["files"]) <= 1 for snapshot in snapshots)
        assert [file["file"] for file in snapshots[-2]["files"]] == ["7.bin"]
        assert snapshots[-1]["files_total"] == 1000
        assert len(served.snapshot(job_id)["files"]) == 1000

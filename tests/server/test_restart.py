"""Jobs and their logs are stored beyond the life of the server."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileStarted,
    Planned,
    PlannedFile,
    Progress,
    RunFinished,
    RunStarted,
)
from modelfetch.history import History
from modelfetch.server import job_queue, job_store
from modelfetch.server.job import Job, PastJob
from modelfetch.server.job_queue import MAX_ENDED, MAX_ENDED_DAYS, Jobs
from modelfetch.server.job_state import Order
from modelfetch.server.job_store import JobStore
from modelfetch.store.temporary import tag
from tests.patience import IN_TIME
from tests.server.running import FakeEngine, Served, until

pytestmark = pytest.mark.slow  # real processes, one after the other

FILE = PlannedFile("big.bin", 1000, "b" * 64, "missing", 0, ("mirror a.example",))
PLAN = Planned("m", "1", "The model m", "MIT", "", "", "/x", 1000, 1000, (FILE,))


def fail(order: Order, _cancel: Cancellation) -> Iterator[Event]:
    yield RunStarted("ensure", (order.model,))
    yield PLAN
    yield FileStarted("m", "big.bin", 1000, 0)
    yield Progress("m", "big.bin", "mirror", "a.example", 1, 400, 1000)
    yield RunFinished("failed", 6, 0.1, (), ErrorInfo("unavailable", "no source", "try again"))


class Killed:
    """A run whose server is killed: it never ends."""

    def __init__(self) -> None:
        self.reached = threading.Event()

    def __call__(self, order: Order, _cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        yield PLAN
        yield FileStarted("m", "big.bin", 1000, 0)
        yield Progress("m", "big.bin", "mirror", "a.example", 1, 400, 1000)
        self.reached.set()
        ENDED.wait(60)


ENDED = threading.Event()
"""Set after the tests: until then the threads of killed servers wait."""


class KilledStore(JobStore):
    """The job store of a killed server: it writes nothing any more."""

    is_killed = False

    def flush(self, wait: float | None = None) -> None:
        if not self.is_killed:
            super().flush(wait)


def kill_during_job(root: Path) -> str:
    """Store what a server leaves that is killed in the middle of a job; returns the id of the job."""
    play, history = Killed(), History(root / "state.db")
    job_store = KilledStore(history)
    jobs = Jobs(FakeEngine(play), job_store, parallel=1)
    job, _ = jobs.submit("model_download", "m")
    jobs.submit("model_download", "n")
    assert play.reached.wait(IN_TIME)
    job_store.flush()
    job_store.is_killed = True
    job_store.close()
    history.close()
    return job.id


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of a server wait for its jobs, however long a busy machine takes for them."""
    monkeypatch.setattr(job_queue, "CANCEL_SECONDS", IN_TIME)


@pytest.fixture(autouse=True, scope="module")
def nothing_left_behind() -> Iterator[None]:
    ENDED.clear()  # what another turn of this module left
    yield
    ENDED.set()


def test_a_submission_is_stored_before_it_is_answered(tmp_path: Path) -> None:
    """A kill right afterwards may lose the log, never the job."""
    history = History(tmp_path / "state.db")
    job_store = KilledStore(history)
    jobs = Jobs(FakeEngine(Killed()), job_store, parallel=1)
    job, _ = jobs.submit("model_download", "m")
    assert [row.id for row in history.jobs()] == [job.id]
    job_store.is_killed = True
    job_store.close()
    history.close()


def test_an_ended_job_and_its_log_are_there_after_a_restart(tmp_path: Path) -> None:
    with Served(tmp_path, FakeEngine(fail)) as served:
        job_id = served.submit()
        before = served.until_over(job_id)
        story = [message for message in served.messages(job_id) if message.event != "progress"]
    with Served(tmp_path) as served:
        assert served.snapshot(job_id) == before
        assert served.messages(job_id) == story
        assert [message.id for message in served.messages(job_id, after=2)] == ["4", None]
        assert story[-1].data == "[ERROR] no source"


def test_after_its_end_the_log_of_a_job_is_on_disk_and_not_in_memory(served: Served) -> None:
    job_id = served.submit()
    until(lambda: isinstance(served.jobs.get(job_id), PastJob), "the log on disk")
    assert [message.event for message in served.messages(job_id)] == ["run_started", "run_finished", None]


def test_a_job_running_at_a_kill_has_failed_with_the_reason(tmp_path: Path) -> None:
    job_id = kill_during_job(tmp_path)
    with Served(tmp_path) as served:
        snapshot = served.snapshot(job_id)
        assert (snapshot["status"], snapshot["phase"], snapshot["exit_code"]) == ("failed", "failed", 143)
        assert snapshot["error"]["code"] == "interrupted"
        assert snapshot["error"]["message"] == "the server was stopped while this job ran"
        assert (snapshot["received"], snapshot["title"]) == (400, "The model m")
        assert [(file["status"], file["received"]) for file in snapshot["files"]] == [("cancelled", 400)]
        story = served.messages(job_id)
        assert [message.event for message in story] == [
            "run_started",
            "planned",
            "file_started",
            "run_finished",
            None,
        ]
        assert story[-1].data == "[ERROR] the server was stopped while this job ran"
        assert len({message.document["run"] for message in story[:-1]}) == 1


def test_a_follower_that_saw_the_last_progress_gets_the_end(tmp_path: Path) -> None:
    job_id = kill_during_job(tmp_path)
    with Served(tmp_path) as served:
        assert [message.event for message in served.messages(job_id, after=3)] == ["run_finished", None]


def test_a_job_queued_at_a_kill_has_failed_too(tmp_path: Path) -> None:
    job_id = kill_during_job(tmp_path)
    with Served(tmp_path) as served:
        (queued,) = (job for job in served.jobs.all() if job.id != job_id)
        snapshot = served.snapshot(queued.id)
        assert (snapshot["status"], snapshot["started_at"]) == ("failed", None)
        assert [message.event for message in served.messages(queued.id)] == ["run_finished", None]


def test_an_interrupted_job_is_retried(tmp_path: Path) -> None:
    job_id = kill_during_job(tmp_path)
    with Served(tmp_path) as served:
        answer = served.ask("POST", f"/v1/jobs/{job_id}/retry")
        assert answer.status == 202
        snapshot = served.until_over(answer.document["job_id"])
        assert (snapshot["status"], snapshot["retry_of"]) == ("completed", job_id)


def test_the_end_of_an_interrupted_job_stays_the_same_at_the_next_restart(tmp_path: Path) -> None:
    job_id = kill_during_job(tmp_path)
    with Served(tmp_path) as served:
        first = served.snapshot(job_id), served.messages(job_id)
    with Served(tmp_path) as served:
        assert (served.snapshot(job_id), served.messages(job_id)) == first


def test_a_job_of_another_living_server_is_left_alone(tmp_path: Path) -> None:
    """Two servers with one database do not end each other's jobs."""
    job_id = kill_during_job(tmp_path)
    parent = tag().replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
    with sqlite3.connect(tmp_path / "state.db") as database:
        rows = database.execute("SELECT id, snapshot FROM jobs").fetchall()
        for row_id, snapshot in rows:
            owned = snapshot.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
            database.execute("UPDATE jobs SET snapshot = ? WHERE id = ?", (owned, row_id))
    database.close()
    assert parent != tag()
    with Served(tmp_path) as served:
        assert served.ask("GET", f"/v1/jobs/{job_id}").status == 404
        assert served.jobs.all() == []


def test_a_cleared_job_does_not_reappear(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        served.until_over(served.submit())
        served.ask("POST", "/v1/jobs/clear")
    with Served(tmp_path) as served:
        assert served.jobs.all() == []


def test_a_job_cleared_while_it_ends_does_not_reappear(tmp_path: Path) -> None:
    history = History(tmp_path / "state.db")
    jobs = Jobs(FakeEngine(), JobStore(history), parallel=1)
    job, _ = jobs.submit("model_download", "m")
    assert isinstance(job, Job)
    assert job.finished.wait(IN_TIME)
    until(lambda: jobs.counts()["running"] == 0)
    jobs.clear()
    jobs._store_ended(job)  # by the thread of the job, which comes second
    assert history.jobs() == []
    jobs.stop()
    history.close()


def test_a_job_cancelled_by_stopping_the_server_is_cancelled_after_the_restart(tmp_path: Path) -> None:
    def wait_for_cancel(order: Order, cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        while not cancel.cancelled:
            time.sleep(0.002)
        yield RunFinished("cancelled", 130, 0.0, (), ErrorInfo("cancelled", "cancelled", ""))

    with Served(tmp_path, FakeEngine(wait_for_cancel), parallel=1) as served:
        jobs = [served.submit("m"), served.submit("n")]
    with Served(tmp_path) as served:
        assert [served.snapshot(job_id)["status"] for job_id in jobs] == ["cancelled", "cancelled"]
        assert [served.messages(job_id)[-1].data for job_id in jobs] == ["[CANCELLED]", "[CANCELLED]"]


# Retention


class FakeClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def run(jobs: Jobs, model: str = "m") -> str:
    job, _ = jobs.submit("model_download", model)
    until(lambda: isinstance(jobs._jobs.get(job.id, PastJob({})), PastJob), "the end of a job")
    return job.id


def test_only_the_newest_jobs_are_kept(tmp_path: Path) -> None:
    history = History(tmp_path / "state.db")
    jobs = Jobs(FakeEngine(), JobStore(history), parallel=1, now=FakeClock())
    ids = [run(jobs) for _ in range(MAX_ENDED + 3)]
    until(lambda: len(history.jobs()) == MAX_ENDED, "the oldest ones to be forgotten")
    assert [job.id for job in jobs.all()] == ids[3:]
    assert {row.id for row in history.jobs()} == set(ids[3:])
    assert history.job_events(ids[0]) == []
    jobs.stop()
    history.close()


def test_old_jobs_are_forgotten(tmp_path: Path) -> None:
    clock = FakeClock()
    history = History(tmp_path / "state.db")
    jobs = Jobs(FakeEngine(), JobStore(history), parallel=1, now=clock)
    old = run(jobs)
    clock.now += timedelta(days=MAX_ENDED_DAYS)
    new = run(jobs)
    until(lambda: old not in {row.id for row in history.jobs()}, "the old one to be forgotten")
    assert [job.id for job in jobs.all()] == [new]
    jobs.stop()
    clock.now += timedelta(days=MAX_ENDED_DAYS)
    again = Jobs(FakeEngine(), JobStore(history), parallel=1, now=clock)
    assert again.all() == []
    assert old not in {row.id for row in history.jobs()}
    again.stop()
    history.close()


# Sick databases


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_database_does_not_stop_jobs(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.db").write_bytes(content)
    with Served(tmp_path) as served:
        job_id = served.submit()
        assert served.until_over(job_id)["status"] == "completed"
        assert served.messages(job_id)[-1].data == "[DONE]"


def test_without_a_database_jobs_are_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    engine = FakeEngine()
    with Served(tmp_path, engine) as served:
        job_id = served.submit()
        assert served.until_over(job_id)["status"] == "completed"
        until(lambda: engine.looked_after, "the thread of the job, which would have stored it by then")
        assert isinstance(served.jobs.get(job_id), Job)
        assert [message.event for message in served.messages(job_id)] == ["run_started", "run_finished", None]
        assert "not a regular file" in served.ask("GET", "/v1/status").document["history_notice"]
        assert served.ask("POST", "/v1/jobs/clear").document == {"cleared": [job_id]}


def test_stopping_does_not_wait_for_a_locked_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_store, "CLOSE_SECONDS", 0.5)
    with Served(tmp_path) as served:
        served.until_over(served.submit())
        until(lambda: isinstance(served.jobs.all()[0], PastJob))
        lock = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        job_id = served.submit("n")
        assert served.until_over(job_id)["status"] == "completed"
        served._server.should_exit = True
        served._thread.join(IN_TIME)
        assert not served._thread.is_alive()
        lock.execute("ROLLBACK")
        lock.close()

"""Stored jobs come from a file that any program may have written, so they are validated."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelfetch.engine.stream import Record
from modelfetch.history import History, JobEventRow, JobRow
from modelfetch.server.job import Job
from modelfetch.server.job_queue import Jobs
from modelfetch.server.job_store import JobStore
from tests.patience import HELD, IN_TIME
from tests.server.running import FakeEngine, Served


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history of a server with one job."""
    root = tmp_path_factory.mktemp("stored")
    with Served(root) as served:
        served.until_over(served.submit())
    return root / "state.db"


@pytest.fixture
def kept(tmp_path: Path, stored: Path) -> JobRow:
    """A job as a server stores it; the history has no other."""
    shutil.copy(stored, tmp_path / "state.db")
    with History(tmp_path / "state.db") as history:
        [row] = history.jobs()
        return row


CHANGES: dict[str, dict[str, Any]] = {
    "another id": {"job_id": "../../etc/passwd"},
    "no operation of ours": {"operation": "rm"},
    "a model that is a list": {"model": []},
    "a time that is none": {"finished_at": "yesterday"},
    "a time of no zone": {"created_at": "2026-11-20T06:00:00"},
    "ended, and running": {"status": "running"},
    "an endless exit code": {"exit_code": 10**30},
    "files that are none": {"files": [1]},
    "an error without a message": {"error": {"code": "x"}},
}


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_invalid_stored_job_is_skipped(tmp_path: Path, kept: JobRow, change: dict[str, Any]) -> None:
    forged = replace(kept, id="job-forged", snapshot=kept.snapshot | {"job_id": "job-forged"} | change)
    with History(tmp_path / "state.db") as history:
        history.write(jobs=[forged], job_events=[JobEventRow(kept.id, 90, {"n": "x"})])
    with Served(tmp_path) as served:
        assert [job["job_id"] for job in served.ask("GET", "/v1/jobs").document["jobs"]] == [kept.id]
        assert served.messages(kept.id)[-1].data == "[DONE]"


def test_a_job_without_an_end_and_with_an_invalid_log_gets_an_end(tmp_path: Path, kept: JobRow) -> None:
    open_ = {"status": "running", "finished_at": None, "owner": ""}
    with History(tmp_path / "state.db") as history:
        history.write(
            jobs=[replace(kept, finished_at=None, snapshot=kept.snapshot | open_)],
            job_events=[JobEventRow(kept.id, 90, {"n": 90, "event": "progress"})],
        )
    with Served(tmp_path) as served:
        assert served.snapshot(kept.id)["error"]["code"] == "interrupted"


class Ending:
    """A reporter that stores the job when its run has ended, and lets it end when a test says so."""

    def __init__(self, job_store: JobStore) -> None:
        self.is_stored = threading.Event()
        self.go = threading.Event()
        self._job_store = job_store

    def report(self, record: Record) -> None:
        """Do nothing."""

    def close(self) -> None:
        self._job_store.flush()
        self.is_stored.set()
        self.go.wait(HELD)


def test_the_end_of_a_job_is_stored_though_its_thread_comes_late(tmp_path: Path) -> None:
    with History(tmp_path / "state.db") as history:
        job_store = JobStore(history)
        ending = Ending(job_store)
        jobs = Jobs(FakeEngine(told=(ending,)), job_store, parallel=1)
        job, _ = jobs.submit("model_download", "m")
        assert isinstance(job, Job)
        assert ending.is_stored.wait(IN_TIME)
        with jobs._lock:  # its thread cannot report the end
            ending.go.set()
            assert job.finished.wait(IN_TIME)
            jobs.stop()
        [stored] = job_store.load(datetime.now(UTC))
    assert (stored["job_id"], stored["status"]) == (job.id, "completed")

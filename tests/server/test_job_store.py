"""Stored jobs come from a file that any program may have written, so they are validated."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfetch.history import History, JobEventRow, JobRow
from tests.server.running import Served


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

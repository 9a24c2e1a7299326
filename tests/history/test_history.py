"""Rows that were written can be read, until they are too old."""

from __future__ import annotations

import stat
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelfetch.history import CidRow, EventRow, FileRow, History, JobEventRow, JobRow, schema
from modelfetch.history.schema import TABLES, decode, encode, select
from tests.history.material import NOW, attempt, held_by_another, hit, query, rows, run

FILE = FileRow("r1", "m", "a.bin", "completed", "mirror a.example", 1000, 900, 1.25, "", NOW)
CID = CidRow("bafkreia", "a" * 64, "m", "a.bin", NOW, 1, 0)
JOB = JobRow(
    "job-1", "model_download", "m", "failed", NOW, NOW, None, "job-0", {"code": "disk"}, {"files": [1, 2]}
)


@pytest.mark.parametrize(
    "row",
    [
        run(finished_at=None, exit_code=None, models=("m", "näme"), error="\ud800 odd"),
        FILE,
        attempt(first_byte=None),
        CID,
        EventRow("r1", 3, {"event": "file_kept", "at": "2026-11-20T06:00:00.000Z", "human": "📄"}),
        JOB,
        replace(JOB, error=None),
        JobEventRow("job-1", 0, {"n": 0}),
    ],
)
def test_every_row_comes_back_as_it_was(row: Any) -> None:
    expected = replace(row, error="\\ud800 odd") if getattr(row, "error", "") == "\ud800 odd" else row
    assert decode(type(row), encode(row)) == expected


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (("r", 1, '{"n": NaN}'), "NaN is no JSON"),
        (("r", 1, '{"n": -Infinity}'), "-Infinity is no JSON"),
        (("r", 1, '{"n": 1e999}'), "not a number that JSON has"),
        *((("r", number, "{}"), "not a row of") for number in (-1, float("inf"), 1 << 63, "1")),
        *(((text, 1, "{}"), "not a row of") for text in (None, b"r")),
        *((("r", 1, text), "not a row of") for text in ("[]", None)),
    ],
)
def test_values_that_were_never_written_are_no_row(values: tuple[object, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(EventRow, values)


def test_the_columns_of_each_table_are_the_fields_of_its_rows(history: History, path: Path) -> None:
    history.write(runs=[run()])
    history.close()
    for kind, table in TABLES.items():
        columns = [name for _, name, *_ in query(path, f"PRAGMA table_info({table})")]
        assert columns == [field.name for field in fields(kind)]


def test_reading_creates_nothing(history: History, path: Path) -> None:
    assert (history.runs(), history.attempts(), history.jobs()) == ([], [], [])
    assert (history.events("r1"), history.job_events("j")) == ([], [])
    assert history.health(NOW) == {}
    assert history.reset() == 0
    assert history.notice == ""
    assert not path.parent.exists()


def test_reading_leaves_no_trace_beside_the_file(history: History, path: Path) -> None:
    history.write(runs=[run()])
    history.close()
    before = path.parent.stat().st_mtime_ns, path.stat().st_mtime_ns
    assert [row.run for row in history.runs()] == ["r1"]
    assert (path.parent.stat().st_mtime_ns, path.stat().st_mtime_ns) == before
    assert [entry.name for entry in path.parent.iterdir()] == ["state.db"]


def test_what_is_written_can_be_read_at_once_and_by_others(history: History, path: Path) -> None:
    history.write(runs=[run()], attempts=[attempt(), hit()])
    assert history.runs() == [run()]
    with History(path) as other:
        assert other.attempts() == [attempt(), hit()]


def test_only_the_owner_may_read_it(history: History, path: Path) -> None:
    history.write(runs=[run()])
    files = [entry for entry in path.parent.iterdir() if entry.name.startswith("state.db")]
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in files} == {0o600}


def test_a_write_is_one_transaction_of_everything(history: History, path: Path) -> None:
    history.write(
        runs=[run()],
        files=[FILE],
        attempts=[attempt()],
        cids=[CID],
        events=[EventRow("r1", 0, {"n": 0}), EventRow("r1", 2, {"n": 2})],
        jobs=[JOB],
        job_events=[JobEventRow("job-1", n, {"n": n}) for n in range(3)],
    )
    assert (history.runs(), rows(path, FileRow), history.attempts(run="r1")) == ([run()], [FILE], [attempt()])
    assert (rows(path, CidRow), history.jobs()) == ([CID], [JOB])
    assert history.events("r1") == [{"n": 0}, {"n": 2}]
    assert history.job_events("job-1", after=0) == [{"n": 1}, {"n": 2}]
    assert history.attempts(run="other") == []


def test_a_run_that_ended_replaces_the_one_that_began(history: History) -> None:
    history.write(runs=[run(outcome="running", finished_at=None)], jobs=[JOB])
    history.write(runs=[run()], jobs=[replace(JOB, status="completed")])
    assert [row.outcome for row in history.runs()] == ["completed"]
    assert [row.status for row in history.jobs()] == ["completed"]


def test_attempts_are_never_merged(history: History) -> None:
    history.write(attempts=[attempt(), attempt()])
    history.write(attempts=[attempt()])
    assert history.attempts() == [attempt()] * 3


def test_counts_of_a_cid_are_added(history: History, path: Path) -> None:
    """Registering an address counts nothing; each attempt counts once."""
    history.write(cids=[replace(CID, successes=0), CID])
    history.write(cids=[replace(CID, successes=0, failures=2, sha256="b" * 64)])
    assert rows(path, CidRow) == [replace(CID, successes=1, failures=2, sha256="b" * 64)]


def test_runs_are_given_newest_first_by_name_by_age_and_by_number(history: History) -> None:
    history.write(runs=[run(f"{n}ab", started_at=NOW - timedelta(hours=n)) for n in (2, 1, 3)])
    assert [row.run for row in history.runs()] == ["1ab", "2ab", "3ab"]
    assert [row.run for row in history.runs(limit=2)] == ["1ab", "2ab"]
    assert [row.run for row in history.runs(since=NOW - timedelta(hours=2, minutes=5))] == ["1ab", "2ab"]
    assert [row.run for row in history.runs(name="3")] == ["3ab"]
    assert history.runs(name="*") == history.runs(), "no pattern of the caller is one"


def test_health_is_that_of_the_hosts(history: History) -> None:
    history.write(attempts=[hit(), attempt(), attempt(source="local", host="/somewhere")])
    assert list(history.health(NOW)) == [("mirror", "a.example")]


def test_old_rows_are_deleted_and_jobs_are_kept(path: Path) -> None:
    old = NOW - timedelta(days=8)
    with History(path, days=30) as before:
        before.write(
            runs=[run("old", started_at=old), run("new")],
            files=[replace(FILE, run="old", at=old), replace(FILE, run="new")],
            attempts=[attempt(started_at=old), attempt()],
            cids=[replace(CID, seen_at=old), replace(CID, cid="other")],
            events=[EventRow("old", 0, {}), EventRow("new", 0, {"n": 0})],
            jobs=[replace(JOB, created_at=old)],
        )
        assert len(before.runs()) == 2
    with History(path, days=7) as after:
        after.write(attempts=[attempt()])
        assert [row.run for row in after.runs()] == ["new"]
        assert (len(after.attempts()), [row.cid for row in rows(path, CidRow)]) == (2, ["other"])
        assert [row.run for row in rows(path, FileRow)] == ["new"]
        assert (after.events("old"), after.events("new")) == ([], [{"n": 0}])
        assert len(after.jobs()) == 1


def test_of_very_many_rows_the_newest_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"r{number}" for number in range(5)]
    with History(path) as before:
        before.write(
            runs=map(run, names),
            files=[replace(FILE, run=name) for name in names],
            attempts=[attempt(run=name) for name in names],
            cids=[replace(CID, cid=name) for name in names],
            events=[EventRow(name, 0, {}) for name in names],
            jobs=[replace(JOB, id=name) for name in names],
        )
        assert len(before.runs()) == 5
    monkeypatch.setattr(schema, "MAX_ROWS", 3)
    with History(path) as after:
        after.write(attempts=[attempt(run="r5")])
    monkeypatch.undo()
    with History(path) as left:
        assert {row.run for row in left.runs()} == {"r2", "r3", "r4"}
        assert [row.run for row in rows(path, FileRow)] == ["r2", "r3", "r4"]
        assert [row.run for row in left.attempts()] == ["r3", "r4", "r5"]
        assert [row.cid for row in rows(path, CidRow)] == ["r2", "r3", "r4"]
        assert [len(left.events(name)) for name in names] == [0, 0, 1, 1, 1]
        assert len(left.jobs()) == 5


def test_zero_days_keep_nothing_and_delete_old_rows(path: Path) -> None:
    with History(path, days=0) as none:
        none.write(runs=[run()], attempts=[attempt()])
        assert not path.exists()
    with History(path) as some:
        some.write(runs=[run()], attempts=[attempt()])
    with History(path, days=0) as none:
        none.write(runs=[run("r2")], jobs=[JOB])
        assert (none.runs(), none.attempts(), none.jobs()) == ([], [], [JOB])


def test_reset_deletes_attempts_and_nothing_else(history: History) -> None:
    history.write(runs=[run()], attempts=[attempt(), hit()], jobs=[JOB])
    assert history.reset() == 2
    assert (history.attempts(), history.health(NOW)) == ([], {})
    assert (history.runs(), history.jobs()) == ([run()], [JOB])


def test_jobs_are_deleted_with_their_events(history: History) -> None:
    jobs = [JOB, replace(JOB, id="job-2")]
    history.write(jobs=jobs, job_events=[JobEventRow(job.id, 0, {"n": 0}) for job in jobs])
    history.forget_jobs([])
    history.forget_jobs(["job-1", "no such job"])
    assert [row.id for row in history.jobs()] == ["job-2"]
    assert (history.job_events("job-1"), history.job_events("job-2")) == ([], [{"n": 0}])


def test_a_deleted_job_that_was_not_yet_written_is_not_written_later(history: History, path: Path) -> None:
    jobs = [JOB, replace(JOB, id="job-2")]
    history.write(runs=[run()])
    with held_by_another(path):
        history.write(jobs=jobs, job_events=[JobEventRow(job.id, 0, {"n": 0}) for job in jobs], wait=0.0)
        history.write(attempts=[attempt()], wait=0.0)
    history.forget_jobs(["job-1"])
    history.write(runs=[run("r2")])
    assert [row.id for row in history.jobs()] == ["job-2"]
    assert (history.job_events("job-1"), history.job_events("job-2")) == ([], [{"n": 0}])
    assert len(history.attempts()) == 1


def test_times_of_any_zone_are_kept_to_the_millisecond_in_utc(history: History) -> None:
    at = datetime.fromisoformat("2999-01-01T01:00:00.123999+02:00")
    history.write(runs=[run(started_at=at)])
    assert history.runs()[0].started_at == datetime(2998, 12, 31, 23, 0, 0, 123_000, UTC)


def test_a_history_may_be_used_again_after_it_was_closed(history: History) -> None:
    history.write(attempts=[attempt()])
    history.close()
    history.close()
    history.write(attempts=[attempt()])
    assert len(history.attempts()) == 2


def test_conditions_without_a_value_are_left_out() -> None:
    statement, values = select(type(FILE), {"run = ?": "r", "at > ?": None}, "at", 3)
    assert statement == "SELECT * FROM files WHERE run = ? ORDER BY at LIMIT 3"
    assert values == ["r"]


def test_a_hurried_close_syncs_nothing_and_leaves_the_log(path: Path) -> None:
    """After Ctrl-C the user waits, and each sync takes time on a slow disk."""
    with History(path) as history:
        history.write(runs=[run("before")])
    with History(path) as cancelled:
        cancelled.hurry()
        cancelled.write(runs=[run("cancelled")])
    log = path.with_name("state.db-wal")
    assert log.stat().st_size > 0, "folding it in takes two syncs"
    with History(path) as after:
        assert {row.run for row in after.runs()} == {"before", "cancelled"}
        after.write(runs=[run("after")])
    assert not log.exists()
    with History(path) as last:
        assert {row.run for row in last.runs()} == {"before", "cancelled", "after"}

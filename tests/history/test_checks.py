"""The checks of pins: a failed one keeps what is known, and files of the first version gain the table."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelfetch.history import CheckRow, History, RunRow, schema

NOW = datetime(2026, 11, 28, 6, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
FOUND = CheckRow("hf:org/repo@main", "a" * 64, NOW, True, "c0ffee", None)
FAILED = CheckRow("hf:org/repo@main", "a" * 64, None, False, "", LATER, "cannot resolve host")


def first_version(path: Path) -> None:
    """Write a file as the first version did, with one run."""
    with sqlite3.connect(path) as connection:
        for statement in schema._statements("", 0, 1):
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        schema.insert(connection, [RunRow("r", "ensure", ("m",), NOW, None, "running", None, 0, "")])
    connection.close()


def test_a_failed_check_keeps_what_the_last_successful_one_found(tmp_path: Path) -> None:
    history = History(tmp_path / "state.db")
    history.write(checks=[FOUND])
    history.write(checks=[FAILED])
    (row,) = history.checks()
    assert (row.checked_at, row.moved, row.revision) == (NOW, True, "c0ffee")
    assert (row.failed_at, row.error) == (LATER, "cannot resolve host")


def test_a_successful_check_ends_the_failure(tmp_path: Path) -> None:
    history = History(tmp_path / "state.db")
    history.write(checks=[FAILED])
    history.write(checks=[FOUND])
    assert history.checks() == [FOUND]


def test_checks_are_kept_without_a_history_of_runs(tmp_path: Path) -> None:
    history = History(tmp_path / "state.db", days=0)
    history.write(checks=[FOUND])
    history.close()
    assert History(tmp_path / "state.db").checks() == [FOUND]


def test_a_file_of_the_first_version_is_read_and_gains_the_table(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    first_version(path)
    with History(path) as history:
        assert history.checks() == []
        assert len(history.runs()) == 1
        history.write(checks=[FOUND])
        assert history.checks() == [FOUND]
        assert [row.run for row in history.runs()] == ["r"]
        assert history.notice == ""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    connection.close()
    assert not list(tmp_path.glob("*.damaged*"))


def test_the_oldest_checks_are_deleted(tmp_path: Path) -> None:
    old = datetime.now(UTC) - timedelta(days=schema.CHECK_DAYS + 1)
    history = History(tmp_path / "state.db")
    history.write(checks=[CheckRow("hf:a/b", "b" * 64, old, False, "", None)])
    assert history.checks() == []

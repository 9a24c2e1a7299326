"""The command ``history``: how many runs it shows, and that it says when there are more."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelfetch.cli.history import history
from modelfetch.history import FILE, History, RunRow


@pytest.mark.parametrize(("runs", "limit", "shown"), [(20, None, 20), (21, None, 20), (3, 2, 2), (3, 3, 3)])
def test_a_note_says_that_there_are_more_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: int, limit: int | None, shown: int
) -> None:
    now = datetime.now(UTC)
    rows = [
        RunRow(f"{n:012}", "ensure", ("m",), now - timedelta(seconds=n), now, "completed", 0, 1, "")
        for n in range(runs)
    ]
    with History(tmp_path / FILE) as remembered:
        remembered.write(runs=rows)
    history(limit=limit, cache_dir=str(tmp_path), json=True)
    told = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in told["runs"]] == [f"{n:012}" for n in range(shown)]
    assert told["limit"] == shown
    assert (f"newest {shown}" in told["note"] and "--limit" in told["note"]) == (runs > shown)
    history(limit=limit, cache_dir=str(tmp_path))
    assert ("note: showing the newest" in capsys.readouterr().err) == (runs > shown)

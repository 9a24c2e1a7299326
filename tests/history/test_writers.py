"""Nothing is lost when many processes write at once; `python -m tests.campaign history` has more of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from modelfetch.history import History
from tests.history.material import query
from tests.history.writers import Outcome, write_together

PROCESSES, RECORDS = 4, 50


@pytest.mark.slow
def test_many_writers_lose_nothing(path: Path) -> None:
    """They also create the file at the same time."""
    outcomes = write_together(path, PROCESSES, RECORDS)
    assert outcomes == [Outcome(0, "\n")] * PROCESSES
    with History(path) as history:
        counted = Counter(row.run for row in history.attempts())
        assert counted == {f"w{n}": RECORDS for n in range(PROCESSES)}
        assert {row.fetched for row in history.runs()} == {RECORDS - 1}
        assert len(history.events("w0")) == RECORDS
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    # The last one to close the file removes the log. Of two at the same moment neither is the last.
    assert {entry.name for entry in path.parent.iterdir()} <= {"state.db", "state.db-wal", "state.db-shm"}

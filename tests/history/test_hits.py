"""Runs that found everything there, as rows: a bounded number of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

from modelfetch.history.hits import MOST, attempts_of
from modelfetch.store import Hit, Receipt, ReceiptFile, Stamp

THEN = datetime(2026, 11, 20, tzinfo=UTC)
FILES = tuple(ReceiptFile(f"{number}.bin", "0" * 64, Stamp(1, 1, 1), THEN, "x y") for number in range(3))
RECEIPT = Receipt("m", "1", "0" * 64, FILES)


def test_each_file_was_found_by_each_run_in_their_order() -> None:
    hits = [Hit(THEN + timedelta(days=day), "m", "1") for day in range(3)]
    rows = list(attempts_of(hits, [RECEIPT], THEN + timedelta(days=1)))
    assert sorted(row.file for row in rows) == sorted(file.path for file in FILES * 2)
    assert [row.started_at.day for row in rows] == [21] * 3 + [22] * 3
    assert len({row.run for row in rows}) == 2


def test_of_too_many_the_latest_are_told() -> None:
    """Thousands of runs of a model with thousands of files would be looked at for minutes."""
    hits = [Hit(THEN + timedelta(seconds=second), "m", "1") for second in range(MOST // 3 + 2)]
    rows = attempts_of(hits, [RECEIPT], THEN)
    first = next(iter(rows))
    assert first.started_at > THEN
    assert 1 + sum(1 for _ in islice(rows, MOST)) == MOST

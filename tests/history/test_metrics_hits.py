"""Runs that found every file in the cache, as a bounded number of hits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from modelfetch.history.metrics import MAX_HIT_ROWS, attempts_of
from modelfetch.store import Hit, Receipt, ReceiptFile, Stamp

THEN = datetime(2026, 11, 20, 6, tzinfo=UTC)


def receipt(label: str, *paths: str) -> Receipt:
    files = (ReceiptFile(path, "0" * 64, Stamp(7, 0, 0), THEN, "mirror m.example") for path in paths)
    return Receipt("m", "1", "0" * 64, tuple(files), label=label)


MANY = receipt("1", *(f"{number}.bin" for number in range(3)))


def test_a_hit_is_of_the_files_of_its_directory_where_two_models_claim_a_version() -> None:
    receipts = [receipt("1", "a"), receipt("1+0123456789ab", "b", "c")]
    hits = [Hit(THEN, "m", "1"), Hit(THEN, "m", "1+0123456789ab"), Hit(THEN, "m", "2")]
    found = {(row.run, row.file) for row in attempts_of(hits, receipts, THEN)}
    runs = [f"warm-20261120060000-{number}" for number in (0, 1, 1)]
    assert found == set(zip(runs, "abc", strict=True))


def test_each_file_was_found_by_each_run_in_their_order() -> None:
    hits = [Hit(THEN + timedelta(days=day), "m", "1") for day in range(3)]
    rows = list(attempts_of(hits, [MANY], THEN + timedelta(days=1)))
    assert sorted(row.file for row in rows) == sorted(file.path for file in MANY.files * 2)
    assert [row.started_at.day for row in rows] == [21] * 3 + [22] * 3
    assert len({row.run for row in rows}) == 2


@pytest.mark.slow
def test_the_newest_of_too_many_hits_are_kept() -> None:
    """Thousands of runs of a model with thousands of files would take minutes."""
    hits = [Hit(THEN + timedelta(seconds=second), "m", "1") for second in range(MAX_HIT_ROWS // 3 + 2)]
    rows = attempts_of(hits, [MANY], THEN)
    first = next(iter(rows))
    assert first.started_at > THEN
    assert 1 + sum(1 for _ in islice(rows, MAX_HIT_ROWS)) == MAX_HIT_ROWS

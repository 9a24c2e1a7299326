"""Runs that found everything there, as attempts."""

from __future__ import annotations

from datetime import UTC, datetime

from modelfetch.history.hits import attempts_of
from modelfetch.store import Hit, Receipt
from modelfetch.store.receipt import ReceiptFile, Stamp

THEN = datetime(2026, 11, 20, 6, tzinfo=UTC)


def receipt(label: str, *paths: str) -> Receipt:
    files = (ReceiptFile(path, "0" * 64, Stamp(7, 0, 0), THEN, "mirror m.example") for path in paths)
    return Receipt("m", "1", "0" * 64, tuple(files), label=label)


def test_a_hit_is_of_the_files_of_its_directory_where_two_models_claim_a_version() -> None:
    receipts = [receipt("1", "a"), receipt("1+0123456789ab", "b", "c")]
    hits = [Hit(THEN, "m", "1"), Hit(THEN, "m", "1+0123456789ab"), Hit(THEN, "m", "2")]
    found = [(row.run, row.file) for row in attempts_of(hits, receipts, THEN)]
    runs = [f"warm-20261120060000-{number}" for number in (0, 1, 1)]
    assert found == list(zip(runs, "abc", strict=True))

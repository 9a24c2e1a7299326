"""Runs that found everything there, as attempts: a hit for each file, as for runs that did more. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Final

from modelfetch.history.rows import CACHE, AttemptRow
from modelfetch.store import Hit, Receipt, ReceiptFile

MOST: Final = 100_000
"""Rows made of such runs at most, the latest: thousands of runs may have found thousands of files."""


def attempts_of(hits: Iterable[Hit], receipts: Iterable[Receipt], since: datetime) -> Iterator[AttemptRow]:
    """Say of each file that it was in the cache.

    Args:
        hits: Runs that found a model there.
        receipts: Of what is present: they know the files. Models that are gone are passed over.
        since: Only those that were then or later.
    """
    present = {(receipt.name, receipt.label or receipt.version): receipt.files for receipt in receipts}
    newest = (
        _attempt(hit, number, file)
        for number, hit in reversed(list(enumerate(hits)))
        for file in (present.get((hit.model, hit.directory), ()) if hit.at >= since else ())
    )
    return reversed(list(islice(newest, MOST)))


def _attempt(hit: Hit, number: int, file: ReceiptFile) -> AttemptRow:
    return AttemptRow(
        run=f"warm-{hit.at:%Y%m%d%H%M%S}-{number}",
        model=hit.model,
        file=file.path,
        source=CACHE,
        host="",
        attempt=1,
        started_at=hit.at,
        first_byte=None,
        seconds=0.0,
        resumed=0,
        received=0,
        size=file.stamp.size,
        outcome="hit",
        fault="",
        message="",
    )

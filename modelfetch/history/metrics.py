"""What attempts add up to: records, summary, health, and the text for Prometheus. Pure.

The command ``metrics`` and the server give out exactly what these functions return.

Runs that found everything there, as attempts: a hit for each file, as for runs that did more. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from modelfetch.history.health import status_of
from modelfetch.history.rows import CACHE, EXHAUSTED, AttemptRow, RunRow
from modelfetch.history.schema import stamp
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.store import Hit, Receipt, ReceiptFile

KINDS: Final = ("local", "peer", "mirror", "ipfs", "huggingface", "url")
"""Every kind of source; each has its entry whether it was asked or not."""

RECORD_FIELDS: Final = (
    *("timestamp", "modelType", "model", "file", "layer", "gateway", "host", "attempt", "status"),
    *("latency_ms", "first_byte_ms", "bytes_downloaded", "bytes_total", "bytes_resumed"),
    *("error_type", "error_message", "run"),
)
"""Every key a record may have, in order."""


def metrics_records(rows: Iterable[AttemptRow]) -> list[dict[str, Any]]:
    """One record per attempt; a key that would say nothing is left out."""
    return [_record(row) for row in rows]


def _record(row: AttemptRow) -> dict[str, Any]:
    is_exhausted = row.fault == EXHAUSTED
    values = {
        "timestamp": stamp(row.started_at + timedelta(seconds=row.seconds)),
        "modelType": row.kind,
        "model": row.model,
        "file": row.file,
        "layer": row.source or None,
        "gateway": row.host if row.source == "ipfs" else None,
        "host": row.host or None,
        "attempt": None if is_exhausted else row.attempt,
        "status": EXHAUSTED if is_exhausted else row.outcome,
        "latency_ms": _ms(row.seconds),
        "first_byte_ms": None if row.first_byte is None else _ms(row.first_byte),
        "bytes_downloaded": row.received,
        "bytes_total": row.size,
        "bytes_resumed": row.resumed,
        "error_type": None if is_exhausted else row.fault or None,
        "error_message": row.message or None,
        "run": row.run,
    }
    return {name: values[name] for name in RECORD_FIELDS if values[name] is not None}


@dataclass(slots=True)
class _Tally:
    """The attempts of one kind, or of one host."""

    success: int = 0
    error: int = 0
    seconds: list[float] = field(default_factory=list)
    """How long each success took."""

    def add(self, row: AttemptRow) -> None:
        self.success += row.outcome == "success"
        self.error += row.outcome == "error"
        if row.outcome == "success":
            self.seconds.append(row.seconds)

    @property
    def share(self) -> float | None:
        judged = self.success + self.error
        return self.success / judged if judged else None

    @property
    def latency(self) -> int:
        """Mean milliseconds of the successes; 0 without any."""
        return _ms(fmean(self.seconds)) if self.seconds else 0

    def summary(self) -> dict[str, Any]:
        return {"success": self.success, "error": self.error, "avg_latency": self.latency}


def summary(rows: Sequence[AttemptRow]) -> dict[str, Any]:
    """Count attempts: in all, hits, and successes and errors of every kind.

    ``avg_latency`` is the mean of the successes in whole milliseconds. ``ipfs`` has the same for each gateway
    under ``gateways``, with its ``success_rate`` in percent.
    """
    kinds, gateways = _by_kind(rows), _tallies((row.host, row) for row in rows if row.source == "ipfs")
    counted: dict[str, Any] = {
        "total": len(rows),
        "cache_hits": sum(row.outcome == "hit" for row in rows),
        "cancelled": sum(row.outcome == "cancelled" for row in rows),
        EXHAUSTED: sum(row.fault == EXHAUSTED for row in rows),
    }
    counted |= {kind: tally.summary() for kind, tally in kinds.items()}
    counted["ipfs"]["gateways"] = {
        host: {**tally.summary(), "success_rate": _percent(tally.share)} for host, tally in gateways.items()
    }
    return counted


def health(rows: Sequence[AttemptRow]) -> dict[str, Any]:
    """Judge every kind: the words and limits are those of :mod:`modelfetch.history.health`.

    ``success_rate`` and ``hit_rate`` are percent with two decimals, always numbers. ``hit_rate`` is the share
    of files asked for that were in this cache already, however many attempts the others took.
    """
    asked = {(row.run, row.model, row.file) for row in rows}
    hits = {(row.run, row.model, row.file) for row in rows if row.outcome == "hit"}
    kinds = {
        kind: {
            "status": status_of(tally.share),
            "success_rate": _percent(tally.share),
            "avg_latency_ms": tally.latency,
        }
        for kind, tally in _by_kind(rows).items()
    }
    return {**kinds, CACHE: {"hit_rate": _percent(len(hits) / len(asked) if asked else None)}}


def _by_kind(rows: Iterable[AttemptRow]) -> dict[str, _Tally]:
    found = _tallies((row.source, row) for row in rows)
    return {kind: found.get(kind, _Tally()) for kind in KINDS}


def _tallies(keyed: Iterable[tuple[str, AttemptRow]]) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = {}
    for key, row in keyed:
        tallies.setdefault(key, _Tally()).add(row)
    return dict(sorted(tallies.items()))


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def _percent(share: float | None) -> float:
    return round(100 * (share or 0.0), 2)


# Prometheus

_Labels = tuple[tuple[str, str], ...]


def prometheus(rows: Sequence[AttemptRow], runs: Sequence[RunRow] = ()) -> str:
    """The same figures in the text format of Prometheus, version 0.0.4.

    All are gauges: they count what is remembered, from which old rows fall out, so they may go down.
    """
    judged = [row for row in rows if row.source and row.source != CACHE]
    won = [row for row in judged if row.outcome == "success"]
    first = [row for row in judged if row.first_byte is not None]
    families = [
        _family(
            "attempts",
            "Attempts by source and outcome.",
            ((_labels(row, outcome=row.outcome), 1) for row in judged),
        ),
        _family(
            "faults",
            "Failed attempts by source and fault.",
            ((_labels(row, fault=row.fault), 1) for row in judged if row.outcome == "error"),
        ),
        _family(
            "received_bytes", "Bytes received by source.", ((_labels(row), row.received) for row in judged)
        ),
        _family(
            "success_seconds", "Seconds spent in successes.", ((_labels(row), row.seconds) for row in won)
        ),
        _family(
            "first_byte_seconds",
            "Seconds spent until first bytes.",
            ((_labels(row), row.first_byte or 0.0) for row in first),
        ),
        _family("first_bytes", "Attempts that had a first byte.", ((_labels(row), 1) for row in first)),
        _family(
            "cache_hits",
            "Files that were in the cache already.",
            (((), 1) for row in rows if row.outcome == "hit"),
            always=True,
        ),
        _family(
            "exhausted_files",
            "Files that had no source left.",
            (((), 1) for row in rows if row.fault == EXHAUSTED),
            always=True,
        ),
        _family(
            "runs",
            "Runs by operation and outcome.",
            (((("operation", run.operation), ("outcome", run.outcome)), 1) for run in runs),
        ),
    ]
    return "".join(line + "\n" for family in families for line in family)


def _labels(row: AttemptRow, **more: str) -> _Labels:
    return (("source", row.source), ("host", row.host), *more.items())


def _family(
    name: str, text: str, samples: Iterable[tuple[_Labels, float]], *, always: bool = False
) -> Iterator[str]:
    """One metric: its head, and a line for each set of labels; ``always`` says 0 when there is no sample."""
    sums: Mapping[_Labels, float] = _added(samples, always=always)
    yield f"# HELP modelfetch_{name} {text}"
    yield f"# TYPE modelfetch_{name} gauge"
    for labels, value in sorted(sums.items()):
        shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels)
        yield f"modelfetch_{name}{f'{{{shown}}}' if shown else ''} {value:.15g}"


def _added(samples: Iterable[tuple[_Labels, float]], *, always: bool) -> Mapping[_Labels, float]:
    sums: Counter[_Labels] = Counter()
    if always:
        sums[()] = 0
    for labels, value in samples:
        sums[labels] += value  # type: ignore[assignment]
    return sums


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


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

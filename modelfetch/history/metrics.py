"""Metrics: figures computed from the attempts of the history. Pure functions.

The command ``metrics`` and the server return exactly what these functions return:

* :func:`metrics_records`: one record per attempt;
* :func:`summary`: counts for each kind of source;
* :func:`health`: success rates for each kind of source;
* :func:`prometheus`: the same figures as text, for example
  ``modelfetch_attempts{source="mirror",host="m.example",outcome="success"} 12``.

A run that finds every file in the cache makes no attempts; :func:`attempts_of` turns it into one hit for each
file, so that it counts like a run that also fetched something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from modelfetch.history.health import status_of
from modelfetch.history.rows import EXHAUSTED, AttemptRow, RunRow
from modelfetch.history.schema import stamp
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.model.source_kinds import CACHE, SourceKind

if TYPE_CHECKING:
    from modelfetch.store import Hit, Receipt, ReceiptFile

KINDS: Final = tuple(kind.value for kind in SourceKind)
"""Every kind of source; each has an entry in the output, even without attempts."""

_RECORD: Final[dict[str, Callable[[AttemptRow], Any]]] = {
    "timestamp": lambda row: stamp(row.started_at + timedelta(seconds=row.seconds)),
    "modelType": lambda row: row.kind,
    "model": lambda row: row.model,
    "file": lambda row: row.file,
    "layer": lambda row: row.source or None,
    "gateway": lambda row: row.host if row.source == SourceKind.IPFS else None,
    "host": lambda row: row.host or None,
    "attempt": lambda row: None if _is_exhausted(row) else row.attempt,
    "status": lambda row: EXHAUSTED if _is_exhausted(row) else row.outcome,
    "latency_ms": lambda row: _ms(row.seconds),
    "first_byte_ms": lambda row: None if row.first_byte is None else _ms(row.first_byte),
    "bytes_downloaded": lambda row: row.received,
    "bytes_total": lambda row: row.size,
    "bytes_resumed": lambda row: row.resumed,
    "error_type": lambda row: None if _is_exhausted(row) else row.fault or None,
    "error_message": lambda row: row.message or None,
    "run": lambda row: row.run,
}
"""The keys of a record, in order, and how the value of each is computed; None leaves the key out."""

RECORD_FIELDS: Final = tuple(_RECORD)
"""Every key a record may have, in order: the columns of the CSV output."""


def metrics_records(rows: Iterable[AttemptRow]) -> list[dict[str, Any]]:
    """Return one record per attempt; a key without a value is left out."""
    return [_record(row) for row in rows]


def _record(row: AttemptRow) -> dict[str, Any]:
    return {key: value for key, compute in _RECORD.items() if (value := compute(row)) is not None}


def _is_exhausted(row: AttemptRow) -> bool:
    return row.fault == EXHAUSTED


@dataclass(slots=True)
class _Tally:
    """Counts of the attempts of one kind of source, or of one host."""

    success: int = 0
    error: int = 0
    seconds: list[float] = field(default_factory=list)
    """Duration of each success."""

    def add(self, row: AttemptRow) -> None:
        self.success += row.outcome == "success"
        self.error += row.outcome == "error"
        if row.outcome == "success":
            self.seconds.append(row.seconds)

    @property
    def share(self) -> float | None:
        """Share of success, 0 to 1; None without a verdict (hits and cancelled attempts have none)."""
        judged = self.success + self.error
        return self.success / judged if judged else None

    @property
    def latency(self) -> int:
        """Mean duration of the successes in milliseconds; 0 without a success."""
        return _ms(fmean(self.seconds)) if self.seconds else 0

    def summary(self) -> dict[str, Any]:
        return {"success": self.success, "error": self.error, "avg_latency": self.latency}


def summary(rows: Sequence[AttemptRow]) -> dict[str, Any]:
    """Count attempts: the total, cache hits, and successes and errors of every kind of source.

    ``avg_latency`` is the mean duration of the successes in whole milliseconds. ``ipfs`` also has these
    figures for each gateway under ``gateways``, with its ``success_rate`` in percent.
    """
    kinds, gateways = (
        _by_kind(rows),
        _tallies((row.host, row) for row in rows if row.source == SourceKind.IPFS),
    )
    counted: dict[str, Any] = {
        "total": len(rows),
        "cache_hits": sum(row.outcome == "hit" for row in rows),
        "cancelled": sum(row.outcome == "cancelled" for row in rows),
        EXHAUSTED: sum(_is_exhausted(row) for row in rows),
    }
    counted |= {kind: tally.summary() for kind, tally in kinds.items()}
    counted[SourceKind.IPFS]["gateways"] = {
        host: {**tally.summary(), "success_rate": _percent(tally.share)} for host, tally in gateways.items()
    }
    return counted


def health(rows: Sequence[AttemptRow]) -> dict[str, Any]:
    """Return the status of every kind of source; thresholds are those of :mod:`modelfetch.history.health`.

    ``success_rate`` and ``hit_rate`` are percent with two decimals, always numbers. ``hit_rate`` is the share
    of the requested files that were in the cache; a file counts once, however many attempts it took.
    """
    requested = {(row.run, row.model, row.file) for row in rows}
    hits = {(row.run, row.model, row.file) for row in rows if row.outcome == "hit"}
    kinds = {
        kind: {
            "status": status_of(tally.share),
            "success_rate": _percent(tally.share),
            "avg_latency_ms": tally.latency,
        }
        for kind, tally in _by_kind(rows).items()
    }
    return {**kinds, CACHE: {"hit_rate": _percent(len(hits) / len(requested) if requested else None)}}


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


# Prometheus text format


@dataclass(frozen=True, slots=True)
class _Family:
    """One metric: the rows that count, grouped by their labels, and one sum for each group."""

    name: str
    """Its name without the prefix ``modelfetch_``."""
    help: str
    counts: Callable[[Any], bool]
    """Whether a row counts."""
    labels: tuple[str, ...] = ()
    """Fields of a row that become labels. Without labels there is always one sample, which may be 0."""
    value: str = ""
    """Field of a row that is added up; empty counts the rows."""

    def lines(self, rows: Iterable[AttemptRow] | Iterable[RunRow]) -> Iterator[str]:
        """Yield the two header lines, then one line for each group, sorted by labels."""
        sums: dict[tuple[str, ...], float] = {} if self.labels else {(): 0}
        for row in rows:
            if self.counts(row):
                group = tuple([getattr(row, label) for label in self.labels])
                sums[group] = sums.get(group, 0) + (getattr(row, self.value) if self.value else 1)
        yield f"# HELP modelfetch_{self.name} {self.help}"
        # Old rows are deleted, so the sums may fall. A Prometheus counter must never fall; a gauge may.
        yield f"# TYPE modelfetch_{self.name} gauge"
        for group, value in sorted(sums.items()):
            # 15 significant digits: the most that a double always keeps (DBL_DIG of C), so 0.1 stays 0.1.
            yield f"modelfetch_{self.name}{_label_set(self.labels, group)} {value:.15g}"


def _label_set(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(label: str) -> str:
    r"""Escape backslash, line feed and quotation mark, as the text format requires."""
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _is_attempt(row: AttemptRow) -> bool:
    """Whether the row is an attempt of a source: neither a cache hit nor the row of an exhausted file."""
    return bool(row.source) and row.source != CACHE


def _failed(row: AttemptRow) -> bool:
    return row.outcome == "error" and _is_attempt(row)


def _succeeded(row: AttemptRow) -> bool:
    return row.outcome == "success" and _is_attempt(row)


def _had_first_byte(row: AttemptRow) -> bool:
    return row.first_byte is not None and _is_attempt(row)


def _is_hit(row: AttemptRow) -> bool:
    return row.outcome == "hit"


_SOURCE: Final = ("source", "host")

_ATTEMPT_FAMILIES: Final = (
    _Family("attempts", "Attempts by source and outcome.", _is_attempt, (*_SOURCE, "outcome")),
    _Family("faults", "Failed attempts by source and fault.", _failed, (*_SOURCE, "fault")),
    _Family("received_bytes", "Bytes received by source.", _is_attempt, _SOURCE, "received"),
    _Family("success_seconds", "Seconds spent in successes.", _succeeded, _SOURCE, "seconds"),
    _Family("first_byte_seconds", "Seconds spent until first bytes.", _had_first_byte, _SOURCE, "first_byte"),
    _Family("first_bytes", "Attempts that had a first byte.", _had_first_byte, _SOURCE),
    _Family("cache_hits", "Files that were in the cache already.", _is_hit),
    _Family("exhausted_files", "Files that had no source left.", _is_exhausted),
)
_RUN_FAMILY: Final = _Family(
    "runs", "Runs by operation and outcome.", lambda _run: True, ("operation", "outcome")
)


def prometheus(rows: Sequence[AttemptRow], runs: Sequence[RunRow] = ()) -> str:
    """Return the figures in the text format of Prometheus, version 0.0.4."""
    lines = [line for family in _ATTEMPT_FAMILIES for line in family.lines(rows)]
    lines += _RUN_FAMILY.lines(runs)
    return "".join(line + "\n" for line in lines)


# Runs that found every file in the cache

MAX_HIT_ROWS: Final = 100_000
"""Most rows made of such runs; the newest are kept. Thousands of runs with thousands of files each would
otherwise take minutes to count."""


def attempts_of(hits: Iterable[Hit], receipts: Iterable[Receipt], since: datetime) -> Iterator[AttemptRow]:
    """Return one hit for each file of the runs that found a whole model in the cache.

    Such a run is recorded as one line with its model, not as attempts in the database, so that it stays fast.

    Args:
        hits: Runs that found a model in the cache, oldest first.
        receipts: Receipts of the models that are present: they list the files. A hit of a model that is no
            longer present is skipped.
        since: Skip runs before this time.
    """
    present = {(receipt.name, receipt.label or receipt.version): receipt.files for receipt in receipts}
    newest = (
        _attempt(hit, number, file)
        for number, hit in reversed(list(enumerate(hits)))
        for file in (present.get((hit.model, hit.directory), ()) if hit.at >= since else ())
    )
    return reversed(list(islice(newest, MAX_HIT_ROWS)))


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

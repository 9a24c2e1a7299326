"""What earlier runs say about sources: the rows of the history, in the forms of the API. Pure.

The four below ``/api/metrics/downloads`` speak of the last day, as the programs that ask for them expect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from modelfetch.engine.record import timestamp
from modelfetch.history import AttemptRow, Health, RunRow

Host = tuple[str, str]
"""Kind of source, and host."""

MEMORY: Final = timedelta(days=7)
"""How far back the last failure of a source is looked for."""
WINDOW: Final = timedelta(hours=24)
"""How far back the summaries of the API look."""
PROMETHEUS: Final = "text/plain; version=0.0.4"
"""The media type of the text format of Prometheus."""


def runs(rows: Iterable[RunRow]) -> dict[str, Any]:
    """The history, the newest run first."""
    return {"runs": [_run(row) for row in rows]}


def _run(row: RunRow) -> dict[str, Any]:
    finished = None if row.finished_at is None else timestamp(row.finished_at)
    return asdict(row) | {"started_at": timestamp(row.started_at), "finished_at": finished}


def last_failures(attempts: Iterable[AttemptRow]) -> dict[Host, AttemptRow]:
    """The last attempt of each host that failed.

    Args:
        attempts: In the order in which they ended.
    """
    return {(row.source, row.host): row for row in attempts if row.outcome == "error"}


def sources(health: Mapping[Host, Health], failures: Mapping[Host, AttemptRow]) -> dict[str, Any]:
    """How each host fared, the ones asked most first."""
    ranked = sorted(health.items(), key=lambda item: -item[1].samples)
    return {"sources": [_source(*host, found, failures.get(host)) for host, found in ranked]}


def _source(kind: str, host: str, health: Health, failure: AttemptRow | None) -> dict[str, Any]:
    return {
        "source": kind,
        "host": host,
        "status": health.status,
        "success": round(health.share, 4),
        "first_byte": None if health.first_byte is None else round(health.first_byte, 3),
        "speed": None if health.speed is None else round(health.speed),
        "stalls": health.stalls,
        "samples": health.samples,
        "last": timestamp(health.last),
        "last_failure": None if failure is None else _failure(failure),
    }


def _failure(row: AttemptRow) -> dict[str, Any]:
    return {"at": timestamp(row.started_at), "fault": row.fault, "message": row.message}


def job_gauges(counts: Mapping[str, int]) -> str:
    """The jobs of the server, in the text format of Prometheus."""
    lines = [
        "# HELP modelfetch_jobs Jobs of this server that are not over.",
        "# TYPE modelfetch_jobs gauge",
        *(f'modelfetch_jobs{{status="{status}"}} {count}' for status, count in sorted(counts.items())),
    ]
    return "".join(f"{line}\n" for line in lines)

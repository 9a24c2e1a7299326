"""What was kept of jobs, looked at before it is believed: the database is a file like any other. Pure."""

from __future__ import annotations

from typing import Any, Literal

from modelfetch.engine.events import ErrorInfo, Status
from modelfetch.history.rows import JobRow
from modelfetch.model.decode import decode
from modelfetch.model.units import parse_time
from modelfetch.values import dataclass

_Operation = Literal["model_download", "worker_download", "model_verify"]
_OVER = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class _Left:
    source: str
    host: str


@dataclass(frozen=True, slots=True)
class _File:
    file: str
    size: int
    received: int
    speed: float | None
    eta: float | None
    percent: float
    phase: str
    status: Status
    source: str
    host: str
    attempt: int
    note: str
    left: _Left | None
    wait: float | None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What a snapshot holds (:mod:`modelfetch.server.snapshots`), as far as anything is done with it."""

    job_id: str
    operation: _Operation
    model: str
    title: str
    repair: bool
    status: Status
    phase: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    retry_of: str | None
    received: int
    size: int
    speed: float | None
    eta: float | None
    percent: float
    files_total: int
    files_done: int
    files: tuple[_File, ...]
    fetched: int
    error: ErrorInfo | None
    exit_code: int | None
    last_event_id: int | None
    human: str


def is_whole(row: JobRow) -> bool:
    """Whether a job was kept in the form that this program gives it."""
    try:
        kept = decode(_Snapshot, row.snapshot)
        times = [
            parse_time(at) for at in (kept.created_at, kept.started_at, kept.finished_at) if at is not None
        ]
    except (ValueError, TypeError):
        return False
    is_over = kept.finished_at is not None
    return bool(times) and kept.job_id == row.id and is_over == (kept.status in _OVER)


def is_event(event: dict[str, Any]) -> bool:
    """Whether an entry of a log has its number and its kind."""
    return type(event.get("n")) is int and isinstance(event.get("event"), str)

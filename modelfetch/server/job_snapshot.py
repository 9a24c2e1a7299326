"""A snapshot of a job as JSON, computed from its state and the state of its run. Pure.

The form is described in ``docs/reference/http-api.md``. Snapshots are absolute: each one replaces all before
it, so a client may miss any of them. Two variants have fewer files: :func:`brief` has none, for lists, and
:func:`limit_files` leaves out idle files of models with many, for streams.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from modelfetch.engine.record import rates, timestamp
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.source_kinds import CACHE, WITHOUT_NETWORK

if TYPE_CHECKING:
    from modelfetch.engine.events import Part, RunFinished, Status
    from modelfetch.engine.state import RunState
    from modelfetch.engine.totals import FileState, Phase
    from modelfetch.server.job_state import JobState, Order

Snapshot = dict[str, Any]
"""The form described in ``docs/reference/http-api.md``."""

MAX_SNAPSHOT_FILES: Final = 200
"""Files above which a stream of snapshots leaves out idle ones: 200 files are about 50 kB per snapshot."""

MAX_SOURCES: Final = 20
"""Sources in a snapshot at most, those with the most bytes."""

_STATUS: Final[dict[Phase, Status]] = {
    "queued": "queued",
    "fetching": "running",
    "retrying": "running",
    "verifying": "running",
    "done": "completed",
    "failed": "failed",
}
_OUTCOME: Final[dict[Status, str]] = {"completed": "done", "failed": "failed", "cancelled": "cancelled"}
_IDLE: Final = frozenset({"queued", "done", "cancelled"})
_NO_FIGURES: Final = {"received": 0, "size": 0, "speed": None, "eta": None, "idle": None, "percent": 0.0}
_NO_RATES: Final = {"speed": None, "eta": None, "idle": None}
"""Rates of a job or file that has ended."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Input of a snapshot beside the state of the run."""

    job_id: str
    order: Order
    title: str
    retry_of: str | None
    state: JobState
    committed: int
    """Bytes that were fetched over the network for files that are done."""
    last_event_id: int | None
    human: str
    """The newest narration line."""


def snapshot(facts: Facts, run: RunState | None, now: float) -> Snapshot:
    """Describe a job.

    Args:
        facts: Everything beside the run.
        run: The state of its run; None before the run has started.
        now: Monotonic seconds, for the remaining wait of files that are retried.
    """
    files = [_file(file, facts.state, _parts(run, file), now) for file in run.files.values()] if run else []
    state = facts.state
    return {
        "job_id": facts.job_id,
        "operation": facts.order.operation,
        "model": facts.order.model,
        "title": facts.title,
        "repair": facts.order.repair,
        "force": facts.order.force,
        "only": list(facts.order.only),
        "status": state.status,
        "phase": _OUTCOME.get(state.status) or _phase(state, run, files),
        "created_at": timestamp(state.created_at),
        "started_at": _optional_timestamp(state.started_at),
        "finished_at": _optional_timestamp(state.finished_at),
        "retry_of": facts.retry_of,
        **_totals(state, run),
        "files_total": len(files),
        "files_done": sum(file["phase"] == "done" for file in files),
        "files": files,
        "sources": _sources(run),
        "waiting": _waiting(state, run),
        "fetched": facts.committed + _fetched_so_far(run),
        "error": asdict(state.error) if state.error is not None else None,
        "exit_code": state.exit_code,
        "last_event_id": facts.last_event_id,
        "human": facts.human,
    }


def brief(full: Snapshot) -> Snapshot:
    """Return a snapshot without its files."""
    return {key: value for key, value in full.items() if key != "files"}


def limit_files(full: Snapshot) -> Snapshot:
    """Return a snapshot that leaves out idle files if there are many."""
    if len(full["files"]) <= MAX_SNAPSHOT_FILES:
        return full
    active = [file for file in full["files"] if file["phase"] not in _IDLE]
    return full | {"files": active[:MAX_SNAPSHOT_FILES]}


def ended_snapshot(kept: Snapshot, end: RunFinished, at: datetime) -> Snapshot:
    """Return the snapshot of a job whose server was killed: as it was stored, changed to have ended.

    Args:
        kept: The snapshot as it was stored.
        end: How the job ended.
        at: When it ended.
    """
    changes = {
        "status": end.outcome,
        "phase": _OUTCOME[end.outcome],
        "finished_at": timestamp(at),
        "files": [_ended_file(file) for file in kept["files"]],
        "waiting": None,
        "error": asdict(end.error) if end.error is not None else None,
        "exit_code": end.exit_code,
    }
    return kept | _NO_RATES | changes


def _ended_file(file: dict[str, Any]) -> dict[str, Any]:
    is_open = file["status"] in ("queued", "running")
    changes = {"phase": "cancelled", "status": "cancelled", "wait": None} if is_open else {}
    return file | _NO_RATES | changes


def _optional_timestamp(at: datetime | None) -> str | None:
    return None if at is None else timestamp(at)


def parse_optional_time(text: str | None) -> datetime | None:
    """Parse a time of a snapshot; None stays None."""
    return None if text is None else datetime.fromisoformat(text)


def _totals(state: JobState, run: RunState | None) -> dict[str, Any]:
    if run is None:
        return dict(_NO_FIGURES)
    totals = run.totals
    figures = {"received": totals.received, "size": totals.size, **rates(totals)}
    return figures | (_NO_RATES if state.is_over else {})


def _waiting(state: JobState, run: RunState | None) -> dict[str, Any] | None:
    wait = run.waiting if run is not None and not state.is_over else None
    if wait is None:
        return None
    return {
        "holder": wait.holder,
        "waited": round(wait.waited, 3),
        "received": wait.received,
        "size": wait.size,
    }


def _fetched_so_far(run: RunState | None) -> int:
    """Count the bytes fetched over the network for files that are not done."""
    files: Iterable[FileState] = run.files.values() if run is not None else ()
    return sum(
        max(0, file.received - file.kept)  # `kept` bytes were on disk before the run
        for file in files
        if file.phase != "done" and file.source not in WITHOUT_NETWORK
    )


def _parts(run: RunState, file: FileState) -> tuple[Part, ...]:
    """Which source supplied which bytes; nothing for a file that was only verified."""
    is_verified_only = run.operation == "verify" and all(label == CACHE for _, _, label in file.parts)
    return () if is_verified_only else file.parts


def _sources(run: RunState | None) -> list[dict[str, Any]]:
    """Count the bytes that are there by their source, those with the most first."""
    counts: Counter[tuple[str, str]] = Counter()
    if run is None:
        return []
    for file in run.files.values():
        for start, end, label in _parts(run, file):
            kind, _, host = label.partition(" ")
            counts[kind, "" if kind == CACHE else host] += end - start
    return [
        {"source": kind, "host": host, "received": count}
        for (kind, host), count in counts.most_common(MAX_SOURCES)
    ]


def _file(file: FileState, state: JobState, parts: tuple[Part, ...], now: float) -> dict[str, Any]:
    figures = rates(file) | (_NO_RATES if state.is_over else {})
    status = _STATUS[file.phase]
    # A job may end while files are open: when it is cancelled, or fails by another file.
    is_abandoned = state.is_over and status in ("queued", "running")
    is_waiting = file.phase == "retrying" and not is_abandoned
    return {
        "file": file.file,
        "size": file.size,
        "received": file.received,
        **figures,
        "phase": "cancelled" if is_abandoned else _file_phase(file),
        "status": "cancelled" if is_abandoned else status,
        "source": file.source,
        "host": file.host,
        "attempt": file.attempt,
        "note": file.note,
        "left": {"source": file.left[0], "host": file.left[1]} if file.left is not None else None,
        "wait": round(max(0.0, file.retry_at - now), 3) if is_waiting else None,
        "parts": [list(part) for part in parts],
    }


def _file_phase(file: FileState) -> str:
    """Name the phase of a file."""
    # The run has no event for it: a source was given up, and the next one has not been asked yet.
    is_falling_back = file.phase == "fetching" and file.attempt == 0 and file.note
    return "falling back" if is_falling_back else file.phase


def _phase(state: JobState, run: RunState | None, files: list[dict[str, Any]]) -> str:
    """Name the phase of a job that has not ended: the most active phase of its files."""
    if state.status == "queued":
        return "queued"
    phases = {file["phase"] for file in files}
    for phase in ("fetching", "falling back", "verifying", "retrying"):
        if phase in phases:
            return phase
    if run is not None and run.waiting is not None:
        return "waiting"
    if not files:
        return "planning"
    return "verifying" if run is not None and run.operation == "verify" else "fetching"

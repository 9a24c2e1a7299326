"""A job at one moment, as JSON: the state of the fold, and nothing that is not in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from modelfetch.engine.record import rates, timestamp
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.engine.events import RunFinished, Status
    from modelfetch.engine.state import RunState
    from modelfetch.engine.totals import FileState, Phase
    from modelfetch.server.job_state import JobState, Order

Snapshot = dict[str, Any]
"""The form described in ``docs/reference/http-api.md``."""

MANY: Final = 200
"""Files above which a stream of snapshots leaves out those at rest: 200 are about 50 kB a snapshot."""

_STATUS: Final[dict[Phase, Status]] = {
    "queued": "queued",
    "fetching": "running",
    "retrying": "running",
    "verifying": "running",
    "done": "completed",
    "failed": "failed",
}
_OUTCOME: Final[dict[Status, str]] = {"completed": "done", "failed": "failed", "cancelled": "cancelled"}
_AT_REST: Final = frozenset({"queued", "done", "cancelled"})
_NOTHING: Final = {"received": 0, "size": 0, "speed": None, "eta": None, "idle": None, "percent": 0.0}
_STILL: Final = {"speed": None, "eta": None, "idle": None}
"""What is known of the pace of something that is over."""
_LOCAL: Final = frozenset({"", "cache", "local"})
"""Sources whose bytes came over no network."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a snapshot says beside the state of the run."""

    job_id: str
    order: Order
    title: str
    retry_of: str | None
    life: JobState
    committed: int
    """Bytes that came over the network for files that are done."""
    last_event_id: int | None
    human: str


def snapshot(facts: Facts, state: RunState | None, now: float) -> Snapshot:
    """Describe a job.

    Args:
        facts: What is known beside the run.
        state: Its run; None before it has one.
        now: Monotonic seconds, for the wait of files that are tried again.
    """
    files = [_file(file, facts.life, now) for file in state.files.values()] if state is not None else []
    life = facts.life
    return {
        "job_id": facts.job_id,
        "operation": facts.order.operation,
        "model": facts.order.model,
        "title": facts.title,
        "repair": facts.order.repair,
        "status": life.status,
        "phase": _OUTCOME.get(life.status) or _phase(life, state, files),
        "created_at": timestamp(life.created_at),
        "started_at": _maybe(life.started_at),
        "finished_at": _maybe(life.finished_at),
        "retry_of": facts.retry_of,
        **_totals(life, state),
        "files_total": len(files),
        "files_done": sum(file["phase"] == "done" for file in files),
        "files": files,
        "waiting": _waiting(life, state),
        "fetched": facts.committed + _under_way(state),
        "error": asdict(life.error) if life.error is not None else None,
        "exit_code": life.exit_code,
        "last_event_id": facts.last_event_id,
        "human": facts.human,
    }


def brief(full: Snapshot) -> Snapshot:
    """Leave the files out."""
    return {key: value for key, value in full.items() if key != "files"}


def moving(full: Snapshot) -> Snapshot:
    """Of many files, leave out those at rest."""
    if len(full["files"]) <= MANY:
        return full
    return full | {"files": [file for file in full["files"] if file["phase"] not in _AT_REST][:MANY]}


def cut_short(kept: Snapshot, end: RunFinished, at: datetime) -> Snapshot:
    """Give a job that was kept while it was under way its end."""
    files = [
        file
        | _STILL
        | ({"phase": "cancelled", "status": "cancelled", "wait": None} if _is_open(file) else {})
        for file in kept["files"]
    ]
    return (
        kept
        | _STILL
        | {
            "status": end.outcome,
            "phase": _OUTCOME[end.outcome],
            "finished_at": timestamp(at),
            "files": files,
            "waiting": None,
            "error": asdict(end.error) if end.error is not None else None,
            "exit_code": end.exit_code,
        }
    )


def _is_open(file: dict[str, Any]) -> bool:
    return file["status"] in ("queued", "running")


def _maybe(at: datetime | None) -> str | None:
    return None if at is None else timestamp(at)


def _totals(life: JobState, state: RunState | None) -> dict[str, Any]:
    if state is None:
        return dict(_NOTHING)
    totals = state.totals
    figures = {"received": totals.received, "size": totals.size, **rates(totals)}
    return figures | (_STILL if life.is_over else {})


def _waiting(life: JobState, state: RunState | None) -> dict[str, Any] | None:
    wait = state.waiting if state is not None and not life.is_over else None
    if wait is None:
        return None
    return {
        "holder": wait.holder,
        "waited": round(wait.waited, 3),
        "received": wait.received,
        "size": wait.size,
    }


def _under_way(state: RunState | None) -> int:
    """Bytes that came over the network for files that are not done."""
    files: Iterable[FileState] = state.files.values() if state is not None else ()
    return sum(
        max(0, file.received - file.kept)
        for file in files
        if file.phase != "done" and file.source not in _LOCAL
    )


def _file(file: FileState, life: JobState, now: float) -> dict[str, Any]:
    figures = rates(file) | (_STILL if life.is_over else {})
    status = _STATUS[file.phase]
    is_left = life.is_over and status in ("queued", "running")
    return {
        "file": file.file,
        "size": file.size,
        "received": file.received,
        **figures,
        "phase": "cancelled" if is_left else _word(file),
        "status": "cancelled" if is_left else status,
        "source": file.source,
        "host": file.host,
        "attempt": file.attempt,
        "note": file.note,
        "left": {"source": file.left[0], "host": file.left[1]} if file.left is not None else None,
        "wait": round(max(0.0, file.retry_at - now), 3) if file.phase == "retrying" and not is_left else None,
    }


def _word(file: FileState) -> str:
    """Name a file's phase; a source was left, and the next one did not answer yet: it falls back."""
    is_falling_back = file.phase == "fetching" and file.attempt == 0 and file.note
    return "falling back" if is_falling_back else file.phase


def _phase(life: JobState, state: RunState | None, files: list[dict[str, Any]]) -> str:
    """Name what a job that is not over is doing, by what its liveliest file does."""
    if life.status == "queued":
        return "queued"
    words = {file["phase"] for file in files}
    for word in ("fetching", "falling back", "verifying", "retrying"):
        if word in words:
            return word
    if state is not None and state.waiting is not None:
        return "waiting"
    if not files:
        return "planning"
    return "verifying" if state is not None and state.operation == "verify" else "fetching"

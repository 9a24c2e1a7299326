"""Keeping jobs and their logs beyond the life of the server: written behind, in batches, by one thread.

No job waits for the database. What a kill -9 costs is the last second of a log.

What was kept of jobs, looked at before it is believed: the database is a file like any other. Pure.

Jobs whose server was killed: they failed, and say so.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from modelfetch.engine.events import ErrorInfo, Status
from modelfetch.engine.record import Record, to_json
from modelfetch.engine.state import RunState
from modelfetch.history.rows import JobEventRow, JobRow
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.decode import decode
from modelfetch.model.units import parse_time
from modelfetch.reporters.narration import narrate
from modelfetch.server import error_responses
from modelfetch.server.error_responses import dumps
from modelfetch.server.job_log import Entry
from modelfetch.server.job_snapshot import Snapshot, cut_short
from modelfetch.server.job_state import INTERRUPTED
from modelfetch.store.temporary import maker, tag
from modelfetch.threads import require

if TYPE_CHECKING:
    from modelfetch.server.job import Job

EVERY_SECONDS: Final = 1.0
"""Between two batches."""
SUBMIT_SECONDS: Final = 0.25
"""How long an order waits to be written: it is kept once it was answered, unless others hold the database."""
CLOSE_SECONDS: Final = 0.5
"""How long the end of the server waits for the last one."""
PROGRESS_SECONDS: Final = 10.0
"""Between two notes of a job that only gets on: what is kept of one that is killed may be that old."""

_OWNER: Final = "owner"
"""Key in a stored snapshot that says which process runs the job."""


class JobHistory(Protocol):
    """What is needed of :class:`modelfetch.history.History`."""

    def write(
        self,
        *,
        jobs: Iterable[JobRow] = (),
        job_events: Iterable[JobEventRow] = (),
        wait: float | None = None,
    ) -> None:
        """Add or replace rows; a sick database is no reason to fail, a locked one takes them later."""

    def jobs(self) -> list[JobRow]:
        """Every job."""

    def job_events(self, job: str, after: int = -1) -> list[dict[str, Any]]:
        """The events of a job behind a number."""

    def forget_jobs(self, ids: Sequence[str]) -> None:
        """Remove jobs and their events."""


class JobStore:
    """Writes what changed, and reads what was kept."""

    def __init__(self, history: JobHistory, clock: Callable[[], float] = time.monotonic) -> None:
        self._history = history
        self._clock = clock
        self._owner = tag()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._jobs: dict[str, Job] = {}
        """Those that changed since the last batch."""
        self._noted: dict[str, float] = {}
        """When each of them was last noted."""
        self._entries: list[tuple[str, Entry]] = []
        self._stopped = threading.Event()
        self._thread = require(self._run, "keeper-of-jobs")

    def note(self, job: Job, entry: Entry | None = None) -> None:
        """Remember to write a job, and a new entry of its log unless later ones make up for it."""
        with self._lock:
            if entry is not None and entry.is_replaceable:
                if self._clock() - self._noted.get(job.id, 0.0) < PROGRESS_SECONDS:
                    return
            elif entry is not None:
                self._entries.append((job.id, entry))
            self._jobs[job.id] = job
            self._noted[job.id] = self._clock()

    def flush(self, wait: float | None = None) -> None:
        """Write what was noted so far, waiting so many seconds at most for other processes that write."""
        with self._writing:
            try:
                self._write(wait)
            except Exception as error:  # a job is not to suffer from it
                error_responses.report(error, "jobs could not be kept")

    def _write(self, wait: float | None) -> None:
        with self._lock:
            jobs, self._jobs = self._jobs, {}
            entries, self._entries = self._entries, []
        if jobs or entries:
            self._history.write(
                jobs=[self._row(job) for job in jobs.values()],
                job_events=[JobEventRow(job, entry.n, json.loads(entry.data)) for job, entry in entries],
                wait=wait,
            )

    def has(self, job_id: str, last: int) -> bool:
        """Whether the log of a job was kept up to a number."""
        return bool(self._history.job_events(job_id, last - 1))

    def entries(self, job_id: str) -> list[Entry]:
        """Read the log of a job, as far as it was kept."""
        events = filter(is_event, self._history.job_events(job_id))
        return [Entry(event["n"], event["event"], dumps(event)) for event in events]

    def load(self) -> list[dict[str, Any]]:
        """Read the snapshots of all jobs that no living server runs, oldest first."""
        rows = sorted(filter(is_whole, self._history.jobs()), key=lambda row: row.created_at)
        return [_without_owner(row.snapshot) for row in rows if not self._is_elsewhere(row)]

    def forget(self, ids: Sequence[str]) -> None:
        """Forget jobs for good."""
        self.flush()  # nothing may bring them back
        for job_id in ids:
            self._noted.pop(job_id, None)
        self._history.forget_jobs(ids)

    def close(self) -> None:
        """Write the last batch, and end; a database that is locked just now is not waited for."""
        self._stopped.set()
        self._thread.join(CLOSE_SECONDS)

    def replace(self, snapshot: dict[str, Any], entry: Entry) -> None:
        """Write the end of a job of an earlier server."""
        event = JobEventRow(snapshot["job_id"], entry.n, json.loads(entry.data))
        self._history.write(jobs=[self._as_row(snapshot)], job_events=[event])

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopped.wait(EVERY_SECONDS)
            self.flush()

    def _row(self, job: Job) -> JobRow:
        return self._as_row(job.snapshot())

    def _as_row(self, snapshot: dict[str, Any]) -> JobRow:
        return JobRow(
            snapshot["job_id"],
            snapshot["operation"],
            snapshot["model"],
            snapshot["status"],
            datetime.fromisoformat(snapshot["created_at"]),
            _time(snapshot["started_at"]),
            _time(snapshot["finished_at"]),
            snapshot["retry_of"] or "",
            snapshot["error"],
            snapshot | {_OWNER: self._owner},
        )

    def _is_elsewhere(self, row: JobRow) -> bool:
        """Whether another server, still alive, has this job under way."""
        owner = str(row.snapshot.get(_OWNER, ""))
        is_own_number = f"-{os.getpid()}-" in owner  # a container gives every server the same one
        return row.finished_at is None and not is_own_number and maker(owner) == "alive"


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _without_owner(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in snapshot.items() if key != _OWNER}


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
    """What a snapshot holds (:mod:`modelfetch.server.job_snapshot`), as far as anything is done with it."""

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


BEYOND: Final = 100_000
"""Added to the last number that was kept. Progress is not kept, so followers may have seen higher ones, and
the end must come behind all of them: it is hours of progress, of which ten seconds may be lost."""


def interrupted(snapshot: Snapshot, keeper: JobStore, now: datetime) -> Snapshot:
    """Give a job of an earlier server its end, if it has none; its log gets one too.

    Args:
        snapshot: The job as it was kept.
        keeper: Who kept it.
        now: The time of day.
    """
    if snapshot["finished_at"] is not None:
        return snapshot
    entry = _end(keeper.entries(snapshot["job_id"]), snapshot["last_event_id"] or 0, now)
    ended = cut_short(snapshot, INTERRUPTED, now) | {"last_event_id": entry.n}
    keeper.replace(ended, entry)
    return ended


def _end(entries: list[Entry], last: int, now: datetime) -> Entry:
    run = str(json.loads(entries[-1].data).get("run")) if entries else os.urandom(6).hex()
    last = max([last, *(entry.n for entry in entries[-1:])])
    record = Record(run, last + BEYOND, now, INTERRUPTED, RunState())
    return Entry(record.n, INTERRUPTED.kind, dumps(to_json(record) | {"human": narrate(record)}))

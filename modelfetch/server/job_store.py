"""Storage of jobs and their logs in the history database, beyond the life of the server.

Changes are collected in memory and written in batches by one thread, so that no job waits for the database. A
``kill -9`` costs at most the last second of a log. Progress is not stored, as later progress replaces it.

The database is a file that any program of the user may have written. Rows are validated before they are used;
invalid ones are skipped.

A job whose server was killed has no end. The next server that loads it stores one: it failed with the code
``interrupted``. A row names the process that runs the job, so that two servers with one database do not end
each other's jobs.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from modelfetch.engine.events import ErrorInfo, Part, Status
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
from modelfetch.server.job_snapshot import Snapshot, ended_snapshot, parse_optional_time
from modelfetch.server.job_state import INTERRUPTED, Operation
from modelfetch.store.temporary import maker, tag
from modelfetch.threads import require

if TYPE_CHECKING:
    from modelfetch.server.job import Job

BATCH_SECONDS: Final = 1.0
"""Seconds between two batches."""
SUBMIT_SECONDS: Final = 0.25
"""Seconds a submission waits to be written before it is answered. An answered job survives a kill of the
server, unless other processes lock the database for longer."""
CLOSE_SECONDS: Final = 0.5
"""Seconds the end of the server waits for the last batch."""
PROGRESS_SECONDS: Final = 10.0
"""Seconds between two writes of a job that reports only progress; the stored figures of a killed job may be
that old."""
LOST_RECORDS: Final = 100_000
"""Added to the last stored number when a killed job gets its end. Progress is not stored, so a follower may
have seen higher numbers, and the end must be above all of them. 100,000 progress records take hours, and at
most ten seconds of them can be missing."""

_OWNER: Final = "owner"
"""Key in a stored snapshot: which process runs the job."""


# Writing and reading


class JobHistory(Protocol):
    """The part of :class:`modelfetch.history.History` that is used here."""

    def write(
        self,
        *,
        jobs: Iterable[JobRow] = (),
        job_events: Iterable[JobEventRow] = (),
        wait: float | None = None,
    ) -> None:
        """Add or replace rows; an unusable database raises no error, and a locked one writes them later."""

    def jobs(self) -> list[JobRow]:
        """Return every job."""

    def job_events(self, job: str, after: int = -1) -> list[dict[str, Any]]:
        """Return the events of a job with a number above ``after``."""

    def forget_jobs(self, ids: Sequence[str]) -> None:
        """Remove jobs and their events."""


class JobStore:
    """Writes changed jobs in batches, and reads stored ones. All methods may be called from any thread."""

    def __init__(self, history: JobHistory, clock: Callable[[], float] = time.monotonic) -> None:
        self._history = history
        self._clock = clock
        self._owner = tag()
        # Two locks, so that a job that notes a change never waits for a write. `_lock` guards the collected
        # changes; `_writing` keeps batches in order: two that write at once could store an older snapshot
        # last.
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._changed: dict[str, Job] = {}
        """Jobs that changed since the last batch, by id."""
        self._noted_at: dict[str, float] = {}
        """Monotonic time of the last noted change, by job id."""
        self._entries: list[tuple[str, Entry]] = []
        self._stopped = threading.Event()
        self._thread = require(self._write_batches, "job-store")

    def note(self, job: Job, entry: Entry | None = None) -> None:
        """Mark a job for the next batch, with a new entry of its log.

        Progress entries are not stored, and mark the job only every ``PROGRESS_SECONDS``.
        """
        with self._lock:
            if entry is not None and entry.is_replaceable:
                if self._clock() - self._noted_at.get(job.id, 0.0) < PROGRESS_SECONDS:
                    return
            elif entry is not None:
                self._entries.append((job.id, entry))
            self._changed[job.id] = job
            self._noted_at[job.id] = self._clock()

    def flush(self, wait: float | None = None) -> None:
        """Write all noted changes.

        Args:
            wait: Seconds to wait at most for other processes that write; None for the default of the history.
        """
        with self._writing:
            try:
                self._write(wait)
            except Exception as error:  # a job must not fail because it could not be stored
                error_responses.log_exception(error, "jobs could not be stored")

    def has_log(self, job_id: str, last: int) -> bool:
        """Whether the log of a job is stored up to the number ``last``."""
        return bool(self._history.job_events(job_id, last - 1))

    def read_log(self, job_id: str) -> list[Entry]:
        """Read the stored log of a job."""
        events = filter(_is_valid_event, self._history.job_events(job_id))
        return [Entry(event["n"], event["event"], dumps(event)) for event in events]

    def load(self, now: datetime) -> list[Snapshot]:
        """Read the snapshots of all ended jobs, oldest first; jobs of killed servers get their end.

        Jobs that another living server runs are left out.
        """
        rows = sorted(filter(_is_valid_row, self._history.jobs()), key=lambda row: row.created_at)
        snapshots = [_without_owner(row.snapshot) for row in rows if not self._is_run_elsewhere(row)]
        return [self._end_interrupted(snapshot, now) for snapshot in snapshots]

    def forget(self, ids: Sequence[str]) -> None:
        """Delete jobs."""
        self.flush()  # a change that was noted before would write them again
        for job_id in ids:
            self._noted_at.pop(job_id, None)
        self._history.forget_jobs(ids)

    def close(self) -> None:
        """Write the last batch and end the thread; a locked database does not delay it for long."""
        self._stopped.set()
        self._thread.join(CLOSE_SECONDS)

    def _write_batches(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopped.wait(BATCH_SECONDS)
            self.flush()

    def _write(self, wait: float | None) -> None:
        with self._lock:
            jobs, self._changed = self._changed, {}
            entries, self._entries = self._entries, []
        if jobs or entries:
            self._history.write(
                jobs=[self._row(job.snapshot()) for job in jobs.values()],
                job_events=[JobEventRow(job, entry.n, json.loads(entry.data)) for job, entry in entries],
                wait=wait,
            )

    def _end_interrupted(self, snapshot: Snapshot, now: datetime) -> Snapshot:
        """Store the end of a job whose server was killed, in its row and as the last event of its log."""
        if snapshot["finished_at"] is not None:
            return snapshot
        entry = _interrupted_entry(self.read_log(snapshot["job_id"]), snapshot["last_event_id"] or 0, now)
        ended = ended_snapshot(snapshot, INTERRUPTED, now) | {"last_event_id": entry.n}
        event = JobEventRow(ended["job_id"], entry.n, json.loads(entry.data))
        self._history.write(jobs=[self._row(ended)], job_events=[event])
        return ended

    def _row(self, snapshot: Snapshot) -> JobRow:
        return JobRow(
            snapshot["job_id"],
            snapshot["operation"],
            snapshot["model"],
            snapshot["status"],
            datetime.fromisoformat(snapshot["created_at"]),
            parse_optional_time(snapshot["started_at"]),
            parse_optional_time(snapshot["finished_at"]),
            snapshot["retry_of"] or "",
            snapshot["error"],
            snapshot | {_OWNER: self._owner},
        )

    def _is_run_elsewhere(self, row: JobRow) -> bool:
        """Whether another living server runs this job."""
        owner = str(row.snapshot.get(_OWNER, ""))
        # Servers in containers often have the same process id, so a killed one would seem to be alive: this
        # very process, which has just started and runs no job yet.
        is_own_pid = f"-{os.getpid()}-" in owner
        return row.finished_at is None and not is_own_pid and maker(owner) == "alive"


def _without_owner(snapshot: dict[str, Any]) -> Snapshot:
    # A job of an earlier version has no `force` and no `only`, and does not say where its bytes came from.
    kept = {key: value for key, value in snapshot.items() if key != _OWNER}
    kept = {"force": False, "only": [], "sources": [], **kept}
    return kept | {"files": [{"parts": [], **file} for file in kept["files"]]}


def _interrupted_entry(log: list[Entry], last: int, now: datetime) -> Entry:
    """Make the last log entry of a job whose server was killed.

    Args:
        log: Its stored log.
        last: Number of its newest event, as far as its stored snapshot knows.
        now: When it ended.
    """
    run = str(json.loads(log[-1].data).get("run")) if log else os.urandom(6).hex()
    last = max([last, *(entry.n for entry in log[-1:])])
    record = Record(run, last + LOST_RECORDS, now, INTERRUPTED, RunState())
    return Entry(record.n, INTERRUPTED.kind, dumps(to_json(record) | {"human": narrate(record)}))


# Validating stored rows

_ENDED: Final = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class _LeftSource:
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
    left: _LeftSource | None
    wait: float | None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class _Supplier:
    """A source and its bytes, in a snapshot of a job."""

    source: str
    host: str
    received: int


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The fields of a snapshot (:mod:`modelfetch.server.job_snapshot`) that the server or the panel reads."""

    job_id: str
    operation: Operation
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
    sources: tuple[_Supplier, ...] = ()
    only: tuple[str, ...] = ()


def _is_valid_row(row: JobRow) -> bool:
    """Whether a stored job has the form that :class:`JobStore` writes."""
    try:
        snapshot = decode(_Snapshot, row.snapshot)
        times = [snapshot.created_at, snapshot.started_at, snapshot.finished_at]
        for time_ in times:
            if time_ is not None:
                parse_time(time_)
    except (ValueError, TypeError):
        return False
    is_over = snapshot.finished_at is not None
    return snapshot.job_id == row.id and is_over == (snapshot.status in _ENDED)


def _is_valid_event(event: dict[str, Any]) -> bool:
    """Whether a stored event has a number and a kind."""
    # Not isinstance: True is an int in Python.
    return type(event.get("n")) is int and isinstance(event.get("event"), str)

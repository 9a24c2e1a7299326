"""The history of a cache: written at the ends of files and runs, read by commands, never in anybody's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from modelfetch.history.database import Database
from modelfetch.history.errors import Damaged, Endless, Unavailable
from modelfetch.history.health import MISS_DAYS, Health, Miss, measure, missed
from modelfetch.history.rows import (
    AttemptRow,
    CidRow,
    EventRow,
    FileRow,
    JobEventRow,
    JobRow,
    Row,
    RunRow,
)
from modelfetch.history.schema import decode, insert, prune, select
from modelfetch.model.text import sanitise

if TYPE_CHECKING:
    from sqlite3 import Connection

T = TypeVar("T")
R = TypeVar("R")

FILE: Final = "state.db"
"""Its name below the root of the cache."""
WAIT_SECONDS: Final = 5.0
"""How long a write waits for others: a batch takes a millisecond, so that is the turn of thousands."""
PRUNE_SECONDS: Final = 3600.0
"""Between two removals of what is too old, in one process."""
PENDING_ROWS: Final = 20_000
"""Rows kept in memory while the file is locked: more than any manifest has files."""
RECENT_ATTEMPTS: Final = 500
"""Attempts from which health is measured: the newest, read and folded in some milliseconds."""


class History:
    """What was remembered of earlier runs, and where this one is remembered. Thread-safe.

    No method fails because of the state of the file: one that is damaged is moved aside and a new one is
    begun; one that cannot be used now is passed over. :attr:`notice` says so.

    Args:
        path: The file. It is opened when it is used, and made when something is written.
        days: How long runs are remembered; 0 remembers none.
        wait: Seconds to wait for other processes.
        is_cancelled: Whether nothing of it is wanted any more; ends what is under way.
    """

    def __init__(
        self,
        path: Path,
        *,
        days: int = 30,
        wait: float = WAIT_SECONDS,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._database = Database(path, is_cancelled or (lambda: False))
        self._days = days
        self._wait = wait
        self._patience = wait
        """Seconds left to wait; renewed by success, so that one that stays locked is waited for only once."""
        self._lock = threading.Lock()
        self._pending: list[Row] = []
        self._pruned = float("-inf")
        self._moved = ""
        self._unusable = ""
        self._is_endless = False
        """Whether the file once took too long: it is not asked a second time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def notice(self) -> str:
        """One line for a person about what is wrong with the file, or empty."""
        return self._moved or self._unusable

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    def close(self) -> None:
        """Write what is still to be written, and let go of the file; it may be used again."""
        with self._lock:
            if self._pending:
                self._flush(self._patience)
            self._database.close()

    def hurry(self) -> None:
        """Sync nothing any more, for somebody waits for the end of this process."""
        self._database.is_hurried = True

    # Writing

    def write(
        self,
        *,
        runs: Iterable[RunRow] = (),
        files: Iterable[FileRow] = (),
        attempts: Iterable[AttemptRow] = (),
        cids: Iterable[CidRow] = (),
        events: Iterable[EventRow] = (),
        jobs: Iterable[JobRow] = (),
        job_events: Iterable[JobEventRow] = (),
        wait: float | None = None,
    ) -> None:
        """Remember rows, all in one transaction.

        Runs, files, events and jobs replace an earlier row with their key; the counts of CIDs are added.

        Args:
            runs: Runs that began or ended.
            files: How files ended.
            attempts: How attempts ended.
            cids: CIDs seen, each with what is to be counted for it.
            events: Events of runs.
            jobs: Jobs as they are now.
            job_events: Events of jobs.
            wait: Seconds to wait for other processes, instead of those given to the constructor. Rows that
                found the file locked are written with the next ones, or by :meth:`close`.
        """
        remembered: list[Row] = [*runs, *files, *attempts, *cids, *events] if self._days else []
        rows = [*remembered, *jobs, *job_events]
        with self._lock:
            self._pending = [*self._pending, *rows][-PENDING_ROWS:]
            if self._pending or not self._days:
                self._flush(self._patience if wait is None else min(wait, self._patience))

    def reset(self) -> int:
        """Forget every attempt, and so all metrics and the health of every host; runs stay.

        Returns:
            How many were forgotten.
        """
        with self._lock:
            if not self.path.exists():
                return 0
            # With a condition: without one SQLite drops the whole table in one step, which nothing can end.
            return self._careful(lambda: self._delete("attempts", " WHERE true", ()), "written") or 0

    def forget_jobs(self, ids: Sequence[str]) -> None:
        """Forget jobs and their events."""
        with self._lock:
            self._pending = [row for row in self._pending if _job_of(row) not in ids]
            if not ids or not self.path.exists():
                return
            places = ", ".join("?" * len(ids))
            self._careful(lambda: self._delete("jobs", f" WHERE id IN ({places})", ids), "written")
            self._careful(lambda: self._delete("job_events", f" WHERE job IN ({places})", ids), "written")

    def _delete(self, table: str, where: str, values: Sequence[str]) -> int:
        with self._database.transaction(self._wait) as connection:
            return connection.execute(f"DELETE FROM {table}{where}", values).rowcount  # noqa: S608

    def _flush(self, wait: float) -> None:
        if not self._days and not self._pending and not self.path.exists():
            return
        began = time.monotonic()
        self._careful(lambda: self._write_all(wait), "written")
        if self._pending:
            self._patience = max(0.0, self._patience - (time.monotonic() - began))

    def _write_all(self, wait: float) -> None:
        with self._database.transaction(wait) as connection:
            insert(connection, self._pending)
            self._prune(connection)
        self._pending.clear()
        self._patience, self._unusable = self._wait, ""

    def _prune(self, connection: Connection) -> None:
        now = time.monotonic()
        if now - self._pruned >= PRUNE_SECONDS:
            prune(connection, datetime.now(UTC) - timedelta(days=self._days))
            self._pruned = now

    # Reading

    def runs(
        self, *, since: datetime | None = None, name: str | None = None, limit: int | None = None
    ) -> list[RunRow]:
        """The runs, the newest first.

        Args:
            since: Only those that began then or later.
            name: Only those whose name begins like this.
            limit: The most to give.
        """
        named = None if name is None else f"{name.replace('*', '')}*"
        where = {"started_at >= ?": since, "run GLOB ?": named}
        return self._rows(RunRow, where, "started_at DESC, rowid DESC", limit)

    def attempts(self, *, since: datetime | None = None, run: str | None = None) -> list[AttemptRow]:
        """The attempts, in the order in which they ended."""
        return self._rows(AttemptRow, {"started_at >= ?": since, "run = ?": run}, "rowid")

    def events(self, run: str) -> list[dict[str, Any]]:
        """The events of a run in the form of ``--json``, each with its narration as ``human``."""
        return [row.event for row in self._rows(EventRow, {"run = ?": run}, "n")]

    def jobs(self) -> list[JobRow]:
        """The jobs, the newest first."""
        return self._rows(JobRow, {}, "created_at DESC, rowid DESC")

    def job_events(self, job: str, after: int = -1) -> list[dict[str, Any]]:
        """The events of a job whose number is higher, in order."""
        return [row.event for row in self._rows(JobEventRow, {"job = ?": job, "n > ?": after}, "n")]

    def health(self, now: datetime) -> dict[tuple[str, str], Health]:
        """How every host fared lately, by kind and host."""
        return measure(self._rows(AttemptRow, {"host > ?": ""}, "rowid DESC", RECENT_ATTEMPTS), now)

    def misses(self, source: str, now: datetime) -> frozenset[Miss]:
        """Which files the hosts of a kind of source did not have within the last day."""
        where = {"started_at >= ?": now - timedelta(days=MISS_DAYS), "source = ?": source}
        return missed(self._rows(AttemptRow, where, "rowid"))

    def _rows(self, kind: type[R], where: Mapping[str, Any], order: str, limit: int | None = None) -> list[R]:
        statement, values = select(kind, where, order, limit)

        def fetch(connection: Connection) -> list[R]:
            return [decode(kind, found) for found in connection.execute(statement, values)]

        with self._lock:
            return self._careful(lambda: self._database.read(fetch, self._wait), "read") or []

    # Illness

    def _careful(self, act: Callable[[], T], verb: str) -> T | None:
        """Do something to the file, and once more with a new one if it is damaged."""
        if self._is_endless:
            self._pending.clear()
            return None
        try:
            try:
                return act()
            except Damaged:
                self._move_aside()
                return act()
        except Damaged:
            self._trouble(verb, "it is damaged")
        except Unavailable as unavailable:
            self._trouble(verb, unavailable.reason)
            self._is_endless = isinstance(unavailable, Endless)
            if not unavailable.is_transient:
                self._pending.clear()
        return None

    def _move_aside(self) -> None:
        kept = self._database.move_aside()
        if kept is not None:
            self._moved = f"the history was damaged and is now {sanitise(str(kept))}; a new one is begun"

    def _trouble(self, verb: str, reason: str) -> None:
        where = sanitise(str(self.path))
        self._unusable = f"the history ({where}) could not be {verb}: {reason}" if reason else ""


def _job_of(row: Row) -> str | None:
    match row:
        case JobRow():
            return row.id
        case JobEventRow():
            return row.job
        case _:
            return None

"""The history of a cache: written at the end of files and runs, read by commands.

It must never make a run fail or wait for long:

* a damaged file is renamed and a new one is started;
* a locked file is waited for once; then rows are kept in memory and written with the next ones;
* a file that cannot be used is skipped, with one notice for the user.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from modelfetch.history.database import Database
from modelfetch.history.errors import Damaged, TooSlow, Unavailable
from modelfetch.history.health import MISS_DAYS, Health, Miss, measure, missed
from modelfetch.history.rows import (
    AttemptRow,
    CheckRow,
    CidRow,
    DigestRow,
    EventRow,
    FileRow,
    JobEventRow,
    JobRow,
    Row,
    RunRow,
)
from modelfetch.history.schema import MOST_DIGESTS, decode, has_table, insert, prune, select
from modelfetch.model.text import sanitize

if TYPE_CHECKING:
    from sqlite3 import Connection

T = TypeVar("T")
R = TypeVar("R")

FILE: Final = "state.db"
"""Its name in the root directory of the cache."""
WAIT_SECONDS: Final = 5.0
"""How long a write waits for a lock. A batch takes a millisecond, so thousands of writers get their turn."""
PRUNE_SECONDS: Final = 3600.0
"""Least time between two deletions of old rows in one process."""
PENDING_ROWS: Final = 20_000
"""Most rows kept in memory while the file is locked; no manifest has more files."""
RECENT_ATTEMPTS: Final = 500
"""Attempts from which health is measured: the newest ones, which take a few milliseconds to read."""


class History:
    """The history of a cache. Thread-safe.

    No method fails because of the state of the file, see above; :attr:`notice` has the message for the user.

    Args:
        path: The file. It is opened on first use and created by the first write.
        days: How long runs are kept; 0 keeps none.
        wait: Seconds to wait for other processes.
        is_cancelled: Whether to stop; also stops a statement in progress.
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
        """Seconds left to wait for a lock; reset by success. A file that stays locked delays only once."""
        self._lock = threading.Lock()
        self._pending: list[Row] = []
        self._pruned = float("-inf")
        self._moved = ""
        self._unusable = ""
        self._is_too_slow = False
        """Whether the file once reached its time limit; it is not used again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def notice(self) -> str:
        """One line for the user about a problem of the file, or empty."""
        return self._moved or self._unusable

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    def close(self) -> None:
        """Write pending rows and close the file; the next use opens it again."""
        with self._lock:
            if self._pending:
                self._flush(self._patience)
            self._database.close()

    def hurry(self) -> None:
        """Stop syncing, because the user waits for the process to end."""
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
        checks: Iterable[CheckRow] = (),
        digests: Iterable[DigestRow] = (),
        wait: float | None = None,
    ) -> None:
        """Write rows, all in one transaction.

        Runs, files, events and jobs replace an earlier row with the same key; counts of CIDs are added.

        Args:
            runs: Runs that started or ended.
            files: Results of files.
            attempts: Results of attempts.
            cids: CIDs, each with the counts to add.
            events: Events of runs.
            jobs: Jobs in their current state.
            job_events: Events of jobs.
            checks: Checks of pins; a failed one keeps what the last successful one found.
            digests: Digests of files outside of the cache.
            wait: Seconds to wait for other processes, if less than the constructor's. If the file stays
                locked, the rows are written with the next ones, or by :meth:`close`.
        """
        remembered: list[Row] = [*runs, *files, *attempts, *cids, *events] if self._days else []
        rows = [*remembered, *jobs, *job_events, *checks, *digests]
        with self._lock:
            self._pending = [*self._pending, *rows][-PENDING_ROWS:]  # the newest rows, if there are too many
            if self._pending or not self._days:
                self._flush(self._patience if wait is None else min(wait, self._patience))

    def reset(self) -> int:
        """Delete every attempt, and with them all metrics and the health of hosts; runs are kept.

        Returns:
            The number of deleted attempts.
        """
        with self._lock:
            if not self.path.exists():
                return 0
            # Without a condition SQLite would empty the table in one step, which no time limit can stop.
            return self._with_recovery(lambda: self._delete("attempts", " WHERE true", ()), "written") or 0

    def forget_jobs(self, ids: Sequence[str]) -> None:
        """Delete jobs and their events."""
        with self._lock:
            self._pending = [row for row in self._pending if _job_of(row) not in ids]
            if not ids or not self.path.exists():
                return
            listed = f"IN ({', '.join('?' * len(ids))})"
            self._with_recovery(lambda: self._delete("jobs", f" WHERE id {listed}", ids), "written")
            self._with_recovery(lambda: self._delete("job_events", f" WHERE job {listed}", ids), "written")

    def _delete(self, table: str, where: str, values: Sequence[str]) -> int:
        with self._database.transaction(self._wait) as connection:
            return connection.execute(f"DELETE FROM {table}{where}", values).rowcount  # noqa: S608

    def _flush(self, wait: float) -> None:
        if not self._days and not self._pending and not self.path.exists():
            return
        began = time.monotonic()
        self._with_recovery(lambda: self._write_all(wait), "written")
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
        """Return runs, newest first.

        Args:
            since: Only runs that started then or later.
            name: Only runs whose name starts with this.
            limit: Most runs to return.
        """
        # A star in the given name must not act as a wildcard.
        named = None if name is None else f"{name.replace('*', '')}*"
        where = {"started_at >= ?": since, "run GLOB ?": named}
        return self._rows(RunRow, where, "started_at DESC, rowid DESC", limit)

    def attempts(self, *, since: datetime | None = None, run: str | None = None) -> list[AttemptRow]:
        """Return attempts in the order in which they ended."""
        return self._rows(AttemptRow, {"started_at >= ?": since, "run = ?": run}, "rowid")

    def events(self, run: str) -> list[dict[str, Any]]:
        """Return the events of a run in the form of ``--json``, each with its narration as ``human``."""
        return [row.event for row in self._rows(EventRow, {"run = ?": run}, "n")]

    def jobs(self) -> list[JobRow]:
        """Return jobs, newest first."""
        return self._rows(JobRow, {}, "created_at DESC, rowid DESC")

    def job_events(self, job: str, after: int = -1) -> list[dict[str, Any]]:
        """Return the events of a job with a number above ``after``, in order."""
        return [row.event for row in self._rows(JobEventRow, {"job = ?": job, "n > ?": after}, "n")]

    def checks(self) -> list[CheckRow]:
        """Return what is known of every pin that was ever compared with its upstream."""
        return self._rows(CheckRow, {}, "rowid")

    def health(self, now: datetime) -> dict[tuple[str, str], Health]:
        """Return the health of every recently used host, by kind and host."""
        return measure(self._rows(AttemptRow, {"host > ?": ""}, "rowid DESC", RECENT_ATTEMPTS), now)

    def misses(self, source: str, now: datetime) -> frozenset[Miss]:
        """Return the files that hosts of a kind of source did not have within the last day."""
        where = {"started_at >= ?": now - timedelta(days=MISS_DAYS)}
        return missed(self._rows(AttemptRow, where, "rowid"), source)

    def digests(self) -> list[DigestRow]:
        """Return the newest digests of files outside of the cache, at most :data:`MOST_DIGESTS`."""

        def fetch(connection: Connection) -> list[DigestRow]:
            if not has_table(connection, DigestRow):  # a file of an earlier version
                return []
            statement, values = select(DigestRow, {}, "rowid DESC", MOST_DIGESTS)
            return [decode(DigestRow, found) for found in connection.execute(statement, values)]

        with self._lock:
            return self._with_recovery(lambda: self._database.read(fetch, self._wait), "read") or []

    def _rows(self, kind: type[R], where: Mapping[str, Any], order: str, limit: int | None = None) -> list[R]:
        statement, values = select(kind, where, order, limit)

        def fetch(connection: Connection) -> list[R]:
            if not has_table(connection, kind):  # an earlier version wrote the file, and nothing since
                return []
            return [decode(kind, found) for found in connection.execute(statement, values)]

        with self._lock:
            return self._with_recovery(lambda: self._database.read(fetch, self._wait), "read") or []

    # Recovery

    def _with_recovery(self, act: Callable[[], T], verb: str) -> T | None:
        """Call a function that uses the file; if the file is damaged, move it aside and call it again."""
        if self._is_too_slow:
            self._pending.clear()
            return None
        try:
            try:
                return act()
            except Damaged:
                self._move_aside()
                return act()
        except Damaged:
            self._note_problem(verb, "it is damaged")
        except Unavailable as unavailable:
            self._note_problem(verb, unavailable.reason)
            self._is_too_slow = isinstance(unavailable, TooSlow)
            if not unavailable.is_transient:
                self._pending.clear()  # a retry would fail too
        return None

    def _move_aside(self) -> None:
        kept = self._database.move_aside()
        if kept is not None:
            self._moved = f"the history was damaged and is now {sanitize(str(kept))}; a new one was started"

    def _note_problem(self, verb: str, reason: str) -> None:
        where = sanitize(str(self.path))
        self._unusable = f"the history ({where}) could not be {verb}: {reason}" if reason else ""


def _job_of(row: Row) -> str | None:
    match row:
        case JobRow():
            return row.id
        case JobEventRow():
            return row.job
        case _:
            return None

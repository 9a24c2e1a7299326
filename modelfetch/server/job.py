"""One job: its state, its log, and the figures computed from the events of its run.

A :class:`Job` was submitted to this server: one thread runs it, any thread may read it. A :class:`PastJob`
has ended and exists only as its last snapshot, as it was stored; its log is read from the database on demand.
Both have the same attributes for reading (``id``, ``order``, ``title``, ``state``, ``version``,
``snapshot()``).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import ErrorInfo, FileCommitted, RunFinished
from modelfetch.engine.record import Record, to_json
from modelfetch.lazy_dataclass import dataclass
from modelfetch.reporters.narration import narrate
from modelfetch.server.error_responses import dumps
from modelfetch.server.job_log import Entry, Log
from modelfetch.server.job_snapshot import Facts, Snapshot, parse_optional_time, snapshot
from modelfetch.server.job_state import JobState, Order

if TYPE_CHECKING:
    from modelfetch.engine.state import RunState


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class PastJob:
    """A job that has ended, as its last snapshot was stored."""

    last_snapshot: Snapshot
    version: ClassVar[int] = 0
    """Constant, because the job no longer changes."""

    @property
    def id(self) -> str:
        """``job-`` and a random UUID."""
        return str(self.last_snapshot["job_id"])

    @property
    def order(self) -> Order:
        """What was submitted."""
        return Order(
            self.last_snapshot["operation"],
            self.last_snapshot["model"],
            bool(self.last_snapshot.get("repair")),
            bool(self.last_snapshot.get("force")),
            tuple(self.last_snapshot["only"]),
        )

    @property
    def title(self) -> str:
        """The model's title."""
        return str(self.last_snapshot["title"])

    @property
    def state(self) -> JobState:
        """Its final state."""
        last, error = self.last_snapshot, self.last_snapshot["error"]
        return JobState(
            datetime.fromisoformat(last["created_at"]),
            last["status"],
            parse_optional_time(last["started_at"]),
            parse_optional_time(last["finished_at"]),
            ErrorInfo(**error) if error is not None else None,
            last["exit_code"],
        )

    def snapshot(self) -> Snapshot:
        """Return its last snapshot."""
        return self.last_snapshot


class Job:
    """A job that was submitted to this server.

    One thread runs it (:mod:`modelfetch.server.runner`); any thread may read it.

    Attributes:
        id: ``job-`` and a random UUID.
        order: What was submitted.
        title: The model's title.
        retry_of: Id of the job that it retries, or None.
        client: Which client of the shared endpoints caused it; empty for jobs of the operator.
        cancel: Cancels its run.
        is_server_stopping: Whether its run is cancelled because the server stops; changes its exit code.
        finished: Set once its run has ended and released every lock and file.
        version: Number of changes so far.
        lock: Held while an event is applied and reported; a snapshot is taken under it, so that state,
            figures and log agree. Reentrant, because the runner holds it while it calls :meth:`add_record`.
        log: The records of its run.
        state: Queued, running or ended.
    """

    def __init__(
        self,
        order: Order,
        title: str = "",
        *,
        retry_of: str | None = None,
        client: str = "",
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = f"job-{uuid.uuid4()}"
        self.order = order
        self.title = title
        self.retry_of = retry_of
        self.client = client
        self.cancel = Cancellation()
        self.is_server_stopping = False
        self.finished = threading.Event()
        self.version = 0
        self.lock = threading.RLock()
        self.log = Log()
        self.state = JobState(now())
        self._now = now
        self._clock = clock
        self._run_state: RunState | None = None
        self._committed = 0
        self._human = ""

    def begin(self) -> None:
        """Change the state from queued to running."""
        with self.lock:
            self.state = self.state.started(self._now())
            self.version += 1

    def add_record(self, record: Record) -> Entry:
        """Append the next record of its run to the log, and update the figures."""
        kind = "worker" if self.order.operation == "worker_download" else "model"
        words = narrate(record, lambda _: kind)
        entry = Entry(record.n, record.event.kind, dumps(to_json(record) | {"human": words}))
        with self.lock:
            self._run_state = record.state
            self._human = words or self._human
            if isinstance(record.event, FileCommitted):
                self._committed += record.event.fetched
            self.log.append(entry)
            self.version += 1
        return entry

    def end(self, finished: RunFinished) -> None:
        """Change the state to the outcome of its run, which must have released every lock and file."""
        with self.lock:
            self.state = self.state.ended(finished, self._now())
            self.version += 1
            self.log.end(self.state.marker)
        # Last: whoever waits for it must find the final state.
        self.finished.set()

    def snapshot(self) -> Snapshot:
        """Describe it as it is now."""
        with self.lock:
            facts = Facts(
                self.id,
                self.order,
                self.title,
                self.retry_of,
                self.state,
                self._committed,
                self.log.last,
                self._human,
            )
            return snapshot(facts, self._run_state, self._clock())

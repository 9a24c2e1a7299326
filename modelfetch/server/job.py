"""One job: its life, its log, and the fold of its run."""

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
from modelfetch.server.job_snapshot import Facts, Snapshot, snapshot
from modelfetch.server.job_state import JobState, Order

if TYPE_CHECKING:
    from modelfetch.engine.state import RunState


def utc_now() -> datetime:
    """The time of day, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class PastJob:
    """A job that is over, as it was kept; its log is read when it is asked for."""

    full: Snapshot
    version: ClassVar[int] = 0

    @property
    def id(self) -> str:
        """``job-`` and a random UUID."""
        return str(self.full["job_id"])

    @property
    def order(self) -> Order:
        """What it was to do."""
        return Order(self.full["operation"], self.full["model"], bool(self.full.get("repair")))

    @property
    def title(self) -> str:
        """The model's title."""
        return str(self.full["title"])

    @property
    def life(self) -> JobState:
        """How it went."""
        full, error = self.full, self.full["error"]
        return JobState(
            datetime.fromisoformat(full["created_at"]),
            full["status"],
            _time(full["started_at"]),
            _time(full["finished_at"]),
            ErrorInfo(**error) if error is not None else None,
            full["exit_code"],
        )

    def snapshot(self) -> Snapshot:
        """Describe it."""
        return self.full


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


class Job:
    """A job that was submitted to this server.

    One thread runs it (:mod:`modelfetch.server.runner`); any may look at it.

    Attributes:
        id: ``job-`` and a random UUID.
        order: What it is to do.
        title: The model's title.
        retry_of: The job it does once more, or None.
        cancel: Ends its run.
        is_stopped: Whether it is the end of the server that ends it.
        over: Set once its life ended and its run let go of everything.
        version: Counts its changes.
        lock: Held while its run is folded and told; a snapshot is taken under it.
    """

    def __init__(
        self,
        order: Order,
        title: str = "",
        *,
        retry_of: str | None = None,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = f"job-{uuid.uuid4()}"
        self.order = order
        self.title = title
        self.retry_of = retry_of
        self.cancel = Cancellation()
        self.is_stopped = False
        self.over = threading.Event()
        self.version = 0
        self.lock = threading.RLock()
        self.log = Log()
        self.life = JobState(now())
        self._now = now
        self._clock = clock
        self._state: RunState | None = None
        self._committed = 0
        self._human = ""

    def begin(self) -> None:
        """Leave the queue."""
        with self.lock:
            self.life = self.life.begun(self._now())
            self.version += 1

    def hear(self, record: Record) -> Entry:
        """Take note of the next record of its run."""
        words = narrate(record)
        entry = Entry(record.n, record.event.kind, dumps(to_json(record) | {"human": words}))
        with self.lock:
            self._state = record.state
            self._human = words or self._human
            if isinstance(record.event, FileCommitted):
                self._committed += record.event.fetched
            self.log.append(entry)
            self.version += 1
        return entry

    def end(self, finished: RunFinished) -> None:
        """Its run is over, and let go of everything."""
        with self.lock:
            self.life = self.life.ended(finished, self._now())
            self.version += 1
            self.log.end(self.life.marker)
        self.over.set()

    def snapshot(self) -> Snapshot:
        """Describe it as it is now."""
        with self.lock:
            facts = Facts(
                self.id,
                self.order,
                self.title,
                self.retry_of,
                self.life,
                self._committed,
                self.log.last,
                self._human,
            )
            return snapshot(facts, self._state, self._clock())

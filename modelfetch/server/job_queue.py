"""All jobs: the queue, those that run, and those that are over."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from modelfetch.errors import ModelfetchError
from modelfetch.model.text import quote
from modelfetch.server.error_responses import Refusal, refused
from modelfetch.server.job import Job, PastJob, utc_now
from modelfetch.server.job_log import Entry, Log
from modelfetch.server.job_state import Operation, Order
from modelfetch.server.job_store import SUBMIT_SECONDS, JobStore, interrupted
from modelfetch.server.runner import Engine, skip, start

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest

QUEUE: Final = 100
"""Jobs that wait at most."""
KEPT: Final = 100
"""Jobs kept after their end, the newest ones."""
KEPT_DAYS: Final = 7
"""Days a job is kept after its end."""
PATIENCE: Final = 2.0
"""Seconds a run gets to end once it is cancelled; it needs one at most."""

Known = Job | PastJob


class Jobs:
    """The jobs of one server. All methods may be called from any thread.

    Args:
        engine: Runs them.
        keeper: Keeps them beyond the life of this server, and knows those of earlier ones.
        parallel: How many run at the same time.
        now: The time of day.

    Attributes:
        is_stopping: Whether nothing is taken any more.
        is_closed: Whether nothing will change any more.
    """

    def __init__(
        self, engine: Engine, keeper: JobStore, *, parallel: int, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._engine = engine
        self._keeper = keeper
        self._parallel = parallel
        self._now = now
        self._lock = threading.RLock()
        self._queue: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._followers: set[Callable[[], None]] = set()
        self.is_stopping = False
        self.is_closed = False
        loaded = (PastJob(interrupted(snapshot, keeper, now())) for snapshot in keeper.load())
        self._jobs: dict[str, Known] = {job.id: job for job in loaded}
        """By id, oldest first."""
        self._prune()

    # Looking

    def all(self) -> list[Known]:
        """Every job, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def get(self, job_id: str) -> Known:
        """Find a job.

        Raises:
            Refusal: There is none of this id.
        """
        with self._lock:
            found = self._jobs.get(job_id)
        if found is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "unknown_job", f"there is no job {quote(job_id)}")
        return found

    def log(self, job: Known) -> Log:
        """Give the log of a job, from memory or as it was kept."""
        if isinstance(job, Job):
            return job.log
        return Log(self._keeper.entries(job.id), job.life.marker)

    def counts(self) -> dict[str, int]:
        """How many wait, and how many run."""
        with self._lock:
            return {"queued": len(self._queue), "running": len(self._running)}

    @contextmanager
    def following(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have ``wake`` called, on any thread, after each change of any job; it must be quick."""
        with self._lock:
            self._followers.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._followers.discard(wake)

    # Acting

    def submit(self, operation: Operation, model: str, *, repair: bool = False) -> tuple[Known, bool]:
        """Take an order.

        Returns:
            The job that serves it, and whether it is a new one.

        Raises:
            Refusal: The model is unknown or of another kind, the queue is full, or the server ends.
        """
        try:
            manifest = self._engine.find(model)
        except ModelfetchError as error:
            raise refused(error) from error
        _check_kind(operation, manifest)
        return self._take(Order(operation, manifest.name, repair), manifest.title)

    def retry(self, job_id: str) -> tuple[Known, bool]:
        """Do the same as an earlier job once more; the result is that of :meth:`submit`.

        Raises:
            Refusal: There is no such job, or it neither failed nor was cancelled, or as for :meth:`submit`.
        """
        job = self.get(job_id)
        if not job.life.is_retryable:
            message = f"the job is {job.life.status}: there is nothing to retry"
            raise Refusal(HTTPStatus.CONFLICT, "not_retryable", message)
        return self._take(job.order, job.title, retry_of=job.id)

    def cancel(self, job_id: str) -> None:
        """End a job, and wait until it let go of everything.

        Raises:
            Refusal: There is no such job, or it ended by itself.
        """
        job = self.get(job_id)
        was_over = job.life.is_over
        if isinstance(job, Job) and not was_over:
            self._end([job])
        if was_over or (job.life.is_over and job.life.status != "cancelled"):
            message = f"the job has ended already ({job.life.status})"
            raise Refusal(HTTPStatus.CONFLICT, "already_ended", message)

    def clear(self, job_id: str | None = None) -> list[str]:
        """Forget ended jobs, all or one; gives their ids.

        Raises:
            Refusal: There is no such job, or it is under way.
        """
        chosen = self.all() if job_id is None else [self.get(job_id)]
        over = [job.id for job in chosen if job.life.is_over]
        if job_id is not None and not over:
            message = "the job is under way"
            raise Refusal(HTTPStatus.CONFLICT, "not_ended", message, "Cancel it first.")
        self._forget(over)
        return over

    def stop(self) -> None:
        """End all jobs, keeping what is good, and every stream; nothing is taken any more."""
        with self._lock:
            self.is_stopping = True
            live = [*self._queue, *self._running.values()]
        for job in live:
            job.is_stopped = True
        self._end(live)
        self.is_closed = True
        self._wake()
        self._keeper.close()

    # Inside

    def _take(self, order: Order, title: str, retry_of: str | None = None) -> tuple[Known, bool]:
        with self._lock:
            if self.is_stopping:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "the server ends")
            for live in (*self._running.values(), *self._queue):
                if live.order == order and not live.life.is_over:
                    return live, False
            if len(self._queue) >= QUEUE:
                message = f"{QUEUE} jobs wait already"
                raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "queue_full", message, "Try again later.")
            job = Job(order, title, retry_of=retry_of, now=self._now)
            self._jobs[job.id] = job
            self._queue.append(job)
            self._keeper.note(job)
            self._pump()
        self._keeper.flush(SUBMIT_SECONDS)
        self._wake()
        return job, True

    def _pump(self) -> None:
        """Begin the next jobs, as many as may run."""
        with self._lock:
            while self._queue and len(self._running) < self._parallel and not self.is_stopping:
                job = self._queue.popleft()
                job.begin()
                self._running[job.id] = job
                start(job, self._engine, self._told, self._ended)

    def _told(self, job: Job, entry: Entry) -> None:
        self._keeper.note(job, entry)
        self._wake()

    def _ended(self, job: Job) -> None:
        """Make room for the next job, and let the keeper have this one."""
        with self._lock:
            self._running.pop(job.id, None)
        self._pump()
        self._settle(job)

    def _settle(self, job: Job) -> None:
        """Have a job that is over written down, and keep its log on disk instead of in memory."""
        with self._lock:
            if job.id in self._jobs:  # it may have been cleared in this very moment
                self._keeper.note(job)
        self._wake()
        if self.is_stopping:
            return  # the keeper writes once more, for all
        self._keeper.flush()
        is_kept = self._keeper.has(job.id, job.log.last or 0)
        with self._lock:
            if is_kept and job.id in self._jobs:
                self._jobs[job.id] = PastJob(job.snapshot())
        self._prune()

    def _end(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if self._unqueue(job):
                skip(job, self._told)
                self._settle(job)
            else:
                job.cancel.cancel()
        until = time.monotonic() + PATIENCE
        for job in jobs:
            job.over.wait(max(0.0, until - time.monotonic()))

    def _unqueue(self, job: Job) -> bool:
        with self._lock:
            if job not in self._queue:
                return False
            self._queue.remove(job)
            return True

    def _prune(self) -> None:
        """Forget ended jobs beyond the number and the age that are kept."""
        over = [job for job in self.all() if job.life.is_over]
        over.sort(key=_finished, reverse=True)
        oldest = self._now() - timedelta(days=KEPT_DAYS)
        old = [job.id for place, job in enumerate(over) if place >= KEPT or _finished(job) < oldest]
        if old:
            self._forget(old)

    def _forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            for job_id in ids:
                self._jobs.pop(job_id, None)
        self._keeper.forget(ids)
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            followers = tuple(self._followers)
        for wake in followers:
            wake()


def _finished(job: Known) -> datetime:
    assert job.life.finished_at is not None, "asked of jobs that are over only"
    return job.life.finished_at


def _check_kind(operation: Operation, manifest: Manifest) -> None:
    """A worker is installed as a worker, and nothing else is."""
    if operation == "model_verify" or (manifest.kind == "worker") == (operation == "worker_download"):
        return
    right = "worker_download" if manifest.kind == "worker" else "model_download"
    message = f"{manifest.name} is a {manifest.kind}"
    raise Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message, f"Use the operation {right}.")

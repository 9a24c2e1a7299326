"""All jobs of a server: queued, running and ended.

Jobs run in the order they were submitted, a fixed number of them at a time. An order that equals one that is
queued or running returns that job instead of a new one. Ended jobs are stored, and forgotten after
``MAX_ENDED_DAYS`` or when there are more than ``MAX_ENDED``.

Jobs for single files, which clients of the shared endpoints cause, have their own places and queue: a client
waits for its file, which must not wait for a large model, and the jobs of an operator must not wait for
clients. Of the clients, the one with the fewest running jobs is next: who asks for many files does not make
all others wait for them.

One lock guards the queue, the running jobs and the table of all jobs. Nothing slow happens under it: no write
to the database, no wait for a run. The one exception is a job for which the system allows no thread: it fails
and is stored at once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from modelfetch.errors import ModelfetchError
from modelfetch.model.text import quote
from modelfetch.server.error_responses import Refusal, refusal_for
from modelfetch.server.job import Job, PastJob, utc_now
from modelfetch.server.job_log import Entry, Log
from modelfetch.server.job_state import Operation, Order
from modelfetch.server.job_store import SUBMIT_SECONDS, JobStore
from modelfetch.server.runner import JobEngine, end_queued, start

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest

MAX_QUEUED: Final = 100
"""Queued jobs at most."""
MAX_FILE_JOBS: Final = 8
"""Jobs for single files that run at the same time: as many as a client of Hugging Face has workers."""
MAX_ENDED: Final = 100
"""Ended jobs kept at most; the newest ones stay."""
MAX_ENDED_FILE_JOBS: Final = 30
"""Ended jobs for single files kept at most: one download by a client makes one for each file, and must not
push all others out of the list."""
MAX_ENDED_DAYS: Final = 7
"""Days an ended job is kept."""
CANCEL_SECONDS: Final = 2.0
"""Seconds to wait for a cancelled run to end; it takes at most about one."""

AnyJob = Job | PastJob


class Jobs:
    """The jobs of one server. All methods may be called from any thread.

    Args:
        engine: Runs the jobs.
        job_store: Stores them, and loads those of earlier servers.
        parallel: How many run at the same time.
        now: Returns the current time in UTC.

    Attributes:
        is_stopping: Whether the server stops: submissions are refused.
        is_closed: Whether all jobs have ended for good; streams of snapshots end then.
    """

    def __init__(
        self, engine: JobEngine, job_store: JobStore, *, parallel: int, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._engine = engine
        self._job_store = job_store
        self._parallel = parallel
        self._now = now
        # Reentrant: submitting a job under the lock starts it if a place is free, which takes the lock again.
        self._lock = threading.RLock()
        self._queue: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._followers: set[Callable[[], None]] = set()
        self.is_stopping = False
        self.is_closed = False
        loaded = map(PastJob, job_store.load(now()))
        self._jobs: dict[str, AnyJob] = {job.id: job for job in loaded}
        """By id, oldest first."""
        self._prune()

    # Queries

    def all(self) -> list[AnyJob]:
        """Return every job, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def get(self, job_id: str) -> AnyJob:
        """Find a job.

        Raises:
            Refusal: There is no job with this id.
        """
        with self._lock:
            found = self._jobs.get(job_id)
        if found is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "unknown_job", f"there is no job {quote(job_id)}")
        return found

    def log(self, job: AnyJob) -> Log:
        """Return the log of a job, from memory or from the database."""
        if isinstance(job, Job):
            return job.log
        return Log(self._job_store.read_log(job.id), job.state.marker)

    def counts(self) -> dict[str, int]:
        """Count the queued and the running jobs."""
        with self._lock:
            return {"queued": len(self._queue), "running": len(self._running)}

    @contextmanager
    def subscribe(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call ``wake`` on any thread after each change of any job; it must return fast: runs wait for it."""
        with self._lock:
            self._followers.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._followers.discard(wake)

    # Commands

    def submit(
        self, operation: Operation, model: str, *, repair: bool = False, force: bool = False
    ) -> tuple[AnyJob, bool]:
        """Submit a job.

        Returns:
            The job, and whether it is new; False where an equal one was under way.

        Raises:
            Refusal: The model is unknown or of another kind, the queue is full, or the server stops.
        """
        try:
            manifest = self._engine.find(model)
        except ModelfetchError as error:
            raise refusal_for(error) from error
        _check_kind(operation, manifest)
        return self._enqueue(Order(operation, manifest.name, repair, force), manifest.title)

    def submit_file(self, manifest: Manifest, path: str, client: str = "") -> tuple[Job, bool]:
        """Submit a job for a single file of a model, for a client; returns what :meth:`submit` returns.

        Raises:
            Refusal: The queue is full, or the server stops.
        """
        operation: Operation = "worker_download" if manifest.kind == "worker" else "model_download"
        return self._enqueue(Order(operation, manifest.name, only=(path,)), manifest.title, client=client)

    def retry(self, job_id: str) -> tuple[AnyJob, bool]:
        """Submit the order of an earlier job again; returns what :meth:`submit` returns.

        Raises:
            Refusal: There is no such job, or it neither failed nor was cancelled, or as for :meth:`submit`.
        """
        job = self.get(job_id)
        if not job.state.is_retryable:
            message = f"the job is {job.state.status}; only failed and cancelled jobs can be retried"
            raise Refusal(HTTPStatus.CONFLICT, "not_retryable", message)
        return self._enqueue(job.order, job.title, retry_of=job.id)

    def cancel(self, job_id: str) -> None:
        """Cancel a job, and wait until its run has ended and released every lock and file.

        Raises:
            Refusal: There is no such job, or it has ended already.
        """
        job = self.get(job_id)
        was_over = job.state.is_over
        if isinstance(job, Job) and not was_over:
            self._cancel_all([job])
        # Checked again afterwards: a run may complete or fail before the cancellation reaches it.
        if was_over or (job.state.is_over and job.state.status != "cancelled"):
            message = f"the job has ended already ({job.state.status})"
            raise Refusal(HTTPStatus.CONFLICT, "already_ended", message)

    def clear(self, job_id: str | None = None) -> list[str]:
        """Forget ended jobs, all or one, and return their ids.

        Raises:
            Refusal: There is no such job, or it has not ended.
        """
        chosen = self.all() if job_id is None else [self.get(job_id)]
        over = [job.id for job in chosen if job.state.is_over]
        if job_id is not None and not over:
            message = "the job has not ended"
            raise Refusal(HTTPStatus.CONFLICT, "not_ended", message, "Cancel it first.")
        self._forget(over)
        return over

    def stop(self) -> None:
        """Cancel all jobs and end every stream; verified data is kept. Submissions are refused."""
        with self._lock:
            self.is_stopping = True
            live = [*self._queue, *self._running.values()]
        # Set before any run is cancelled: it decides the exit code of each end (143 instead of 130).
        for job in live:
            job.is_server_stopping = True
        self._cancel_all(live)
        with self._lock:
            # The thread of a job that has just ended may come too late for the last batch.
            for each in self._jobs.values():
                if isinstance(each, Job):
                    self._job_store.note(each)
        self.is_closed = True
        self._notify()
        self._job_store.close()

    # Internals

    def _enqueue(
        self, order: Order, title: str, retry_of: str | None = None, client: str = ""
    ) -> tuple[Job, bool]:
        with self._lock:
            if self.is_stopping:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "the server is stopping")
            for live in (*self._running.values(), *self._queue):
                if live.order == order and not live.state.is_over:
                    return live, False
            if sum(_is_for_files(each) == bool(order.only) for each in self._queue) >= MAX_QUEUED:
                message = f"the queue is full: {MAX_QUEUED} jobs are waiting"
                raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "queue_full", message, "Try again later.")
            job = Job(order, title, retry_of=retry_of, client=client, now=self._now)
            self._jobs[job.id] = job
            self._queue.append(job)
            self._job_store.note(job)
            self._start_queued()
        # Before the job is reported to its client, so that a kill of the server does not lose it.
        self._job_store.flush(SUBMIT_SECONDS)
        self._notify()
        return job, True

    def _start_queued(self) -> None:
        """Start queued jobs while there are places for them."""
        with self._lock:
            while not self.is_stopping and (job := self._next()) is not None:
                self._queue.remove(job)
                job.begin()
                self._running[job.id] = job
                start(job, self._engine, self._on_entry, self._on_end)

    def _next(self) -> Job | None:
        """Return the queued job that is next, of those that have a place; None if there is none."""
        of_files = sum(map(_is_for_files, self._running.values()))
        free = {True: MAX_FILE_JOBS - of_files, False: self._parallel - (len(self._running) - of_files)}
        running = Counter(job.client for job in self._running.values() if _is_for_files(job))
        ready = (job for job in self._queue if free[_is_for_files(job)] > 0)
        return min(ready, key=lambda job: running[job.client] if _is_for_files(job) else 0, default=None)

    def _on_entry(self, job: Job, entry: Entry) -> None:
        self._job_store.note(job, entry)
        self._notify()

    def _on_end(self, job: Job) -> None:
        """Start the next job, and store this one: in this order, so that no job waits for the database."""
        with self._lock:
            self._running.pop(job.id, None)
        self._start_queued()
        self._store_ended(job)

    def _store_ended(self, job: Job) -> None:
        """Write an ended job, and replace it by a :class:`PastJob`, whose log uses no memory."""
        with self._lock:
            if job.id in self._jobs:  # not if a client has cleared it meanwhile
                self._job_store.note(job)
        self._notify()
        if self.is_stopping:
            return  # closing the job store writes all of them at once
        self._job_store.flush()
        # If the database is unusable, the job stays in memory, so that its log is not lost.
        is_stored = self._job_store.has_log(job.id, job.log.last or 0)
        with self._lock:
            if is_stored and job.id in self._jobs:
                self._jobs[job.id] = PastJob(job.snapshot())
        self._prune()

    def _cancel_all(self, jobs: Sequence[Job]) -> None:
        """Cancel jobs, then wait for all of them together: the limit is the same for one and for many."""
        for job in jobs:
            if self._unqueue(job):
                end_queued(job, self._on_entry)
                self._store_ended(job)
            else:
                job.cancel.cancel()
        deadline = time.monotonic() + CANCEL_SECONDS
        for job in jobs:
            job.finished.wait(max(0.0, deadline - time.monotonic()))

    def _unqueue(self, job: Job) -> bool:
        """Remove a job from the queue; False if it runs or has ended."""
        with self._lock:
            if job not in self._queue:
                return False
            self._queue.remove(job)
            return True

    def _prune(self) -> None:
        """Forget ended jobs beyond the limits of their kind, and those older than ``MAX_ENDED_DAYS``."""
        over = [job for job in self.all() if job.state.is_over]
        over.sort(key=_finished, reverse=True)
        oldest = self._now() - timedelta(days=MAX_ENDED_DAYS)
        old = [
            job.id
            for is_for_files, most in ((False, MAX_ENDED), (True, MAX_ENDED_FILE_JOBS))
            for place, job in enumerate(each for each in over if _is_for_files(each) == is_for_files)
            if place >= most or _finished(job) < oldest
        ]
        if old:
            self._forget(old)

    def _forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            for job_id in ids:
                self._jobs.pop(job_id, None)
        self._job_store.forget(ids)
        self._notify()

    def _notify(self) -> None:
        with self._lock:
            followers = tuple(self._followers)
        # Called without the lock: a follower may query jobs, or unsubscribe, at once.
        for wake in followers:
            wake()


def _finished(job: AnyJob) -> datetime:
    assert job.state.finished_at is not None, "called for ended jobs only"
    return job.state.finished_at


def _is_for_files(job: AnyJob) -> bool:
    """Whether a job is for single files of its model."""
    return bool(job.order.only)


def _check_kind(operation: Operation, manifest: Manifest) -> None:
    """Require ``worker_download`` for manifests of kind ``worker``, and only for them."""
    if operation == "model_verify" or (manifest.kind == "worker") == (operation == "worker_download"):
        return
    right = "worker_download" if manifest.kind == "worker" else "model_download"
    message = f"{manifest.name} is a {manifest.kind}"
    raise Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message, f"Use the operation {right}.")

"""Several jobs of a server followed as one run: one stream of events and one end.

:class:`Run` merges the jobs' events and yields a single ``run_finished`` at the end, so that reporters cannot
tell them from a run in this process. :func:`combine` makes that end out of the ends of the jobs. After
:meth:`Run.leave` (a Ctrl-C), jobs that this process submitted are cancelled, and all others continue on the
server; :func:`detached_end` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from modelfetch.cancel import Cancelled
from modelfetch.engine.events import ErrorInfo, Event, LockWaiting, RunFinished
from modelfetch.engine.state import RunState
from modelfetch.engine.workers import merge
from modelfetch.errors import ModelfetchError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.units import format_size
from modelfetch.remote.client import Job, ServerClient, shorten
from modelfetch.remote.decoder import JobRecord
from modelfetch.remote.follower import ConnectionState, JobFollower, ReconnectPolicy, Update
from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.engine.totals import Totals

POLL_SECONDS: Final = 0.1
"""Seconds without an event after which the run checks for :meth:`Run.leave`: the longest reaction to a
Ctrl-C."""
LEAVE_SECONDS: Final = 2.0
"""Seconds to wait for the end of cancelled jobs; they take about one."""
WAIT_REPORT_SECONDS: Final = 1.0
"""Seconds of waiting before it is reported, and between two reports of it."""

Tap = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Ended:
    """The end of one job."""

    job: Job
    finished: RunFinished


class Run:
    """Follows jobs as if they were one run in this process.

    Attributes:
        finished: The end of the run; None before.

    Args:
        server: The server. Its client is cancelled when the run ends, so it cannot be used afterwards.
        jobs: The jobs to follow; at least one.
        tap: Called with every record as the server sent it, before its event is yielded.
        reconnect: When to reconnect and when to give up.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        server: ServerClient,
        jobs: Sequence[Job],
        *,
        tap: Tap | None = None,
        reconnect: ReconnectPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.finished: RunFinished | None = None
        self._server = server
        self._jobs = jobs
        self._tap = tap
        self._reconnect = reconnect
        self._clock = clock
        self._now = self._waits_reported_at = clock()
        self._state = RunState()
        self._ends: dict[Job, RunFinished] = {}
        self._waiting: dict[Job, ConnectionState] = {}
        self._exit_code: int | None = None
        self._cancel_deadline: float | None = None

    def clock(self) -> float:
        """Return the time of the last event in monotonic seconds; replayed events keep their own times."""
        return self._now

    def leave(self, exit_code: int) -> None:
        """Request the end: jobs of this process are cancelled, all others continue on the server.

        May be called on any thread, and in a signal handler: it only sets a value, which :meth:`events`
        checks.

        Args:
            exit_code: Exit code of the end that :meth:`events` then yields within two seconds.
        """
        self._exit_code = exit_code

    def events(self) -> Generator[Event, None, None]:
        """Yield the events of all jobs from their beginnings. The last one is the only ``run_finished``."""
        tasks = [self._follow(job) for job in self._jobs]
        with closing(merge(tasks, len(tasks), self._server.cancellation, POLL_SECONDS)) as items:
            for item in items:
                yield from self._process(item)
                if self._is_detached():
                    break
        self.finished = self._end()
        yield self.finished

    def _follow(self, job: Job) -> Generator[Update | _Ended, None, None]:
        """Follow one job as a task of its own."""
        finished = yield from JobFollower(self._server, job, self._reconnect, self._clock).follow()
        yield _Ended(job, finished)

    def abandoned(self, exit_code: int) -> RunFinished:
        """Return the end of a run whose :meth:`events` was closed before it yielded one."""
        return detached_end(exit_code, self._ended, self._continuing, self._state.totals)

    def _process(self, item: Update | _Ended | None) -> Iterator[Event]:
        match item:
            case JobRecord():
                yield from self._process_record(item)
            case ConnectionState(wait=""):
                self._waiting.pop(item.job, None)
            case ConnectionState():
                self._waiting[item.job] = item
            case _Ended():
                self._ends[item.job] = item.finished
                self._waiting.pop(item.job, None)
            case None:  # nothing happened for POLL_SECONDS
                pass
        yield from self._report_waits()

    def _process_record(self, record: JobRecord) -> Iterator[Event]:
        self._waiting.pop(record.job, None)
        if self._tap is not None:
            self._tap(record.document)
        if record.event is not None and not isinstance(record.event, RunFinished):
            self._now = record.at
            self._state.apply(record.event, record.at)
            yield record.event

    def _report_waits(self) -> Iterator[Event]:
        """Report what is waited for, at most once a second.

        ``lock_waiting`` is the event for it: the server holds the model, as another process would.
        """
        now = self._clock()
        if now - self._waits_reported_at < WAIT_REPORT_SECONDS:
            return
        self._waits_reported_at = now
        for job, state in self._waiting.items():
            if now - state.since >= WAIT_REPORT_SECONDS:
                self._now = now
                yield LockWaiting(job.model, "", state.wait, now - state.since)

    def _is_detached(self) -> bool:
        """After :meth:`leave`: cancel our jobs once, and return whether there is nothing more to wait for."""
        if self._exit_code is None:
            return False
        ours = [job for job in self._continuing if job.is_ours]
        if self._cancel_deadline is None:
            self._cancel_deadline = self._clock() + LEAVE_SECONDS
            for job in ours:
                # In threads, so that a server that does not answer delays neither the others nor the events.
                if start(partial(self._cancel, job), "modelfetch-cancel") is None:
                    self._cancel(job)
        return not ours or self._clock() >= self._cancel_deadline

    def _cancel(self, job: Job) -> None:
        # If the request fails, the job does not end, and `detached_end` reports that.
        with suppress(ModelfetchError, Cancelled):
            self._server.cancel(job.id)

    @property
    def _ended(self) -> list[RunFinished]:
        return [self._ends[job] for job in self._jobs if job in self._ends]

    @property
    def _continuing(self) -> list[Job]:
        return [job for job in self._jobs if job not in self._ends]

    def _end(self) -> RunFinished:
        # After `leave`, jobs may still have ended by themselves; then their end counts.
        is_complete = not self._continuing and all(end.outcome != "cancelled" for end in self._ended)
        if self._exit_code is None or is_complete:
            return combine(self._ended)
        return self.abandoned(self._exit_code)


# The end of several jobs

_SEVERITY: Final = ("disk", "timeout", "lock_timeout", "integrity", "unauthorised", "unavailable", "offline")
"""Error codes, the most severe first, in the order in which a run ranks failures of its files. Codes that are
not listed are more severe than all of these."""


def combine(ends: Sequence[RunFinished]) -> RunFinished:
    """Combine the ends of several jobs: the most severe outcome, with the files of all."""
    worst = min(ends, key=_rank)
    others = sum(end.outcome == worst.outcome for end in ends) - 1
    error = worst.error
    if error is not None and others:
        error = replace(error, message=f"{error.message} (and {others} more job{'s' * (others > 1)})")
    files = tuple(file for end in ends for file in end.files)
    seconds = max(end.seconds for end in ends)
    return RunFinished(worst.outcome, _exit_code(worst), seconds, files, error)


def _exit_code(end: RunFinished) -> int:
    """Return a valid exit code, whatever the server sent: 0 for success only, else 1 to 255.

    An exit code has eight bits (POSIX, ``_exit``): 256 would become 0.
    """
    if end.outcome == "completed" and end.exit_code == 0:
        return 0
    return end.exit_code if 0 < end.exit_code < 256 else 1


def _rank(end: RunFinished) -> tuple[int, int]:
    """Sort key: failed before cancelled before completed; the most severe failure first."""
    code = end.error.code if end.error is not None else ""
    severity = _SEVERITY.index(code) if code in _SEVERITY else -1
    return ("failed", "cancelled", "completed").index(end.outcome), severity


def detached_end(
    exit_code: int, ends: Sequence[RunFinished], continuing: Sequence[Job], totals: Totals
) -> RunFinished:
    """Make the end of a run that was left before all its jobs had ended.

    Args:
        exit_code: Exit code of the end.
        ends: The ends of the jobs that have ended.
        continuing: The other jobs. Ours among them were cancelled, but have not ended yet.
        totals: Progress of all jobs.
    """
    files = tuple(file for end in ends for file in end.files)
    words = "; ".join([*_cancelled(ends, totals), *map(_continues, continuing)])
    error = ErrorInfo("cancelled", words, _detached_hint(continuing))
    return RunFinished("cancelled", exit_code, 0.0, files, error)


def _cancelled(ends: Sequence[RunFinished], totals: Totals) -> list[str]:
    if all(end.outcome != "cancelled" for end in ends):
        return []
    kept = f": {format_size(totals.received)} of {format_size(totals.size)} stay on the server"
    return ["cancelled" + (kept if totals.size else "")]


def _continues(job: Job) -> str:
    what = "was cancelled but has not ended yet" if job.is_ours else "continues on the server"
    return f"{shorten(job.id)} {what}"


def _detached_hint(continuing: Sequence[Job]) -> str:
    if not continuing:
        return "run the same command again to resume"
    if len(continuing) > 1:
        return "`modelfetch jobs` shows their status"
    if continuing[0].is_ours:
        return "`modelfetch jobs` shows its status"
    return f"modelfetch attach {shorten(continuing[0].id)} follows it again"

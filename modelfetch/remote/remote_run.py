"""Several jobs followed as one run: one stream of events, one end, one way to leave.

From the ends of several jobs to the one end of the command that followed them. Pure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from modelfetch.cancel import Cancelled
from modelfetch.engine.events import ErrorInfo, Event, LockWaiting, RunFinished
from modelfetch.engine.state import RunState
from modelfetch.engine.workers import merge
from modelfetch.errors import ModelfetchError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.units import format_size
from modelfetch.remote.client import CANCEL_SECONDS, Job, ServerClient, shorten
from modelfetch.remote.decoder import Received
from modelfetch.remote.follower import Heard, Line, Listener, Patience
from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.engine.totals import Totals

TICK: Final = 0.1
"""Seconds after which a silent run looks around: how long a Ctrl-C may go unnoticed."""
QUIET_SECONDS: Final = 1.0
"""How long a silence is before it is told, and between two times it is told."""

Tap = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Ended:
    """The end of one job."""

    job: Job
    finished: RunFinished


class Run:
    """Follows jobs as if they were one run of this machine's own.

    Attributes:
        finished: The end, once there is one.

    Args:
        server: The server. It is of no use afterwards.
        jobs: What to follow; one at least.
        tap: Given every record as the server sent it, before its event.
        patience: With a server that is away.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        server: ServerClient,
        jobs: Sequence[Job],
        *,
        tap: Tap | None = None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.finished: RunFinished | None = None
        self._server = server
        self._jobs = jobs
        self._tap = tap
        self._patience = patience
        self._clock = clock
        self._now = self._told_lines = clock()
        self._state = RunState()
        self._endings: dict[Job, RunFinished] = {}
        self._lines: dict[Job, Line] = {}
        self._exit_code: int | None = None
        self._leave_by: float | None = None

    def clock(self) -> float:
        """When the last event happened, in monotonic seconds: what is replayed has its own times."""
        return self._now

    def leave(self, exit_code: int) -> None:
        """Ask for the end: what is ours is cancelled, everything else goes on without us.

        May be called on any thread, and by a signal handler.

        Args:
            exit_code: Of the end to which :meth:`events` comes then, within two seconds.
        """
        self._exit_code = exit_code

    def events(self) -> Generator[Event, None, None]:
        """Play all jobs as one run, from their beginnings. The last event is the only ``run_finished``."""
        tasks = [self._listen(job) for job in self._jobs]
        with closing(merge(tasks, len(tasks), self._server.cancellation, TICK)) as items:
            for item in items:
                yield from self._take(item)
                if self._has_left():
                    break
        self.finished = self._ending()
        yield self.finished

    def _listen(self, job: Job) -> Generator[Heard | _Ended, None, None]:
        """Follow one job as a task of its own."""
        finished = yield from Listener(self._server, job, self._patience, self._clock).listen()
        yield _Ended(job, finished)

    def abandoned(self, exit_code: int) -> RunFinished:
        """The end of a run that nobody follows any more, where :meth:`events` did not come to one."""
        return left(exit_code, self._ended, self._going_on, self._state.totals)

    def _take(self, item: Heard | _Ended | None) -> Iterator[Event]:
        match item:
            case Received():
                yield from self._tell(item)
            case Line(wait=""):
                self._lines.pop(item.job, None)
            case Line():
                self._lines[item.job] = item
            case _Ended():
                self._endings[item.job] = item.finished
                self._lines.pop(item.job, None)
            case None:
                pass
        yield from self._silences()

    def _tell(self, told: Received) -> Iterator[Event]:
        self._lines.pop(told.job, None)
        if self._tap is not None:
            self._tap(told.document)
        if told.event is not None and not isinstance(told.event, RunFinished):
            self._now = told.at
            self._state.apply(told.event, told.at)
            yield told.event

    def _silences(self) -> Iterator[Event]:
        """Tell, now and then, what is waited for: the server has the model, so it is a wait for another."""
        now = self._clock()
        if now - self._told_lines < QUIET_SECONDS:
            return
        self._told_lines = now
        for job, line in self._lines.items():
            if now - line.since >= QUIET_SECONDS:
                self._now = now
                yield LockWaiting(job.model, "", line.wait, now - line.since)

    def _has_left(self) -> bool:
        """Whether there is nothing more to wait for once the end was asked for."""
        if self._exit_code is None:
            return False
        ours = [job for job in self._going_on if job.is_ours]
        if self._leave_by is None:
            self._leave_by = self._clock() + CANCEL_SECONDS
            for job in ours:
                if start(partial(self._cancel, job), "modelfetch-cancel") is None:
                    self._cancel(job)
        return not ours or self._clock() >= self._leave_by

    def _cancel(self, job: Job) -> None:
        with suppress(ModelfetchError, Cancelled):  # the end that does not come is told
            self._server.cancel(job.id)

    @property
    def _ended(self) -> list[RunFinished]:
        return [self._endings[job] for job in self._jobs if job in self._endings]

    @property
    def _going_on(self) -> list[Job]:
        return [job for job in self._jobs if job not in self._endings]

    def _ending(self) -> RunFinished:
        is_whole = not self._going_on and all(ending.outcome != "cancelled" for ending in self._ended)
        if self._exit_code is None or is_whole:
            return combine(self._ended)
        return self.abandoned(self._exit_code)


_GRAVITY: Final = ("disk", "timeout", "lock_timeout", "integrity", "unauthorised", "unavailable", "offline")
"""Error codes as one run ranks the failures of its files; what is not among them is graver."""


def combine(endings: Sequence[RunFinished]) -> RunFinished:
    """The end of a run of which these are the parts: the gravest, with the files of all."""
    worst = min(endings, key=_rank)
    others = sum(ending.outcome == worst.outcome for ending in endings) - 1
    error = worst.error
    if error is not None and others:
        error = replace(error, message=f"{error.message} (and {others} more job{'s' * (others > 1)})")
    files = tuple(file for ending in endings for file in ending.files)
    seconds = max(ending.seconds for ending in endings)
    return RunFinished(worst.outcome, _exit_code(worst), seconds, files, error)


def _exit_code(ending: RunFinished) -> int:
    """What to exit with, whatever a server says: 0 where all went well only, and what an exit code can be.

    A process has eight bits for it (POSIX, `_exit`): 256 would be taken for 0.
    """
    if ending.outcome == "completed" and ending.exit_code == 0:
        return 0
    return ending.exit_code if 0 < ending.exit_code < 256 else 1


def _rank(ending: RunFinished) -> tuple[int, int]:
    """Failed before cancelled before completed; the gravest failure first."""
    code = ending.error.code if ending.error is not None else ""
    gravity = _GRAVITY.index(code) if code in _GRAVITY else -1
    return ("failed", "cancelled", "completed").index(ending.outcome), gravity


def left(
    exit_code: int, endings: Sequence[RunFinished], going_on: Sequence[Job], totals: Totals
) -> RunFinished:
    """The end of a run that was left before all its jobs had ended.

    Args:
        exit_code: What the leaving exits with.
        endings: How those ended that did.
        going_on: The others. Those that are ours were asked to end and did not say that they have.
        totals: How far all of them are.
    """
    files = tuple(file for ending in endings for file in ending.files)
    words = "; ".join([*_cancelled(endings, totals), *_not_over(going_on)])
    return RunFinished("cancelled", exit_code, 0.0, files, ErrorInfo("cancelled", words, _hint(going_on)))


def _cancelled(endings: Sequence[RunFinished], totals: Totals) -> list[str]:
    if all(ending.outcome != "cancelled" for ending in endings):
        return []
    kept = f": {format_size(totals.received)} of {format_size(totals.size)} stay on the server"
    return ["cancelled" + (kept if totals.size else "")]


def _not_over(going_on: Sequence[Job]) -> list[str]:
    return [
        f"{shorten(job.id)} {'was told to end, and has not yet' if job.is_ours else 'goes on on the server'}"
        for job in going_on
    ]


def _hint(going_on: Sequence[Job]) -> str:
    if not going_on:
        return "run the same command again to go on"
    if len(going_on) > 1 or going_on[0].is_ours:
        return "modelfetch jobs shows what became of it"
    return f"modelfetch attach {shorten(going_on[0].id)} follows it again"

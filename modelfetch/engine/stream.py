"""The one loop over a run: events in, numbered records out, exactly one end.

Only :func:`records` and :func:`follow` iterate the engine, and both close it. Reporters run in the thread
that follows; one that fails is dropped, and the run goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import ClassVar, Protocol

from modelfetch.engine.events import ErrorInfo, Event, Outcome, Progress, RunFinished
from modelfetch.engine.record import Figures, Record, to_json
from modelfetch.engine.state import RunState
from modelfetch.errors import ModelfetchError, interrupt_behind
from modelfetch.exit_codes import SIGHUP_EXIT, SIGINT_EXIT, SIGTERM_EXIT
from modelfetch.model.text import sanitise
from modelfetch.model.units import format_size

__all__ = ["Hangup", "Record", "Reporter", "Terminated", "follow", "records", "to_json"]


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM). Raised by a signal handler, it ends a run like Ctrl-C."""

    exit_code: ClassVar[int] = SIGTERM_EXIT


class Hangup(Terminated):
    """The terminal went away (SIGHUP)."""

    exit_code: ClassVar[int] = SIGHUP_EXIT


class Reporter(Protocol):
    """Anything that tells somebody about a run."""

    def report(self, record: Record) -> None:
        """Take note of one record; must be quick, for the run waits."""

    def close(self) -> None:
        """Give back what was taken (cursor, thread); called once, always."""


def records(
    events: Iterator[Event],
    *,
    run: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Generator[Record, None, None]:
    """Fold, number and stamp events. The last record is the one and only ``run_finished``.

    An interrupt that comes out of ``events``, or is thrown in between two records, closes ``events`` and ends
    the run as cancelled. Any other exception ends it as failed.

    Args:
        events: The engine. It is closed when the run ends or the caller closes this generator.
        run: Name of the run; by default twelve random hex digits.
        clock: Monotonic seconds, for speed and ETA.
        now: The time of day, for the records.

    Raises:
        Exception: What came out of ``events``, unless it is a :class:`ModelfetchError`: a bug. It is raised
            after its record was delivered.
    """
    outlet = _Outlet(run or os.urandom(6).hex(), clock, now)
    try:
        for event in events:
            yield outlet.put(event)
            if outlet.is_finished:
                return
        yield outlet.end("failed", 1, ErrorInfo("bug", "the run ended without a result", ""))
    except (KeyboardInterrupt, Exception) as raised:
        error = interrupt_behind(raised) or raised
        _close(events)
        if not outlet.is_finished:
            yield outlet.end(*_ending(error, outlet.state))
        if not isinstance(error, KeyboardInterrupt | ModelfetchError):
            raise
    finally:
        _close(events)


class _Outlet:
    """Where events leave the engine: each is folded, numbered and stamped."""

    def __init__(self, run: str, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self.state = RunState()
        self._run = run
        self._count = 0
        self._clock = clock
        self._now = now

    @property
    def is_finished(self) -> bool:
        return self.state.finished is not None

    def put(self, event: Event) -> Record:
        self.state.apply(event, self._clock())
        figures = Figures.after(event, self.state) if isinstance(event, Progress) else None
        record = Record(self._run, self._count, self._now(), event, self.state, figures, self.state.now)
        self._count += 1
        return record

    def end(self, outcome: Outcome, exit_code: int, error: ErrorInfo) -> Record:
        files = self.state.results(unfinished="cancelled")
        return self.put(RunFinished(outcome, exit_code, self.state.seconds, files, error))


def _ending(error: BaseException, state: RunState) -> tuple[Outcome, int, ErrorInfo]:
    """Judge what cut a run short."""
    if isinstance(error, KeyboardInterrupt):
        exit_code = error.exit_code if isinstance(error, Terminated) else SIGINT_EXIT
        return "cancelled", exit_code, _cancelled(state)
    if isinstance(error, ModelfetchError):
        return "failed", error.exit_code, ErrorInfo(error.code, error.message, error.hint)
    return "failed", 1, ErrorInfo("bug", bug_words(error), "")


def bug_words(error: BaseException) -> str:
    """What an exception that should not happen says, without the secrets that may be in it."""
    from modelfetch.settings.redaction import redact_text

    return redact_text(f"{type(error).__name__}: {error}")


def _cancelled(state: RunState) -> ErrorInfo:
    totals = state.totals
    kept = f": {format_size(totals.received)} of {format_size(totals.size)} kept"
    message = "cancelled" + (kept if totals.size and state.operation == "ensure" else "")
    return ErrorInfo("cancelled", message, "run the command again to continue")


def _close(events: Iterator[Event]) -> None:
    """Close a generator; neither a second Ctrl-C nor a failed clean-up may leave the end unreported."""
    try:
        if isinstance(events, Generator):
            events.close()
    except KeyboardInterrupt:
        return
    except Exception as error:
        _warn("clean-up", error)


def follow(
    events: Iterator[Event],
    reporters: Sequence[Reporter],
    *,
    run: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> RunFinished:
    """Run the engine to its end, telling the reporters, in the calling thread.

    Args:
        events: The engine; closed in any case.
        reporters: Told every record, in this order; closed in any case. One that raises is dropped.
        run: Name of the run; by default random.
        clock: Monotonic seconds.

    Returns:
        How the run ended. Ctrl-C (and :class:`Terminated`) is a way to end, not an exception.

    Raises:
        Exception: A bug in the engine; the reporters were told first.
    """
    stream = records(events, run=run, clock=clock)
    audience = _Audience(reporters)
    with closing(audience), closing(stream):
        try:
            finished = audience.tell(stream)
        except KeyboardInterrupt as interrupt:
            finished = audience.finished or _told_end(audience, _throw(stream, interrupt))
    assert finished is not None, "records() ends with run_finished, or raises"
    return finished


def _told_end(audience: _Audience, stream: Iterable[Record]) -> RunFinished | None:
    """Tell the end after Ctrl-C; pressed again meanwhile, it changes nothing about what is known by then."""
    try:
        return audience.tell(stream)
    except KeyboardInterrupt:
        if audience.finished is None:
            raise
        return audience.finished


def _throw(stream: Generator[Record, None, None], interrupt: KeyboardInterrupt) -> Iterable[Record]:
    with suppress(StopIteration):
        yield stream.throw(interrupt)
    yield from stream


class _Audience:
    """The reporters still listening."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = list(reporters)
        self.finished: RunFinished | None = None

    def tell(self, stream: Iterable[Record]) -> RunFinished | None:
        for record in stream:
            if isinstance(record.event, RunFinished):
                self.finished = record.event
            self._tell(record)
        return self.finished

    def _tell(self, record: Record) -> None:
        """Tell everyone one record, also when Ctrl-C comes in the middle."""
        interrupt: KeyboardInterrupt | None = None
        for reporter in tuple(self._reporters):
            try:
                reporter.report(record)
            except (KeyboardInterrupt, Exception) as error:
                behind = interrupt_behind(error)
                interrupt = behind or interrupt
                if behind is None:
                    self._drop(reporter, error)
        if interrupt is not None:
            raise interrupt

    def _drop(self, reporter: Reporter, error: BaseException) -> None:
        self._reporters.remove(reporter)
        self._close(reporter)  # first, so that the warning does not land inside a drawing
        if not isinstance(error, BrokenPipeError):  # a reader that went away (`| head -1`) knows
            _warn("telling of this run", error)

    def close(self) -> None:
        while self._reporters:
            self._close(self._reporters.pop())

    def _close(self, reporter: Reporter) -> None:
        with suppress(Exception):
            reporter.close()


def _warn(what: str, error: BaseException) -> None:
    """Log what went wrong beside the run; without a configured logger that is a line on stderr."""
    import logging

    from modelfetch.settings.redaction import redact_text

    words = sanitise(redact_text(str(error))) or type(error).__name__
    logging.getLogger(__name__).warning("%s stopped: %s", what, words)

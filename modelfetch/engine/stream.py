"""The one loop over a run: events of the engine in, numbered records for the reporters out.

The last record of every run is exactly one ``run_finished``, also after Ctrl-C, an error or a bug. Only
:func:`records` and :func:`follow` iterate the engine, and both close it. Reporters run in the thread that
calls :func:`follow`; one that fails is dropped, and the run goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Protocol

from modelfetch.engine.events import ErrorInfo, Event, Outcome, Progress, RunFinished
from modelfetch.engine.record import Figures, Record, to_json
from modelfetch.engine.state import RunState
from modelfetch.errors import ModelfetchError, interrupt_behind
from modelfetch.model.text import sanitize
from modelfetch.model.units import format_size
from modelfetch.signal_exit_codes import SIGINT_EXIT, Hangup, Terminated

__all__ = ["Hangup", "Record", "Reporter", "Terminated", "follow", "records", "to_json"]


class Reporter(Protocol):
    """Reports a run: on a terminal, as JSON, into the history, to a client."""

    def report(self, record: Record) -> None:
        """Report one record. Must be quick, because the run waits for it."""

    def close(self) -> None:
        """Release what the reporter holds (cursor, thread). Called exactly once, however the run ends."""


def records(
    events: Iterator[Event],
    *,
    run: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Generator[Record, None, None]:
    """Apply events to the state of the run, and yield them as records with numbers and times.

    A KeyboardInterrupt from ``events``, or thrown into this generator, ends the run as cancelled; any other
    exception ends it as failed.

    Args:
        events: The engine. It is closed when the run ends or the caller closes this generator.
        run: Name of the run; by default twelve random hex digits.
        clock: Monotonic seconds, for speed and ETA.
        now: The time of day, for the records.

    Yields:
        Records, the last of them ``run_finished``.

    Raises:
        Exception: A bug: ``events`` raised no :class:`ModelfetchError`. Raised after the last record.
    """
    maker = _RecordMaker(run or os.urandom(6).hex(), clock, now)
    try:
        for event in events:
            yield maker.put(event)
            if maker.is_finished:
                return
        yield maker.end("failed", 1, ErrorInfo("bug", "the run ended without a result", ""))
    except (KeyboardInterrupt, Exception) as raised:
        error = interrupt_behind(raised) or raised
        _close(events)
        if not maker.is_finished:
            yield maker.end(*_ending(error, maker.state))
        if not isinstance(error, KeyboardInterrupt | ModelfetchError):
            raise
    finally:
        _close(events)


class _RecordMaker:
    """Makes records of events: applies each to the state of the run, and adds number and time."""

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
        """Apply an event to the state of the run, and return its record."""
        self.state.apply(event, self._clock())
        figures = Figures.after(event, self.state) if isinstance(event, Progress) else None
        record = Record(self._run, self._count, self._now(), event, self.state, figures, self.state.now)
        self._count += 1
        return record

    def end(self, outcome: Outcome, exit_code: int, error: ErrorInfo) -> Record:
        """Return the record of an end that the engine did not report itself."""
        files = self.state.results(unfinished="cancelled")
        return self.put(RunFinished(outcome, exit_code, self.state.seconds, files, error))


def _ending(error: BaseException, state: RunState) -> tuple[Outcome, int, ErrorInfo]:
    """Return outcome, exit code and error of a run that an exception ended."""
    if isinstance(error, KeyboardInterrupt):
        exit_code = error.exit_code if isinstance(error, Terminated) else SIGINT_EXIT
        return "cancelled", exit_code, _cancelled(state)
    if isinstance(error, ModelfetchError):
        return "failed", error.exit_code, ErrorInfo(error.code, error.message, error.hint)
    return "failed", 1, ErrorInfo("bug", bug_words(error), "")


def bug_words(error: BaseException) -> str:
    """Return type and message of an unexpected exception, without secrets."""
    from modelfetch.settings.text_redaction import redact_text

    return redact_text(f"{type(error).__name__}: {error}")


def _cancelled(state: RunState) -> ErrorInfo:
    totals = state.totals
    kept = f": {format_size(totals.received)} of {format_size(totals.size)} kept"
    message = "cancelled" + (kept if totals.size and state.operation == "ensure" else "")
    return ErrorInfo("cancelled", message, "run the command again to continue")


def _close(events: Iterator[Event]) -> None:
    """Close a generator; the end of the run is reported even after a second Ctrl-C or a failed cleanup."""
    try:
        if isinstance(events, Generator):
            events.close()
    except KeyboardInterrupt:
        return
    except Exception as error:
        _warn("cleanup", error)


def follow(
    events: Iterator[Event],
    reporters: Sequence[Reporter],
    *,
    run: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> RunFinished:
    """Run the engine to its end in the calling thread, and pass every record to the reporters.

    Args:
        events: The engine; closed in any case.
        reporters: Receive every record, in this order; closed in any case. One that raises is dropped.
        run: Name of the run; by default random.
        clock: Monotonic seconds.

    Returns:
        How the run ended. Ctrl-C (and :class:`Terminated`) ends a run, and raises no exception here.

    Raises:
        Exception: A bug in the engine, after the reporters received the end of the run.
    """
    stream = records(events, run=run, clock=clock)
    listening = _Reporters(reporters)
    with closing(listening), closing(stream):
        try:
            finished = listening.report_all(stream)
        except KeyboardInterrupt as interrupt:
            finished = listening.finished or _report_end(listening, _throw(stream, interrupt))
    assert finished is not None, "records() ends with run_finished, or raises"
    return finished


def _report_end(listening: _Reporters, stream: Iterable[Record]) -> RunFinished | None:
    """Report the end of a run after Ctrl-C.

    A second Ctrl-C during this is ignored once the end is known: it could change nothing about the outcome.
    """
    try:
        return listening.report_all(stream)
    except KeyboardInterrupt:
        if listening.finished is None:
            raise
        return listening.finished


def _throw(stream: Generator[Record, None, None], interrupt: KeyboardInterrupt) -> Iterable[Record]:
    with suppress(StopIteration):
        yield stream.throw(interrupt)
    yield from stream


class _Reporters:
    """The reporters of a run that have not failed."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = list(reporters)
        self.finished: RunFinished | None = None

    def report_all(self, stream: Iterable[Record]) -> RunFinished | None:
        for record in stream:
            if isinstance(record.event, RunFinished):
                self.finished = record.event
            self._report(record)
        return self.finished

    def _report(self, record: Record) -> None:
        """Pass one record to every reporter.

        A Ctrl-C in the middle is raised after the last one, so that all reporters have received the same
        records.
        """
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
        self._close(reporter)  # before the warning, which would otherwise be printed into its drawing
        # A reader that ended (`| head -1`) is no failure to warn about.
        if not isinstance(error, BrokenPipeError):
            _warn("reporting of this run", error)

    def close(self) -> None:
        while self._reporters:
            self._close(self._reporters.pop())

    def _close(self, reporter: Reporter) -> None:
        with suppress(Exception):
            reporter.close()


def _warn(what: str, error: BaseException) -> None:
    """Log a failure that does not end the run; without a configured logger it is a line on stderr."""
    import logging

    from modelfetch.settings.text_redaction import redact_text

    words = sanitize(redact_text(str(error))) or type(error).__name__
    logging.getLogger(__name__).warning("%s failed: %s", what, words)

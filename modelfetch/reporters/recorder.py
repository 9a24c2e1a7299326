"""The reporter that remembers runs. What it needs is imported when there is something to remember."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING

from modelfetch.engine.events import FileKept, ModelReady, Planned, RunFinished, RunStarted
from modelfetch.engine.record import Record

if TYPE_CHECKING:
    from modelfetch.reporters.chronicle import Chronicle

_STILL = (RunStarted, Planned, FileKept, ModelReady)
"""What happens in a run that finds everything there."""


class Recorder:
    """Remembers one run, unless it found everything there: that leaves no trace, and costs nothing.

    Args:
        begin: Opens the chronicle, when the first thing happens that is worth it.
    """

    def __init__(self, begin: Callable[[], Chronicle]) -> None:
        self._begin = begin
        self._chronicle: Chronicle | None = None
        self._held: list[Record] = []

    @property
    def notice(self) -> str:
        """One line for a person about a history that cannot be used, or empty."""
        return self._chronicle.notice if self._chronicle is not None else ""

    def report(self, record: Record) -> None:
        """Take note of one record, and of those before it that were not worth it by themselves."""
        self._held.append(record)
        if self._chronicle is None and not _is_still(record):
            self._chronicle = self._begin()
        if self._chronicle is not None:
            held, self._held = self._held, []
            for each in held:
                self._chronicle.report(each)

    def close(self) -> None:
        """Write what is still to be written."""
        if self._chronicle is not None:
            self._chronicle.close()


def _is_still(record: Record) -> bool:
    event = record.event
    return isinstance(event, _STILL) or (isinstance(event, RunFinished) and event.outcome == "completed")


def recorded(stream: Generator[Record, None, None], recorder: Recorder) -> Generator[Record, None, None]:
    """Pass the records of a run on, each after it was taken note of; what that costs, nobody else pays."""
    with closing(recorder), closing(stream):
        is_able = True
        for record in stream:
            if is_able:
                is_able = _try_to_report(recorder, record)
            yield record


def _try_to_report(recorder: Recorder, record: Record) -> bool:
    try:
        recorder.report(record)
    except Exception:  # as for every reporter: it is dropped, and the run goes on
        import logging

        logging.getLogger(__name__).warning("the history of this run is not complete", exc_info=True)
        return False
    return True

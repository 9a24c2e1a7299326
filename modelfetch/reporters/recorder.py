"""The reporter that remembers runs. What it needs is imported when there is something to remember."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING

from modelfetch.engine.events import FileKept, ModelReady, Planned, RunFinished, RunStarted
from modelfetch.model.text import sanitise
from modelfetch.reporters.deferred import Held, ReporterOpening

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.reporters.history_rows import HistoryRows

_STILL = (RunStarted, Planned, FileKept, ModelReady)
"""What happens in a run that finds everything there."""


class Recorder:
    """Remembers one run, unless it found everything there: that is counted, and costs nothing.

    Args:
        begin: Opens the chronicle, when something happens that is worth it, and the first request was sent.
        found: Counts a run that found everything there, given the directories of its models; called without
            any after another run. None where nothing is to be remembered.
    """

    def __init__(
        self, begin: Callable[[], HistoryRows], found: Callable[[list[str]], None] | None = None
    ) -> None:
        self._begin = begin
        self._found = found
        self._directories: list[str] = []
        self._chronicle: HistoryRows | None = None
        self._held = Held()
        self._opening = ReporterOpening()
        self._is_worth_it = self._is_broken = False

    @property
    def notice(self) -> str:
        """One line for a person about a history that cannot be used, or empty."""
        return self._chronicle.notice if self._chronicle is not None else ""

    def report(self, record: Record) -> None:
        """Take note of one record, and of those before it that were not worth it by themselves."""
        self._held.add(record)
        self._is_worth_it = self._is_worth_it or not _is_still(record)
        if not self._opening.has(record):
            self._catch_up()
        if isinstance(record.event, ModelReady):
            self._directories.append(record.event.path)
        if isinstance(record.event, RunFinished) and self._directories and self._found is not None:
            self._found([] if self._is_worth_it else self._directories)

    def close(self) -> None:
        """Write what is still to be written."""
        self._catch_up()
        if self._chronicle is not None:
            self._chronicle.close()

    def _catch_up(self) -> None:
        if self._is_worth_it and self._chronicle is None and not self._is_broken:
            self._chronicle = self._try_to_begin()
        if self._chronicle is not None:
            self._held.tell(self._chronicle)

    def _try_to_begin(self) -> HistoryRows:
        """Open the chronicle; Ctrl-C in between is no reason not to try again."""
        try:
            return self._begin()
        except Exception:
            self._is_broken = True
            raise


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
    except Exception as error:  # as for every reporter: it is dropped, and the run goes on
        import logging

        from modelfetch.engine.stream import bug_words

        words = sanitise(bug_words(error))
        logging.getLogger(__name__).warning("the history of this run is not complete: %s", words)
        return False
    return True

"""The reporter that writes runs to the history.

A run that finds all files present is counted only: it writes no rows, so it must not pay for importing
SQLite. For any other run the history is opened once the first request was sent
(:mod:`modelfetch.reporters.deferred`); the records so far are written then, too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING

from modelfetch.engine.events import FileKept, ModelReady, Planned, RunFinished, RunStarted
from modelfetch.model.text import sanitize
from modelfetch.reporters.deferred import RecordBuffer, RunOpening

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.reporters.history_rows import HistoryRows

_UNCHANGED = (RunStarted, Planned, FileKept, ModelReady)
"""The events of a run that finds all files present, besides its end."""


class Recorder:
    """Writes one run to the history, unless it found all files present: such a run is counted only.

    Args:
        begin: Opens the history; called at most once successfully, when there is something to write and the
            first request was sent.
        found: Counts a run that found all files present, given the directories of its models. Called with an
            empty list after any other run that made models ready. None if nothing is to be counted.
    """

    def __init__(
        self, begin: Callable[[], HistoryRows], found: Callable[[list[str]], None] | None = None
    ) -> None:
        self._begin = begin
        self._found = found
        self._directories: list[str] = []
        self._rows: HistoryRows | None = None
        self._buffer = RecordBuffer()
        self._opening = RunOpening()
        self._has_changes = self._is_broken = False

    @property
    def notice(self) -> str:
        """One line for the user about a history that cannot be used, or empty."""
        return self._rows.notice if self._rows is not None else ""

    def report(self, record: Record) -> None:
        """Write one record, or buffer it until it is known whether the run is written at all."""
        self._buffer.add(record)
        self._has_changes = self._has_changes or not _is_unchanged(record)
        if self._rows is not None or not self._opening.includes(record):
            self._write_buffer()
        else:
            self._opening.note(record)
        if isinstance(record.event, ModelReady):
            self._directories.append(record.event.path)
        if isinstance(record.event, RunFinished) and self._directories and self._found is not None:
            self._found([] if self._has_changes else self._directories)

    def close(self) -> None:
        """Write the records that are still buffered, and close the history."""
        self._write_buffer()
        if self._rows is not None:
            self._rows.close()

    def _write_buffer(self) -> None:
        if self._has_changes and self._rows is None and not self._is_broken:
            self._rows = self._open()
        if self._rows is not None:
            self._buffer.flush_to(self._rows)

    def _open(self) -> HistoryRows:
        """Open the history. After an error it is not opened again; after Ctrl-C, with the next record."""
        try:
            return self._begin()
        except Exception:
            self._is_broken = True
            raise


def _is_unchanged(record: Record) -> bool:
    """Whether a record may belong to a run that found all files present."""
    event = record.event
    return isinstance(event, _UNCHANGED) or (isinstance(event, RunFinished) and event.outcome == "completed")


def recorded(stream: Generator[Record, None, None], recorder: Recorder) -> Generator[Record, None, None]:
    """Pass the records of a run on, each after it was recorded. An error of the history does not end it."""
    with closing(recorder), closing(stream):
        is_able = True
        for record in stream:
            if is_able:
                is_able = _try_to_report(recorder, record)
            yield record


def _try_to_report(recorder: Recorder, record: Record) -> bool:
    try:
        recorder.report(record)
    except Exception as error:  # as with every reporter: it is dropped, and the run continues
        import logging

        from modelfetch.engine.stream import bug_words

        words = sanitize(bug_words(error))
        logging.getLogger(__name__).warning("the history of this run is not complete: %s", words)
        return False
    return True

"""Reporters that start once the first request was sent, so that their imports do not delay it.

Importing Rich or SQLite takes longer than a whole run that fetches nothing. Until the first request is on its
way, records are buffered (:class:`RecordBuffer`). :class:`RunOpening` decides which records come before that
request. :class:`DeferredReporter` then creates the reporter and passes the buffered records on, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from modelfetch.engine.events import FileKept, FileStarted, Planned, Progress, RunStarted

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.engine.stream import Reporter
    from modelfetch.engine.totals import FileId


class RunOpening:
    """Distinguishes the records before a request was sent from those after it.

    A transfer yields the first progress of a file right before it sends the request, and the next one when
    bytes came or nothing came for a moment (:mod:`modelfetch.engine.progress`): by then the request was sent.
    """

    def __init__(self) -> None:
        self._requested: set[FileId] = set()
        """Files that had a first progress."""

    def includes(self, record: Record) -> bool:
        """Whether a record comes before a request; to be called before :meth:`note` with the same record."""
        match record.event:
            case RunStarted() | Planned() | FileKept() | FileStarted():
                return True
            case Progress(model=model, file=file):
                return (model, file) not in self._requested
            case _:
                return False

    def note(self, record: Record) -> None:
        """Note the request that follows the record, if one does."""
        if isinstance(record.event, Progress):
            self._requested.add((record.event.model, record.event.file))


class RecordBuffer:
    """Records that wait for their reporter.

    Ctrl-C may come at any moment, also while a module is imported or between two records. A record is removed
    before it is passed on, so none is reported twice, and those left are reported with the next one.
    """

    def __init__(self) -> None:
        self._records: deque[Record] = deque()

    def add(self, record: Record) -> None:
        """Append a record."""
        self._records.append(record)

    def flush_to(self, reporter: Reporter) -> None:
        """Pass all records on, in order."""
        while self._records:
            reporter.report(self._records.popleft())


class DeferredReporter:
    """A reporter that is created, and gets all records so far, once the first request was sent.

    Args:
        create: Creates it.
    """

    def __init__(self, create: Callable[[], Reporter]) -> None:
        self._create = create
        self._reporter: Reporter | None = None
        self._opening = RunOpening()
        self._buffer = RecordBuffer()

    def report(self, record: Record) -> None:
        """Pass a record on, or buffer it."""
        self._buffer.add(record)
        if self._reporter is None and not self._opening.includes(record):
            self._reporter = self._create()
        if self._reporter is None:
            self._opening.note(record)
        else:
            self._buffer.flush_to(self._reporter)

    def close(self) -> None:
        """Close the reporter, if it was created."""
        if self._reporter is not None:
            self._reporter.close()

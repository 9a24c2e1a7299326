"""Reporters that begin once the first request is on its way: what they import must not keep it waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from modelfetch.engine.events import FileKept, FileStarted, Planned, Progress, RunStarted

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.engine.stream import Reporter
    from modelfetch.engine.totals import FileId


class ReporterOpening:
    """Knows when the opening of a run is over.

    A transfer yields its first progress right before it asks, and the next one when bytes came or nothing did
    for a moment (:mod:`modelfetch.engine.progress`): by then the request was sent.
    """

    def __init__(self) -> None:
        self._asked: set[FileId] = set()

    def has(self, record: Record) -> bool:
        """Whether a record belongs to the opening. To be asked once for each record, in their order."""
        match record.event:
            case RunStarted() | Planned() | FileKept() | FileStarted():
                return True
            case Progress(model=model, file=file):
                is_first = (model, file) not in self._asked
                self._asked.add((model, file))
                return is_first
            case _:
                return False


class Held:
    """Records that wait for the one they are for.

    Ctrl-C may come at any moment, while a module is imported as well as between two records: what waits then
    is told with the next record, and nothing is told twice.
    """

    def __init__(self) -> None:
        self._records: deque[Record] = deque()

    def add(self, record: Record) -> None:
        """Let a record wait."""
        self._records.append(record)

    def tell(self, reporter: Reporter) -> None:
        """Pass on what waits, in order."""
        while self._records:
            reporter.report(self._records.popleft())


class DeferredReporter:
    """A reporter that is made, and told everything, when the opening of a run is over.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[], Reporter]) -> None:
        self._make = make
        self._made: Reporter | None = None
        self._opening = ReporterOpening()
        self._held = Held()

    def report(self, record: Record) -> None:
        """Pass a record on, or keep it for a moment."""
        self._held.add(record)
        if self._made is None and not self._opening.has(record):
            self._made = self._make()
        if self._made is not None:
            self._held.tell(self._made)

    def close(self) -> None:
        """Close it, if it was made."""
        if self._made is not None:
            self._made.close()

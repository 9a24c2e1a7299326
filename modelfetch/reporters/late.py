"""Reporters that begin once the first request is on its way: what they import must not keep it waiting."""

from __future__ import annotations

from collections.abc import Callable

from modelfetch.engine.events import FileKept, FileStarted, Planned, Progress, RunStarted
from modelfetch.engine.ledger import Key
from modelfetch.engine.record import Record
from modelfetch.engine.stream import Reporter


class Opening:
    """Knows when the opening of a run is over.

    A transfer yields its first progress right before it asks, and the next one when bytes came or nothing did
    for a moment (:mod:`modelfetch.engine.heartbeat`): by then the request was sent.
    """

    def __init__(self) -> None:
        self._asked: set[Key] = set()

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


class Late:
    """A reporter that is made, and told everything, when the opening of a run is over.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[], Reporter]) -> None:
        self._make = make
        self._made: Reporter | None = None
        self._opening = Opening()
        self._held: list[Record] = []

    def report(self, record: Record) -> None:
        """Pass a record on, or keep it for a moment."""
        if self._made is not None:
            self._made.report(record)
            return
        self._held.append(record)
        if not self._opening.has(record):
            self._made = self._make()
            for each in self._held:
                self._made.report(each)
            self._held.clear()

    def close(self) -> None:
        """Close it, if it was made."""
        if self._made is not None:
            self._made.close()

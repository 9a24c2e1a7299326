"""The fold from records to attempts: who was asked for a file, how long that took, and what came of it. Pure.

An attempt begins with the first :class:`~modelfetch.engine.events.Progress` of a source, which the transfer
yields before it asks. It ends when its bytes are judged, when it is retried or left, or with the run. Each
has its own clock. A file that came in a batch, at the first try, is told of by its commit alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from modelfetch.engine.events import (
    FileCommitted,
    FileKept,
    FileVerified,
    Progress,
    RetryScheduled,
    RunFinished,
    SourceFailed,
)
from modelfetch.errors import Fault
from modelfetch.history import CACHE, EXHAUSTED, AttemptRow, Outcome
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.engine.state import FileId

_NO_SOURCE_LEFT = "no source was left"


@dataclass(slots=True)
class _Open:
    """An attempt under way."""

    first: Progress
    at: datetime
    began: float
    resumed: int
    received: int
    """Length of the file's prefix, as told last."""
    first_byte: float | None = None


class Attempts:
    """The attempts of one run."""

    def __init__(self) -> None:
        self._open: dict[FileId, _Open] = {}
        self._told: set[FileId] = set()
        """Files of which an attempt was told."""

    def take(self, record: Record) -> Iterator[AttemptRow]:
        """Fold one record in, and yield the attempts it ends."""
        match record.event:
            case Progress() as event if event.source != CACHE:  # hashing what is on this disk asks nobody
                yield from self._progress(record, event)
            case RetryScheduled() as event:
                yield from self._retried(record, event)
            case SourceFailed() as event if event.source != CACHE:
                yield from self._failed(record, event)
            case FileVerified() as event:
                yield from self._end(record, (event.model, event.file), "success")
            case FileCommitted() as event if event.fetched and (event.model, event.file) not in self._told:
                yield self._at_once(record, event)
            case FileKept() | FileCommitted(source="cache") as event if record.state.operation == "ensure":
                yield self._of_nobody(record, event, CACHE, "hit")
            case RunFinished():
                yield from self.abandon(record)
            case _:
                pass

    def abandon(self, record: Record) -> Iterator[AttemptRow]:
        """End what is under way, without a verdict."""
        for key in list(self._open):
            yield from self._end(record, key, "cancelled")

    def _progress(self, record: Record, event: Progress) -> Iterator[AttemptRow]:
        key, now = (event.model, event.file), record.now
        attempt = self._open.get(key)
        if attempt is not None and attempt.first.host != event.host:
            yield from self._end(record, key, "cancelled")
            attempt = None
        if attempt is None:
            self._told.add(key)
            self._open[key] = _Open(event, record.at, now, event.received, event.received)
            return
        if event.received < attempt.received:  # begun again from the start of the file
            attempt.resumed = 0
        if attempt.first_byte is None and event.received > attempt.resumed:
            attempt.first_byte = now - attempt.began
        attempt.received = event.received

    def _retried(self, record: Record, event: RetryScheduled) -> Iterator[AttemptRow]:
        # A wrong hash is tried again only when the bytes came from several sources: nobody knows whose fault.
        outcome: Outcome = "cancelled" if event.fault == Fault.HASH else "error"
        yield from self._end(record, (event.model, event.file), outcome, event.fault, event.reason)

    def _failed(self, record: Record, event: SourceFailed) -> Iterator[AttemptRow]:
        yield from self._end(record, (event.model, event.file), "error", event.fault, event.reason)
        if not event.next_source:
            row = self._of_nobody(record, event, "", "error")
            yield replace(row, fault=EXHAUSTED, message=_NO_SOURCE_LEFT)

    def _end(
        self, record: Record, key: FileId, outcome: Outcome, fault: str = "", message: str = ""
    ) -> Iterator[AttemptRow]:
        attempt = self._open.pop(key, None)
        if attempt is None:  # a host known to be down was not even asked
            return
        first = attempt.first
        yield AttemptRow(
            run=record.run,
            model=first.model,
            file=first.file,
            source=first.source,
            host=first.host,
            attempt=first.attempt,
            started_at=attempt.at,
            first_byte=attempt.first_byte,
            seconds=record.now - attempt.began,
            resumed=attempt.resumed,
            received=attempt.received - attempt.resumed,
            size=first.size,
            outcome=outcome,
            fault=fault,
            message=message,
        )

    def _at_once(self, record: Record, event: FileCommitted) -> AttemptRow:
        """Say how a file came that was asked for once, and of which nothing was told before it was there."""
        return AttemptRow(
            run=record.run,
            model=event.model,
            file=event.file,
            source=event.source,
            host=event.host,
            attempt=1,
            started_at=record.at - timedelta(seconds=event.seconds),
            first_byte=None,
            seconds=event.seconds,
            resumed=0,
            received=event.fetched,
            size=event.size,
            outcome="success",
            fault="",
            message="",
        )

    def _of_nobody(
        self, record: Record, event: FileKept | FileCommitted | SourceFailed, source: str, outcome: Outcome
    ) -> AttemptRow:
        """Say what came of a file without anyone having been asked."""
        return AttemptRow(
            run=record.run,
            model=event.model,
            file=event.file,
            source=source,
            host="",
            attempt=1,
            started_at=record.at,
            first_byte=None,
            seconds=0.0,
            resumed=0,
            received=0,
            size=record.state.files[event.model, event.file].size,
            outcome=outcome,
            fault="",
            message="",
        )

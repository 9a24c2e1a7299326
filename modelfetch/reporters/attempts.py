"""Derive attempts from the records of a run: which host was used for a file, for how long, with which result.

An attempt starts with the first :class:`~modelfetch.engine.events.Progress` of a source, which the transfer
yields before it sends the request. It ends when its bytes are verified or rejected, when it is retried, when
the source fails, or with the run. A file that was fetched quickly in a batch has no progress: its attempt is
derived from the commit, or from the event that its bytes were wrong. Progress of attempt 0 comes while no
request is under way. The functions are pure: they read records and yield rows.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from modelfetch.history import EXHAUSTED, AttemptRow, Outcome
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model import source_kinds

if TYPE_CHECKING:
    from modelfetch.engine.record import Record
    from modelfetch.engine.state import FileId

_NO_SOURCE_LEFT = "no source was left"


@dataclass(slots=True)
class _Running:
    """An attempt that has not ended."""

    first: Progress
    at: datetime
    began: float
    resumed: int
    received: int
    """Bytes of the file in the latest progress."""
    first_byte: float | None = None


class Attempts:
    """The attempts of one run."""

    def __init__(self) -> None:
        self._running: dict[FileId, _Running] = {}
        self._started: set[FileId] = set()
        """Files with at least one attempt."""

    def add(self, record: Record) -> Iterator[AttemptRow]:
        """Read one record, and yield the attempts that it ends."""
        match record.event:
            case Progress() as event if (
                event.source != source_kinds.CACHE
            ):  # hashing a file on this disk is no attempt
                yield from self._progress(record, event)
            case RetryScheduled() as event:
                yield from self._retried(record, event)
            case SourceFailed() as event if event.source != source_kinds.CACHE:
                yield from self._failed(record, event)
            case FileVerified() as event:
                yield from self._verified(record, event)
            case FileCommitted() as event if event.fetched and (event.model, event.file) not in self._started:
                yield self._from_commit(record, event)
            case FileKept() | FileCommitted(source=source_kinds.CACHE) as event if (
                record.state.operation == "ensure"
            ):
                yield self._without_host(record, event, source_kinds.CACHE, "hit")
            case RunFinished():
                yield from self.abandon(record)
            case _:
                pass

    def abandon(self, record: Record) -> Iterator[AttemptRow]:
        """End the running attempts as cancelled."""
        for key in list(self._running):
            yield from self._end(record, key, "cancelled")

    def _progress(self, record: Record, event: Progress) -> Iterator[AttemptRow]:
        key, now = (event.model, event.file), record.now
        attempt = self._running.get(key)
        if attempt is not None and (not event.attempt or attempt.first.host != event.host):
            yield from self._end(record, key, "cancelled")
            attempt = None
        if not event.attempt:  # no request is under way
            return
        if attempt is None:
            self._started.add(key)
            self._running[key] = _Running(event, record.at, now, event.received, event.received)
            return
        if event.received < attempt.received:  # the transfer restarted at the beginning of the file
            attempt.resumed = 0
        if attempt.first_byte is None and event.received > attempt.resumed:
            attempt.first_byte = now - attempt.began
        attempt.received = event.received

    def _verified(self, record: Record, event: FileVerified) -> Iterator[AttemptRow]:
        key = event.model, event.file
        if key in self._running:  # the last progress of a file of a batch may be older than its last bytes
            self._running[key].received = event.size
        yield from self._end(record, key, "success")

    def _retried(self, record: Record, event: RetryScheduled) -> Iterator[AttemptRow]:
        # After a wrong hash a file is retried only if its bytes came from several sources. Which of them sent
        # wrong bytes is not known, so none of them gets an error.
        outcome: Outcome = "cancelled" if event.fault == Fault.HASH else "error"
        yield from self._end(record, (event.model, event.file), outcome, event.fault, event.reason)

    def _failed(self, record: Record, event: SourceFailed) -> Iterator[AttemptRow]:
        attempt = self._running.get((event.model, event.file))
        asked = (attempt.first.source, attempt.first.host) if attempt is not None else None
        if event.fault == Fault.HASH and asked != (event.source, event.host):
            # Sent over a parallel connection, or in a batch. An attempt at another host goes on.
            yield replace(
                self._without_host(record, event, event.source, "error"),
                host=event.host,
                fault=event.fault,
                message=event.reason,
            )
        else:
            yield from self._end(record, (event.model, event.file), "error", event.fault, event.reason)
        if not event.next_source:
            row = self._without_host(record, event, "", "error")
            yield replace(row, fault=EXHAUSTED, message=_NO_SOURCE_LEFT)

    def _end(
        self, record: Record, key: FileId, outcome: Outcome, fault: str = "", message: str = ""
    ) -> Iterator[AttemptRow]:
        attempt = self._running.pop(key, None)
        if attempt is None:  # no request was sent: the host was known to be down
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

    def _from_commit(self, record: Record, event: FileCommitted) -> AttemptRow:
        """Row for a file of a batch, which was fetched at the first attempt and has no progress."""
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

    def _without_host(
        self, record: Record, event: FileKept | FileCommitted | SourceFailed, source: str, outcome: Outcome
    ) -> AttemptRow:
        """Row for a result without an attempt of its own, such as a file in the cache."""
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

"""Decoding of one job's event stream: each record once, across reconnects. Pure.

A message of the stream carries one record, or is the end marker::

    id: 9
    event: progress
    data: {"v":1,"run":"5f0c62a1b9d3","n":9,"at":"2026-11-20T06:00:00.002Z","event":"progress",...}

    data: [DONE]

After a reconnect the server replays the stream from ``Last-Event-ID``. Records whose number was seen before
are skipped, so a server or proxy that ignores the header and replays everything does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from modelfetch.engine.events import Event, RunFinished
from modelfetch.engine.record import VERSION, Record, from_json, to_json
from modelfetch.engine.state import RunState
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.net.sse import Message
    from modelfetch.remote.client import Job

_MARKERS: Final = ("[DONE]", "[CANCELLED]", "[ERROR]")
"""Beginnings of the last message of a stream."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One record of a job, decoded for the first time."""

    job: Job
    document: dict[str, Any]
    """The record as the server sent it."""
    event: Event | None
    """None if this version does not know its kind, or a field has another form."""
    at: float
    """When it happened, on this machine's monotonic clock, estimated from the server's clock."""


class OtherVersionError(Exception):
    """The records of the server have a version that this program cannot read."""


class Decoder:
    """Decodes the messages of a job's stream, which may be replayed after a reconnect.

    Attributes:
        last: Number of the newest record, to resume from; None before the first.
        finished: The ``run_finished`` event, once it was decoded.
        marker: The end marker of the stream, once it was received.

    Args:
        job: The job.
        clock: Monotonic seconds.
    """

    def __init__(self, job: Job, clock: Callable[[], float]) -> None:
        self.last: int | None = None
        self.finished: RunFinished | None = None
        self.marker: str | None = None
        self._job = job
        self._clock = clock
        self._run = job.id
        self._offset = 0.0

    def synchronize(self, date: float) -> None:
        """Set the server's current time, in seconds since 1970.

        Replayed records then keep their true distances in time, and speeds computed from them are right.
        """
        # Only before the first record: another offset in the middle could make time run backwards.
        if self.last is None:
            self._offset = self._clock() - date

    def decode(self, message: Message) -> JobRecord | None:
        """Decode one message; None if it has no new record.

        Raises:
            OtherVersionError: The record has another version.
        """
        if message.data.startswith(_MARKERS):
            self.marker = message.data
            return None
        document = _parse_object(message.data)
        number = document.get("n")
        # Not isinstance: True is an int in Python.
        if type(number) is not int or (self.last is not None and number <= self.last):
            return None
        if document.get("v") != VERSION:
            raise OtherVersionError
        self.last, self._run = number, str(document.get("run"))
        return self._record(document)

    def end_record(self, finished: RunFinished) -> JobRecord:
        """Make the last record of a job whose server did not send one."""
        number = 0 if self.last is None else self.last + 1
        record = Record(self._run, number, datetime.now(UTC), finished, RunState())
        return self._record(to_json(record))

    def _record(self, document: dict[str, Any]) -> JobRecord:
        event = None
        with suppress(ValueError):  # a newer server may send kinds and forms that are unknown here
            event = from_json(document)
        if isinstance(event, RunFinished):
            self.finished = event
        return JobRecord(self._job, document, event, self._monotonic(document.get("at")))

    def _monotonic(self, stamp: object) -> float:
        """Convert a time of the server to this machine's monotonic seconds; never in the future."""
        now = self._clock()
        try:
            at = datetime.fromisoformat(str(stamp))
            return min(now, at.timestamp() + self._offset) if at.tzinfo is not None else now
        except (ValueError, OverflowError):
            return now


def _parse_object(data: str) -> dict[str, Any]:
    """Parse the JSON object in a message; an empty one if it is anything else."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):  # deep nesting exhausts the parser's stack
        return {}
    return document if isinstance(document, dict) else {}

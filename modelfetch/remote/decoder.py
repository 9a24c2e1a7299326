"""What one follower has heard of one job: each record once, whatever is said twice. Pure."""

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
"""What the last message of a stream begins with."""


@dataclass(frozen=True, slots=True)
class Received:
    """One record of a job, for the first time."""

    job: Job
    document: dict[str, Any]
    """As the server sent it."""
    event: Event | None
    """None when it is of a kind, or of a form, that is not known here."""
    at: float
    """When it happened, on this machine's monotonic clock, as well as the server's clock tells."""


class OtherVersionError(Exception):
    """The server's records have a form that cannot be read here."""


class Decoder:
    """Takes the messages of a job's stream, which may begin anew in the middle.

    Attributes:
        last: Number of the newest record; None before the first.
        finished: The run's own end, once it was told.
        marker: The last message of the stream, once it came.

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

    def synchronise(self, date: float) -> None:
        """Learn what the time of day is on the server, in seconds since 1970.

        With it, records of the past have their true distance in time, and so bytes their true speed.
        """
        if self.last is None:
            self._offset = self._clock() - date

    def take(self, message: Message) -> Received | None:
        """Take one message; give the record in it if it is a new one.

        Raises:
            OtherVersionError: It is of another version.
        """
        if message.data.startswith(_MARKERS):
            self.marker = message.data
            return None
        document = _object(message.data)
        number = document.get("n")
        if type(number) is not int or (self.last is not None and number <= self.last):
            return None
        if document.get("v") != VERSION:
            raise OtherVersionError
        self.last, self._run = number, str(document.get("run"))
        return self._told(document)

    def conclude(self, finished: RunFinished) -> Received:
        """Put an end that the server did not tell into the form in which it would have."""
        number = 0 if self.last is None else self.last + 1
        record = Record(self._run, number, datetime.now(UTC), finished, RunState())
        return self._told(to_json(record))

    def _told(self, document: dict[str, Any]) -> Received:
        event = None
        with suppress(ValueError):
            event = from_json(document)
        if isinstance(event, RunFinished):
            self.finished = event
        return Received(self._job, document, event, self._time(document.get("at")))

    def _time(self, stamp: object) -> float:
        """A time of the server's day as our monotonic seconds; never in the future."""
        now = self._clock()
        try:
            at = datetime.fromisoformat(str(stamp))
            return min(now, at.timestamp() + self._offset) if at.tzinfo is not None else now
        except (ValueError, OverflowError):
            return now


def _object(data: str) -> dict[str, Any]:
    """The JSON object in a message; an empty one where there is something else."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}

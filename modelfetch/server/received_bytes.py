"""Counts the bytes that the runs of a server receive, by source, for as long as the server runs.

The counts follow from the events: each has which source supplied which bytes of a file. Bytes of earlier runs
are not counted, and neither are those that were on this disk. Example::

    {"huggingface huggingface.co": 112000000, "peer 192.0.2.7:8765": 300000000}

:class:`Rate` turns a growing count into bytes per second.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from modelfetch.engine.events import FileCommitted, FileStarted, Progress
from modelfetch.engine.parts import amounts, label_of, parts_of
from modelfetch.model.source_kinds import WITHOUT_NETWORK

if TYPE_CHECKING:
    from modelfetch.engine.rate_limit import Clock
    from modelfetch.engine.record import Record
    from modelfetch.engine.totals import FileId

RATE_SECONDS: Final = 5.0
"""Seconds over which a rate is averaged, at least if the count was read before."""
STALE_SECONDS: Final = 15.0
"""Age of a reading, in seconds, from which no rate is computed: the panel reads every three seconds."""
LEAST_SECONDS: Final = 0.5
"""Seconds between two readings from which on a rate is computed: of less, it would only be noise."""


class ReceivedBytes:
    """The counts of one server. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def reporter(self) -> RunReporter:
        """Make a reporter for one run; it adds to these counts."""
        return RunReporter(self)

    def add(self, counts: Counter[str]) -> None:
        """Add bytes of some sources, each ``kind host``."""
        with self._lock:
            self._counts += counts

    def counts(self) -> Counter[str]:
        """Return the bytes of each source so far."""
        with self._lock:
            return self._counts.copy()


class RunReporter:
    """Counts what one run receives. Used by the thread that follows the run."""

    def __init__(self, received: ReceivedBytes) -> None:
        self._received = received
        self._files: dict[FileId, Counter[str] | None] = {}
        """The bytes of each file under way that are counted or were there before; None while that is not
        known, because an earlier run left some."""

    def report(self, record: Record) -> None:
        """Count what an event says."""
        match record.event:
            case FileStarted(model=model, file=file, offset=offset):
                self._files[model, file] = None if offset else Counter()
            case Progress() as event if event.attempt:
                self._count(event, event.received)
            case FileCommitted() as event:
                self._count(event, event.size)
                self._files.pop((event.model, event.file), None)
            case _:
                pass

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _count(self, event: Progress | FileCommitted, there: int) -> None:
        key = event.model, event.file
        if key not in self._files:  # the same bytes in another model: they were received once
            return
        now = amounts(parts_of(event.parts, there, label_of(event.source, event.host)))
        before, self._files[key] = self._files[key], now
        if before is not None:
            self._received.add(_from_network(now - before))


def _from_network(counts: Counter[str]) -> Counter[str]:
    return Counter(
        {label: n for label, n in counts.items() if label.partition(" ")[0] not in WITHOUT_NETWORK}
    )


class Rate:
    """The rate of a count that only grows, from the readings of it. Thread-safe.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: deque[tuple[float, int]] = deque()

    def of(self, count: int) -> int | None:
        """Return the bytes per second, given the count by now; None at the first reading for a while."""
        with self._lock:
            now, readings = self._clock(), self._readings
            while readings and (
                now - readings[0][0] > STALE_SECONDS
                or (len(readings) > 1 and now - readings[1][0] >= RATE_SECONDS)
            ):
                readings.popleft()
            if not readings or now - readings[-1][0] >= LEAST_SECONDS:
                readings.append((now, count))
            began, first = readings[0]
            return round((count - first) / (now - began)) if now - began >= LEAST_SECONDS else None

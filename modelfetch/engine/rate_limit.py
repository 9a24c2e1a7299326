"""Rate limits: bytes per second of a process, and progress events per second of a file.

:class:`RateLimit` slows all connections down to ``network.limit_rate``. :class:`Ticker` limits progress
events to ten a second for each file.

Example: at 1000 bytes per second a piece of 500 bytes books half a second. The next piece, of another
connection or run, may be passed on when that is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

Clock = Callable[[], float]
"""Monotonic seconds."""

BURST_SECONDS = 0.25
"""Most unused time, in seconds, that may be caught up with: enough to even out pauses between pieces, too
little to be noticed as a burst."""
PROGRESS_SECONDS = 0.1
"""Seconds between two progress events of a file: at most ten a second."""


class Allowance:
    """Books the time that bytes take at a limited rate, one booking after the other. Thread-safe.

    Runs of one process share one, so that jobs at the same time are together no faster than one alone. Each
    run converts bytes to seconds by its own rate. So with different rates the time is shared, and no run
    exceeds its own rate. The lock protects the end of the last booking.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free_at = 0.0

    def book(self, seconds: float, now: float) -> float:
        """Book some seconds behind the last booking.

        Returns:
            Seconds from now until the booking is over.
        """
        with self._lock:
            self._free_at = max(self._free_at, now - BURST_SECONDS) + seconds
            return self._free_at - now


class RateLimit:
    """``network.limit_rate``: one limit for all connections of a run, and of runs with the same allowance.

    Args:
        rate: Bytes per second, or None for no limit.
        cancel: Ends a wait.
        clock: Monotonic seconds.
        allowance: Shared with other runs; by default the run's own.
    """

    def __init__(
        self,
        rate: int | None,
        cancel: Cancellation,
        clock: Clock = time.monotonic,
        allowance: Allowance | None = None,
    ) -> None:
        self._rate = rate
        self._cancel = cancel
        self._clock = clock
        self._allowance = allowance or Allowance()

    def take(self, count: int) -> None:
        """Wait until ``count`` more bytes are allowed.

        Raises:
            Cancelled: The run was cancelled during the wait.
        """
        if self._rate is None:
            return
        wait = self._allowance.book(count / self._rate, self._clock())
        if wait > 0:
            self._cancel.sleep(wait)

    def note(self, count: int) -> None:
        """Count bytes that came another way already, without a wait: later ones wait for them."""
        if self._rate is not None and count:
            self._allowance.book(count / self._rate, self._clock())

    def throttle(self, piece: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Yield a piece at the limited rate, in parts of :data:`BURST_SECONDS`.

        Larger parts would make a slow transfer look stalled.

        Raises:
            Cancelled: The run was cancelled during a wait.
        """
        if self._rate is None:
            yield piece
            return
        part = max(1, int(self._rate * BURST_SECONDS))
        for start in range(0, len(piece), part):
            self.take(min(part, len(piece) - start))
            yield piece[start : start + part]


class Ticker:
    """Limits progress events to one in :data:`PROGRESS_SECONDS`. Used by one thread."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._due_at = 0.0

    def due(self) -> bool:
        """Return whether the next event is due; if so, the next interval begins."""
        now = self._clock()
        if now < self._due_at:
            return False
        self._due_at = now + PROGRESS_SECONDS
        return True

"""The pace of a run: a shared limit on bytes per second, and a limit on how often progress is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from modelfetch.errors import Fault, SourceError

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

Clock = Callable[[], float]
"""Monotonic seconds."""

BURST_SECONDS = 0.25
"""How much unused rate may be caught up with: enough to even out, too little to be seen."""
PROGRESS_SECONDS = 0.1
"""At most ten progress events a second per file."""


class Allowance:
    """The time that bytes take at a limited rate, handed out once: whoever takes some is later than the last.

    Runs of one process share one, so that jobs beside each other are together no faster than one alone. Each
    counts by its own rate; so where these differ, the time is shared, and none exceeds its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free_at = 0.0

    def book(self, seconds: float, now: float) -> float:
        """Take some time.

        Returns:
            How many seconds from now it is over.
        """
        with self._lock:
            self._free_at = max(self._free_at, now - BURST_SECONDS) + seconds
            return self._free_at - now


class RateLimit:
    """``network.limit_rate``: one allowance for all connections of a run, and of those beside it.

    Args:
        rate: Bytes per second, or None for no limit.
        cancel: Ends the waiting.
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
            Cancelled: The run was cancelled meanwhile.
        """
        if self._rate is None:
            return
        wait = self._allowance.book(count / self._rate, self._clock())
        if wait > 0:
            self._cancel.sleep(wait)

    def throttle(self, piece: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Give a piece out as fast as is allowed, in parts so small that what is slow does not seem to stand.

        Raises:
            Cancelled: The run was cancelled meanwhile.
        """
        if self._rate is None:
            yield piece
            return
        part = max(1, int(self._rate * BURST_SECONDS))
        for start in range(0, len(piece), part):
            self.take(min(part, len(piece) - start))
            yield piece[start : start + part]


class Ticker:
    """Says when it is time for another progress event."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._due_at = 0.0

    def due(self) -> bool:
        """Whether the last event is long enough ago; if so, the next interval begins."""
        now = self._clock()
        if now < self._due_at:
            return False
        self._due_at = now + PROGRESS_SECONDS
        return True


class Floor:
    """Ends a source that brings too little for all the answers it gives.

    Each answer is watched while it is read; this is for those that give a few bytes each and then the next.

    Args:
        minimum: Bytes per second.
        window: Seconds over which the speed is measured.
        clock: Monotonic seconds.
    """

    def __init__(self, minimum: float, window: float, clock: Clock = time.monotonic) -> None:
        self._minimum = minimum
        self._window = window
        self._clock = clock
        self._began_at = clock()
        self._before = 0

    def check(self, received: int) -> None:
        """Look at the speed since the last window ended.

        Args:
            received: Bytes of all answers so far.

        Raises:
            SourceError: It is too low.
        """
        seconds, count = self._clock() - self._began_at, received - self._before
        if seconds < self._window:
            return
        if count < self._minimum * seconds:
            raise SourceError(Fault.STALL, f"too slow: {count} bytes in {seconds:.0f} s")
        self._began_at, self._before = self._clock(), received

"""Timeouts and minimum speed of one request, redirects included, up to the last byte of the body.

The read timeout of a socket starts again with every byte received, whatever it belongs to: a server that
sends a head, an interim response, a chunk size, a trailer or the body of a redirect one byte at a time would
never run into it. Here only bytes of the file count as progress. Every way of reading a response takes its
timeout from the same :class:`StallTimer`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Timeouts and limits of a client. Times are in seconds, speeds in bytes per second."""

    connect_timeout: float = 10.0
    """Time for all connections of one request together: every redirect, and every address of each host."""
    stall_timeout: float = 30.0
    """Longest time without a byte of the file, counted from the request on. Other bytes, such as those of a
    head, do not count; see :class:`StallTimer`."""
    min_speed: float = 1024.0
    """A transfer that is slower, measured over ``stall_timeout`` seconds of waiting, counts as stalled."""
    direct_from: float = 4 << 20
    """Smallest body, in bytes, that is read from the socket directly if possible; ``math.inf`` for never.

    The connection cannot be used again afterwards. Measured over loopback, where a new connection is
    cheapest, reading 2 MiB directly (4 MiB under TLS) saves as much processor time as a new connection takes.
    """


@dataclass(slots=True)
class Memory:
    """State of one source for one file, kept from one request to the next. Not shared between files."""

    etag: str = ""
    """Strong validator (``ETag``) of the last accepted response, or empty."""
    etag_origin: tuple[str, str, int] | None = None
    """The origin that sent ``etag``. A validator is only valid at the origin that sent it."""


Clock = Callable[[], float]
"""Returns monotonic seconds."""

_STEPS = 16
"""Steps into which a window is divided. Reads of one step are added up, so that memory does not grow with the
number of reads, which may be millions."""


class StallTimer:
    """Measures the time without a byte of the file ("silence") in one request. For one thread at a time.

    Only time spent waiting for the source counts; time for the disk or for our own rate limit does not.
    Connecting has a budget of its own, shared by all redirects of the request. The timer starts when it is
    made.

    Args:
        limits: Timeouts and minimum speed.
        clock: Returns monotonic seconds.
        first_byte: Seconds for connecting, and again for the first byte, if less than the limits allow.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Clock = time.monotonic,
        first_byte: float | None = None,
    ) -> None:
        self._window = limits.stall_timeout
        self._silence = self._window if first_byte is None else min(first_byte, self._window)
        self._min_speed = limits.min_speed
        self._floor: SpeedFloor | None = None
        """Created when more than one piece is needed: most bodies arrive in one and need none."""
        self._clock = clock
        self._since = clock()
        """When the silence began; moved forward by every pause."""
        self._paused = 0.0
        """Seconds of silence before the current pause."""
        self._cap: float | None = None
        """When :meth:`capped` ends the wait, by the clock."""
        connecting = limits.connect_timeout
        self._connecting = connecting if first_byte is None else min(first_byte, connecting)
        self._latest: tuple[int, float] | None = None
        """Size of the last piece in bytes, and the seconds waited for it."""
        self._has_begun = False
        self._is_over = False

    def remaining(self) -> float:
        """Seconds left to wait for the next byte of the file; 0 after :meth:`expire`.

        Raises:
            TimeoutError: No time is left.
        """
        if self._is_over:
            return 0.0
        now = self._clock()
        end = self._since + self._silence
        left = (end if self._cap is None else min(end, self._cap)) - now
        if left <= 0.0:
            raise TimeoutError("no byte of the file in time")
        return left

    def count_bytes(self, count: int) -> None:
        """Count bytes of the file that were received; the silence starts again at zero."""
        now = self._clock()
        # The wait for the first byte does not count for the speed: a source that starts late may still be
        # fast, and the silence limits that wait already.
        self._latest = count, (now - self._since if self._has_begun else 0.0)
        self._since, self._has_begun, self._silence = now, True, self._window

    def check_speed(self) -> None:
        """Check the speed. Not called after the last byte: a complete body is accepted however slow it was.

        Raises:
            SourceError: The last ``stall_timeout`` seconds of waiting brought less than ``min_speed``.
        """
        if self._latest is None:
            return
        self._floor = self._floor or SpeedFloor(self._min_speed, self._window)
        self._floor.add(*self._latest)
        self._latest = None

    def pause(self) -> None:
        """Stop counting until :meth:`resume`: the caller does something else than waiting for the source."""
        self._paused = self._clock() - self._since

    def resume(self) -> None:
        """Continue counting after :meth:`pause`."""
        self._since = self._clock() - self._paused

    @contextmanager
    def capped(self, seconds: float) -> Iterator[None]:
        """Limit all waits inside the context to ``seconds`` together, for bytes that are not needed."""
        self._cap = self._clock() + seconds
        try:
            yield
        finally:
            self._cap = None

    @contextmanager
    def connecting(self) -> Iterator[float]:
        """Connect inside the context; that time does not count as silence.

        Yields:
            Seconds left for connecting: ``connect_timeout`` without what earlier redirects used of it.

        Raises:
            TimeoutError: No time is left.
        """
        if self._connecting <= 0.0:
            raise TimeoutError("no connection in time")
        self.pause()
        began = self._clock()
        try:
            yield self._connecting
        finally:
            self._connecting -= self._clock() - began
            self.resume()

    def expire(self) -> None:
        """End all waiting: the body is complete. Bytes that have arrived already can still be read."""
        self._is_over = True


class SpeedFloor:
    """Ends transfers that are slow without ever being silent.

    Args:
        minimum: Bytes per second.
        window: Seconds of waiting over which the speed is measured.
    """

    def __init__(self, minimum: float, window: float) -> None:
        self._minimum = minimum
        self._window = window
        self._steps: deque[tuple[int, float]] = deque()
        self._bytes = 0
        self._seconds = 0.0

    def add(self, count: int, waited: float) -> None:
        """Count one read.

        Args:
            count: Bytes.
            waited: Seconds.

        Raises:
            SourceError: The last ``window`` seconds of waiting brought less than the minimum.
        """
        self._bytes += count
        self._seconds += waited
        if self._steps and self._steps[-1][1] < self._window / _STEPS:
            earlier = self._steps.pop()
            count, waited = count + earlier[0], waited + earlier[1]
        self._steps.append((count, waited))
        if self._seconds < self._window:
            return
        if self._bytes < self._minimum * self._seconds:
            raise SourceError(Fault.STALL, f"too slow: {self._bytes} bytes in {self._seconds:.0f} s")
        self._forget()

    def _forget(self) -> None:
        """Drop steps that lie before the window, but keep at least one whole window of waiting."""
        while self._steps and self._seconds - self._steps[0][1] >= self._window:
            count, waited = self._steps.popleft()
            self._bytes -= count
            self._seconds -= waited

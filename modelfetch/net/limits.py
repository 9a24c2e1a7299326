"""The patience with one exchange: one rule for all of it, from the request to the last byte that is wanted.

A read timeout of a socket starts anew with every byte that comes, wanted or not: a head, an interim answer,
the size of a chunk, a trailer or the body of a redirect sent a byte at a time keeps it satisfied for ever.
Here only bytes of the file count as progress. Every path by which an answer is read asks the same watch how
long it may wait.
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
    """The patience of a client. Times are in seconds, speeds in bytes per second."""

    connect_timeout: float = 10.0
    """For all connections that one exchange needs, each with all its addresses."""
    stall_timeout: float = 30.0
    """Longest time without a byte of the file, from the request on, whatever else comes; see
    :class:`StallTimer`."""
    min_speed: float = 1024.0
    """Below this, measured over ``stall_timeout`` seconds of waiting, a transfer counts as stalled."""
    direct_from: float = 4 << 20
    """Bytes from which on a body is read from the socket itself where it can be; ``math.inf`` for never.

    It costs the connection. Measured over loopback, where a new one is cheapest, bodies of 2 MiB (under TLS
    of 4 MiB) save as much processor time as that takes.
    """


@dataclass(slots=True)
class Memory:
    """What one source learned from its answers, to ask better next time. Not shared between files."""

    etag: str = ""
    etag_origin: tuple[str, str, int] | None = None
    """The origin that sent the validator: it means nothing to any other."""


Clock = Callable[[], float]
"""Monotonic seconds."""

_STEPS = 16
"""Parts of a window in which reads are added up, so that their number, up to millions, does not matter."""


class StallTimer:
    """Measures how long wanted bytes are waited for. For one thread at a time.

    Only time in which the source is waited for counts: not the disk, not our own rate limit. Connections have
    a budget of their own, one for all hops of the exchange together. The watch runs from the start.

    Args:
        limits: How much patience there is.
        clock: Monotonic seconds.
        first_byte: Seconds that a connection, and then the first byte, may take, if less than usual.
    """

    def __init__(
        self, limits: Limits, clock: Clock = time.monotonic, first_byte: float | None = None
    ) -> None:
        self._window = limits.stall_timeout
        self._silence = self._window if first_byte is None else min(first_byte, self._window)
        self._min_speed = limits.min_speed
        self._floor: SpeedFloor | None = None
        """Made when it is needed: most answers come in one piece."""
        self._clock = clock
        self._since = clock()
        """When the silence began, if all time counted."""
        self._paused = 0.0
        """Seconds of silence so far, while nobody waits."""
        self._cap: float | None = None
        connecting = limits.connect_timeout
        self._connecting = connecting if first_byte is None else min(first_byte, connecting)
        self._latest: tuple[int, float] | None = None
        """Bytes that came last, and the seconds they were waited for."""
        self._has_begun = False
        self._is_over = False

    def remaining(self) -> float:
        """Seconds that the next wanted byte may be waited for; 0 when nothing is waited for any more.

        Raises:
            TimeoutError: None: the silence was too long.
        """
        if self._is_over:
            return 0.0
        now = self._clock()
        end = self._since + self._silence
        left = (end if self._cap is None else min(end, self._cap)) - now
        if left <= 0.0:
            raise TimeoutError("no wanted byte in time")
        return left

    def count_bytes(self, count: int) -> None:
        """Account for bytes of the file that came: the silence is over."""
        now = self._clock()
        # The wait for the first byte has its limit in the silence: who begins late may still be quick.
        self._latest = count, (now - self._since if self._has_begun else 0.0)
        self._since, self._has_begun, self._silence = now, True, self._window

    def check_speed(self) -> None:
        """Say whether it goes on quickly enough. Not asked after the last byte: who has all has no complaint.

        Raises:
            SourceError: The last ``stall_timeout`` seconds of waiting brought less than ``min_speed``.
        """
        if self._latest is None:
            return
        self._floor = self._floor or SpeedFloor(self._min_speed, self._window)
        self._floor.add(*self._latest)
        self._latest = None

    def pause(self) -> None:
        """Nobody waits for the source until :meth:`resume`."""
        self._paused = self._clock() - self._since

    def resume(self) -> None:
        """Somebody waits again."""
        self._since = self._clock() - self._paused

    @contextmanager
    def capped(self, seconds: float) -> Iterator[None]:
        """Wait no longer than ``seconds`` in all inside the context, for bytes that nobody needs."""
        self._cap = self._clock() + seconds
        try:
            yield
        finally:
            self._cap = None

    @contextmanager
    def connecting(self) -> Iterator[float]:
        """Connect inside the context, which does not count as silence.

        Yields:
            Seconds that it may take: what earlier hops of the exchange left of ``connect_timeout``.

        Raises:
            TimeoutError: They left nothing.
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
        """All that is wanted is there: from now on what has arrived may be read, and nothing waited for."""
        self._is_over = True


class SpeedFloor:
    """Ends transfers that trickle, which a limit of silence never notices.

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
        """Account for one read.

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
        """Drop what lies outside the window, keeping at least one whole window of waiting."""
        while self._steps and self._seconds - self._steps[0][1] >= self._window:
            count, waited = self._steps.popleft()
            self._bytes -= count
            self._seconds -= waited

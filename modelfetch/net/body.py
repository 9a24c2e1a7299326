"""Reading one body: counted to the byte, watched for stalls, wakeable."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.net import direct
from modelfetch.net.answers import Accept
from modelfetch.net.cancel import Cancellation
from modelfetch.net.failures import source_error

if TYPE_CHECKING:
    from modelfetch.net.client import Limits


class Body:
    """The bytes of an accepted answer.

    Iterating yields pieces as they come and ends after exactly the accepted number of bytes. httpx takes a
    close-delimited body that was cut short for a complete one, so counting is the only proof of the end.
    A piece is valid only until the next one is asked for: it may be a view of a buffer that is used again.

    Attributes:
        start: Offset in the file of the first byte that will come.
        ranged: Whether the server sends the range that was asked for.
    """

    def __init__(
        self, response: httpx.Response, accepted: Accept, size: int, limits: Limits, cancel: Cancellation
    ) -> None:
        self.start = accepted.start
        self.ranged = response.status_code == 206
        self._length = size - accepted.start if accepted.length is None else accepted.length
        self._response = response
        self._limits = limits
        self._floor = SpeedFloor(limits.min_speed, limits.stall_timeout)
        self._cancel = cancel
        self._reading: Iterator[tuple[bytes | memoryview, float]] = iter(())

    def read(self, size: int) -> bytes:
        """Read a small body whole, and not a byte beyond it: the connection is as good as new afterwards.

        The parser never sees the end, so httpx takes it for still in use, until :meth:`close`.

        Raises:
            SourceError: Cut short, too slow, or longer than announced.
            Cancelled: The run was cancelled.
        """
        self._reading = self._pieces()  # to be kept: dropping it closes the connection
        data, until = bytearray(), time.monotonic() + self._limits.stall_timeout
        while len(data) < size:
            piece, _ = next(self._reading, (b"", 0.0))
            data += piece
            if not piece:
                raise SourceError(Fault.CUT, f"the connection was cut, {size - len(data)} bytes too early")
            if time.monotonic() > until:
                raise SourceError(Fault.STALL, f"too slow: {len(data)} bytes")
        if len(data) > size:
            raise SourceError(Fault.SIZE, f"sent more than the {size} bytes expected")
        return bytes(data)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Yield the body.

        Raises:
            SourceError: Cut short, stalled, too slow, or longer than announced.
            Cancelled: The run was cancelled.
        """
        left = self._length
        for piece, waited in self._pieces():
            if len(piece) > left:
                if left:
                    yield piece[:left]
                raise SourceError(Fault.SIZE, f"sent more than the {self._length} bytes expected")
            left -= len(piece)
            yield piece
            if left:
                self._floor.add(len(piece), waited)
        if left:
            raise SourceError(Fault.CUT, f"the connection was cut, {left} bytes too early")

    def _pieces(self) -> Iterator[tuple[bytes | memoryview, float]]:
        """The pieces as they come, with the seconds each was waited for."""
        pieces = self._source()
        while True:
            asked = time.monotonic()
            try:
                piece = next(pieces, b"")
            except (httpx.HTTPError, OSError) as error:
                self._cancel.check()
                raise source_error(error, body=True) from error
            self._cancel.check()
            if not piece:
                return
            yield piece, time.monotonic() - asked

    def _source(self) -> Iterator[bytes | memoryview]:
        """The quickest way to read this body that is safe."""
        response, length, limits = self._response, self._length, self._limits
        sock = direct.socket_of(response, length) if length >= limits.direct_from else None
        if sock is None:
            return response.iter_raw()
        return direct.pieces(response, sock, length, limits.stall_timeout)

    def close(self) -> None:
        """Give the connection back, or drop it if the body was not read to its end."""
        self._response.close()


_STEPS = 16
"""Parts of a window in which reads are added up, so that their number, up to millions, does not matter."""


class SpeedFloor:
    """Ends transfers that trickle, which a read timeout never notices.

    Only time spent waiting for the network counts: not the disk, not our own rate limit.

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

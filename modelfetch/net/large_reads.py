"""Reads large bodies from a socket, past every parser, into one buffer that is reused.

Bytes are collected before they are handed on, because writing and hashing small pieces is inefficient: TLS
returns 16 KiB at a time.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelfetch.net.time_limits import StallTimer

BUFFER_BYTES = 256 * 1024
"""Bytes collected in one piece. TLS returns 16 KiB at a time, which makes writing and hashing inefficient.
With 128 KiB the processor time was a tenth higher (measured over loopback)."""
LARGE_BYTES = 1 << 20
"""Size of the large buffers, which save a sixth of the processor time. Their number is limited, because up to
32 connections read at the same time."""
LARGE_BUFFERS = 8
"""Most large buffers in use at the same time; further connections use small ones."""
WAKE_BYTES = 256 * 1024
"""Bytes that a read waits for, at most :data:`HOLD_SECONDS`. A host that limits its speed sends some 20 KiB
at a time; with a read for each of them, 32 connections take a fifth more processor time."""
HOLD_SECONDS = 0.025
"""Longest time that bytes wait in the buffer for more. Short against the 0.1 s between two updates of a
progress bar."""


_large = threading.Semaphore(LARGE_BUFFERS)
"""Counts large buffers for the whole process, because they limit its memory."""


def gathered(sock: socket.socket, left: int, timer: StallTimer) -> Iterator[memoryview]:
    """Yield ``left`` bytes from a socket in large pieces; fewer if the connection ends early.

    Each piece is valid only until the next one is requested. The timeout of the socket is changed.

    Raises:
        OSError: The connection broke; TimeoutError if ``timer`` has no time left.
    """
    with _buffer(left) as buffer:
        yield from _rest(sock, left, timer, buffer)


@contextmanager
def _buffer(length: int) -> Iterator[memoryview]:
    """A buffer for a body of ``length`` bytes: a large one if one is free, else a small one."""
    # Never waits for a large buffer: a small one only costs some processor time.
    is_large = length > BUFFER_BYTES and _large.acquire(blocking=False)
    try:
        yield memoryview(bytearray(min(length, LARGE_BYTES if is_large else BUFFER_BYTES)))
    finally:
        if is_large:
            _large.release()


def _rest(sock: socket.socket, left: int, timer: StallTimer, buffer: memoryview) -> Iterator[memoryview]:
    sock.settimeout(min(HOLD_SECONDS, timer.remaining()))
    reader = _Reader(sock, timer)
    while left and (count := reader.fill(buffer[:left])):
        left -= count
        if not left:
            reader.wake_at(1)  # the next response on this connection may be small
        yield buffer[:count]


class _Reader:
    """Fills a buffer from a socket, with few reads.

    Args:
        sock: With a short timeout, so that bytes in the buffer are handed on although no more arrive.
        timer: Decides after each such timeout whether the wait goes on.
    """

    def __init__(self, sock: socket.socket, timer: StallTimer) -> None:
        self._sock = sock
        self._timer = timer
        self._low_water = 1
        # Under TLS the bytes in the socket are not those of the body, and may end a little behind it.
        self._can_wait = type(sock) is socket.socket

    def wake_at(self, count: int) -> None:
        """Let reads wait until so many bytes are there; where the system cannot do that, any byte wakes."""
        if count != self._low_water:
            self._low_water = count
            with suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def fill(self, room: memoryview) -> int:
        """Read until ``room`` is full or :data:`HOLD_SECONDS` are over; returns 0 at the end.

        Raises:
            OSError: The connection broke; TimeoutError if the timer has no time left.
        """
        began, filled, enough = time.monotonic(), 0, WAKE_BYTES
        while filled < len(room):
            if self._can_wait:
                self.wake_at(min(enough, len(room) - filled))
            try:
                count = self._sock.recv_into(room[filled:])
            except OSError as error:
                if filled:
                    break  # return the bytes first; the next read fails again, or finds the end
                if not isinstance(error, TimeoutError):
                    raise
                if enough == 1:
                    self._timer.remaining()  # raises if no time is left
                enough = 1  # fewer bytes may be there
                continue
            filled += count
            if not count or time.monotonic() - began >= HOLD_SECONDS:
                break
        return filled

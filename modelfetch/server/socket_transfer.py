"""Sends a part of a file to a socket without copying it through this process: ``sendfile`` in a thread.

The socket is non-blocking and belongs to the event loop, which must write nothing to it meanwhile. The
transfer has descriptors of its own: a duplicate of the socket's and that of the file. So it never writes to a
descriptor number that was closed and given to another connection. The kernel copies from its page cache to
the socket; where the socket is full, the thread waits in ``poll``.

A client must read on: :data:`LEAST_BYTES` within some seconds, else the transfer ends. So it cannot hold the
transfer with a byte now and then. While the socket is full, as many bytes can be sent as the client's system
has acknowledged, so what was sent tells what the client reads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelfetch.server.share_limits import ShareLimits

IS_SUPPORTED: Final = hasattr(os, "sendfile") and hasattr(select, "poll")
"""Whether the system has what a transfer needs (Linux, macOS, BSD; not Windows)."""
LEAST_BYTES: Final = 64 << 10
"""Bytes that a client must read within the time limit: as much as uvicorn buffers before the same limit."""
POLL_MILLISECONDS: Final = 1000
"""Longest wait for a socket before sending is tried again. The kernel reports a socket as writable only once
a third of its buffer is free; that is over a megabyte, which a slow client takes long to read."""
_CORK: Final[int | None] = getattr(socket, "TCP_CORK", None)
"""Linux only: TCP_NOPUSH of macOS does not send the rest when it is turned off. Measured on loopback with one
client: 1.8 GB/s without it, 2.4 GB/s with it."""
COPY_BYTES: Final = 256 << 10
"""Bytes that are read at once where the file system does not support ``sendfile``."""
_NOT_SUPPORTED: Final = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTSOCK)
"""Errors of ``sendfile`` for a file or socket that it cannot be used with (sendfile(2))."""


class SocketTransfer:
    """One part of a file on its way to a client.

    Args:
        to: Descriptor of the connected socket; it is duplicated.
        file: Descriptor of the open file; closed at the end, but not by an error of this call.
        start: Offset of the first byte.
        length: Bytes to send.
        limits: The rate of all transfers.
        count: Called with the number of bytes each time some were sent.
        seconds: Seconds within which the client must read :data:`LEAST_BYTES`.

    Raises:
        OSError: There is no descriptor left, or the connection has ended.
    """

    def __init__(
        self,
        to: int,
        file: int,
        start: int,
        length: int,
        limits: ShareLimits,
        count: Callable[[int], None],
        seconds: float,
    ) -> None:
        self._file = file
        self._offset = start
        self._end = start + length
        self._sent = 0
        self._limits = limits
        self._count = count
        self._seconds = seconds
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        """Held to close the socket and to shut it down: a number that was closed may be another socket's."""
        self._send_some = self._by_kernel
        self._sent_before = 0
        self._read_at = 0.0
        duplicate = os.dup(to)
        try:
            self._socket = socket.socket(fileno=duplicate)
        except OSError:  # macOS has no name for the socket of a connection that was reset
            os.close(duplicate)
            raise

    def cancel(self) -> None:
        """End the transfer from another thread, and the connection with it."""
        self._cancelled.set()
        with self._lock, contextlib.suppress(OSError):  # it may have ended, or the client may be gone
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread if it waits for the client

    def run(self) -> bool:
        """Send all bytes; to be called once, in a thread.

        Returns:
            Whether all were handed to the system. Otherwise the connection is of no more use: the transfer
            was cancelled, the client closed it or reads too slowly, or the file has become shorter.
        """
        try:
            return self._run()
        except OSError:
            return False
        finally:
            self.close()

    def close(self) -> None:
        """Close both descriptors; without effect if the transfer has ended."""
        with self._lock:
            self._socket.close()
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _run(self) -> bool:
        self._cork(on=True)
        try:
            return self._send_all()
        finally:
            self._cork(on=False)  # sends what is left of the last packet

    def _cork(self, *, on: bool) -> None:
        """Send full packets only; without that, each page of the file may become a packet of its own."""
        if _CORK is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _CORK, int(on))

    def _send_all(self) -> bool:
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLOUT)
        self._read_at = time.monotonic()
        while self._offset < self._end:
            booked = min(self._limits.piece, self._end - self._offset)
            if not self._wait_for_rate(booked):
                return False
            until = self._offset + booked
            while self._offset < until:
                if self._cancelled.is_set():
                    return False
                try:
                    count = self._send_some(until - self._offset)
                except BlockingIOError:
                    # Before the wait: after it, the client may have read on while this thread got no time.
                    if self._is_stalled():
                        return False
                    poll.poll(POLL_MILLISECONDS)
                    continue
                if not count:  # the file was truncated after it was opened
                    return False
                self._offset += count
                self._sent += count
                self._count(count)
        return True

    def _wait_for_rate(self, count: int) -> bool:
        """Wait until bytes may be sent; False if the transfer was cancelled meanwhile."""
        wait = self._limits.book(count)
        if wait <= 0:
            return True
        self._read_at += wait  # the client cannot read what is not sent
        return not self._cancelled.wait(wait)

    def _by_kernel(self, count: int) -> int:
        try:
            return os.sendfile(self._socket.fileno(), self._file, self._offset, count)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED or self._sent:
                raise
        self._send_some = self._by_copy
        return self._by_copy(count)

    def _by_copy(self, count: int) -> int:
        return self._socket.send(os.pread(self._file, min(count, COPY_BYTES), self._offset))

    def _is_stalled(self) -> bool:
        """Whether the client has read too little for too long."""
        now = time.monotonic()
        if self._sent - self._sent_before >= LEAST_BYTES:
            self._sent_before, self._read_at = self._sent, now
        return now - self._read_at > self._seconds

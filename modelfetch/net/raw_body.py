"""Reads large bodies from the socket directly, past the HTTP parser, into one reused buffer.

Through httpx each byte is copied about five times. Read directly, a body takes half the processor time, with
and without TLS (measured over loopback). The parser does not see the end of the body, so the connection
cannot be used again; therefore only large bodies are read like this. Chunked bodies are decoded by
:class:`modelfetch.net.chunks.ChunkDecoder`.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from modelfetch.net.chunks import ChunkDecoder
from modelfetch.net.httpcore_backend import SocketStream

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
CHUNKED_FROM = 256 * 1024
"""Smallest body, in bytes, to be read past the parser if it is chunked. The connection cannot be used again;
below this size it is worth more than the time saved."""
CHUNKED_BYTES = 64 * 1024
"""Bytes per read of a chunked body."""
HOLD_SECONDS = 0.025
"""Longest time that bytes wait in the buffer for more. Short against the 0.1 s between two updates of a
progress bar."""


_large = threading.Semaphore(LARGE_BUFFERS)
"""Counts large buffers for the whole process, because they limit its memory."""


def socket_of(response: httpx.Response, length: int) -> socket.socket | None:
    """The socket to read a body from, or None if only httpx can read it.

    Args:
        response: An accepted response, none of its body read.
        length: Expected length of the body in bytes.
    """
    if not _is_bare(response, length):
        return None
    stream = response.extensions.get("network_stream")
    if stream is None:
        return None
    sock = stream.get_extra_info("socket")
    is_secure = isinstance(sock, ssl.SSLSocket)
    # For TLS inside the TLS of a proxy, records are decrypted in memory: this socket would return ciphertext.
    is_nested = isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject)
    if response.url.scheme == "https" and (is_nested or not is_secure):
        return None
    return sock if isinstance(sock, socket.socket) else None


def chunked_stream_of(response: httpx.Response, length: int) -> SocketStream | None:
    """The connection to read a chunked body from, or None if httpx must read it."""
    headers = response.headers
    is_plainly_chunked = (
        response.http_version == "HTTP/1.1"
        and headers.get_list("transfer-encoding") == ["chunked"]
        and length >= CHUNKED_FROM
    )
    stream = response.extensions.get("network_stream")
    return stream if is_plainly_chunked and isinstance(stream, SocketStream) else None


def chunked_pieces(stream: SocketStream, timer: StallTimer) -> Iterator[bytes]:
    """Yield the data of a chunked body; less than all of it if the connection ends early.

    Args:
        stream: The result of :func:`chunked_stream_of`.
        timer: Limits each read; the caller counts the bytes of each piece in it.

    Raises:
        OSError: The connection broke; TimeoutError if ``timer`` has no time left.
        httpx.RemoteProtocolError: The body is not a valid chunked one.
    """
    decoder = ChunkDecoder()
    while not decoder.is_over and (raw := stream.read_raw(CHUNKED_BYTES, timer)):
        try:
            data = decoder.feed(raw)
        except ValueError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        if data:
            yield data


def _is_bare(response: httpx.Response, length: int) -> bool:
    """Whether the body is exactly the ``length`` bytes after the head, without any encoding."""
    headers = response.headers
    return (
        response.http_version == "HTTP/1.1"
        and response.request.method == "GET"
        and response.status_code in (200, 206)
        and headers.get_list("content-length") == [str(length)]
        and "transfer-encoding" not in headers
        and "content-encoding" not in headers
    )


def pieces(
    response: httpx.Response, sock: socket.socket, length: int, timer: StallTimer
) -> Iterator[bytes | memoryview]:
    """Yield the body, at most ``length`` bytes; fewer if the connection ends early.

    Args:
        response: The response.
        sock: The result of :func:`socket_of`.
        length: Length of the body in bytes.
        timer: Limits each read; the caller counts the bytes of each piece in it.

    Yields:
        Pieces, each valid only until the next one is requested.

    Raises:
        OSError: The connection broke; TimeoutError if ``timer`` has no time left.
        httpx.HTTPError: The same, before the first piece.
    """
    parsed = response.iter_raw()  # referenced until the end: its finalizer closes the connection
    first = next(parsed, b"")  # everything that the parser has read beyond the head
    yield first
    if left := length - len(first):
        with _buffer(left) as buffer:
            yield from _rest(sock, left, timer, buffer)
    else:
        yield from parsed  # yields nothing, but the parser sees the end and httpx can reuse the connection


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
    while left and (count := _fill(sock, buffer[:left], timer)):
        left -= count
        yield buffer[:count]


def _fill(sock: socket.socket, room: memoryview, timer: StallTimer) -> int:
    """Read until ``room`` is full or :data:`HOLD_SECONDS` are over; returns 0 at the end.

    The timeout of the socket is short, so that bytes in the buffer are handed on although no more arrive. The
    timer decides after each such timeout whether the wait goes on.
    """
    began, filled = time.monotonic(), 0
    while filled < len(room):
        try:
            count = sock.recv_into(room[filled:])
        except OSError as error:
            if filled:
                break  # return the bytes first; the next read fails again, or finds the end
            if not isinstance(error, TimeoutError):
                raise
            timer.remaining()  # raises if no time is left
            continue
        filled += count
        if not count or time.monotonic() - began >= HOLD_SECONDS:
            break
    return filled

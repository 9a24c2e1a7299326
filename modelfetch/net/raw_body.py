"""Reading a body from the socket itself: past the HTTP parser, into one buffer that is used again and again.

A parsed byte is copied about five times on its way. Read like this, a body takes half the processor time,
plain or under TLS (measured over loopback). The parser never sees its end, so the connection cannot be used
again: for large bodies only.
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
    from modelfetch.net.limits import StallTimer

BUFFER_BYTES = 256 * 1024
"""What is gathered before it is handed on: TLS gives 16 KiB at a time, too little for each write and hash.
With 128 KiB a tenth more processor time was taken over loopback."""
LARGE_BYTES = 1 << 20
"""The same for the first few: a sixth less processor time, but 32 connections may read at once."""
LARGE_BUFFERS = 8
"""How many are the first few."""
CHUNKED_FROM = 256 * 1024
"""Bytes from which on a chunked body is read past the parser, which hands on each chunk by itself. It costs
the connection, which for smaller ones is worth more."""
CHUNKED_BYTES = 64 * 1024
"""Bytes read at once of a chunked body."""
HOLD_SECONDS = 0.025
"""How long bytes may wait for others: a progress bar that is drawn ten times a second stays live."""


_large = threading.Semaphore(LARGE_BUFFERS)
"""For the process, whose memory it is."""


def socket_of(response: httpx.Response, length: int) -> socket.socket | None:
    """The socket that a body may be read from, or None if only httpx can read it.

    Args:
        response: An answer that was accepted, none of its body read.
        length: Bytes of the body by our own reckoning.
    """
    if not _is_bare(response, length):
        return None
    stream = response.extensions.get("network_stream")
    if stream is None:
        return None
    sock = stream.get_extra_info("socket")
    is_secure = isinstance(sock, ssl.SSLSocket)
    # Inside a proxy's own TLS, httpcore decrypts in memory: this socket would give the tunnel's bytes.
    is_nested = isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject)
    if response.url.scheme == "https" and (is_nested or not is_secure):
        return None
    return sock if isinstance(sock, socket.socket) else None


def chunked_stream_of(response: httpx.Response, length: int) -> SocketStream | None:
    """The connection that a chunked body may be read from, or None if only httpx can read it."""
    headers = response.headers
    is_plainly_chunked = (
        response.http_version == "HTTP/1.1"
        and headers.get_list("transfer-encoding") == ["chunked"]
        and length >= CHUNKED_FROM
    )
    stream = response.extensions.get("network_stream")
    return stream if is_plainly_chunked and isinstance(stream, SocketStream) else None


def chunked_pieces(stream: SocketStream, timer: StallTimer) -> Iterator[bytes]:
    """Yield a chunked body. It ends early where the connection does.

    Args:
        stream: What :func:`chunked_stream_of` gave for it.
        timer: Limits each read; the caller counts the bytes of each piece in it.

    Raises:
        OSError: The connection broke; TimeoutError after too long a silence.
        httpx.RemoteProtocolError: This is not a chunked body.
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
    """Whether the body is nothing but ``length`` bytes of the file after the head."""
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
    """Yield the body, never more than ``length`` bytes. It ends early where the connection does.

    Args:
        response: The answer.
        sock: What :func:`socket_of` gave for it.
        length: Bytes of the body.
        timer: Limits each read; the caller counts the bytes of each piece in it.

    Yields:
        Pieces, each valid only until the next is asked for.

    Raises:
        OSError: The connection broke; TimeoutError after too long a silence.
        httpx.HTTPError: It did so before the first piece.
    """
    parsed = response.iter_raw()  # to be kept until the end: dropping it closes the connection
    first = next(parsed, b"")  # all that the parser had read beyond the head
    yield first
    if left := length - len(first):
        with _buffer(left) as buffer:
            yield from _rest(sock, left, timer, buffer)
    else:
        yield from parsed  # nothing more, but the parser must see the end to free the connection


@contextmanager
def _buffer(length: int) -> Iterator[memoryview]:
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
    """Read until ``room`` is full or what is there has waited long enough; 0 bytes are the end."""
    asked, filled = time.monotonic(), 0
    while filled < len(room):
        try:
            count = sock.recv_into(room[filled:])
        except OSError as error:
            if filled:
                break  # good bytes first: the next read fails too, or finds the end
            if not isinstance(error, TimeoutError):
                raise
            timer.remaining()  # raises once the silence was too long
            continue
        filled += count
        if not count or time.monotonic() - asked >= HOLD_SECONDS:
            break
    return filled

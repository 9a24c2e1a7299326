"""Where the body of an HTTP/1.1 response ends, and reading it up to there (RFC 9112, 6 and 7.1).

A body ends after ``Content-Length`` bytes, with its last chunk, or with the connection. Large bodies of known
length are read into one buffer that is reused, past every parser; see :mod:`modelfetch.net.large_reads`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from modelfetch.errors import Fault, SourceError
from modelfetch.net.chunks import ChunkDecoder
from modelfetch.net.large_reads import gathered as gathered_reads
from modelfetch.net.responses import length_of

if TYPE_CHECKING:
    from modelfetch.net.http11 import Connection
    from modelfetch.net.time_limits import StallTimer

_PIECE: Final = 64 * 1024
"""Bytes per read of a body that is not gathered into a large buffer."""


class Framing:
    """How one body is framed, and how far it was read.

    Attributes:
        length: Bytes of the body; None if only its end shows it.
        is_chunked: Whether it has chunks, each with its length.
        is_complete: Whether it was read to its end, and nothing beyond it was received.
        may_continue: Whether the server keeps the connection for another request (RFC 9112, 9.3).
    """

    __slots__ = ("is_chunked", "is_complete", "length", "may_continue")

    def __init__(self, length: int | None, *, is_chunked: bool, may_continue: bool) -> None:
        self.length = length
        self.is_chunked = is_chunked
        self.may_continue = may_continue
        self.is_complete = False


def framing_of(status: int, version: bytes, headers: Mapping[str, str]) -> Framing:
    """How the body of a response to GET is framed; the head was checked by ``parse_head``.

    Args:
        status: HTTP status.
        version: As in the status line, such as ``1.1``.
        headers: Names in lower case.
    """
    may_continue = version == b"1.1" and "close" not in headers.get("connection", "").lower()
    if status in (204, 304):
        return Framing(0, is_chunked=False, may_continue=may_continue)
    if "transfer-encoding" in headers:  # h11 accepts no other one than "chunked"
        return Framing(None, is_chunked=True, may_continue=may_continue)
    length = length_of(headers)
    return Framing(length, is_chunked=False, may_continue=may_continue and length is not None)


def pieces(
    connection: Connection, framing: Framing, timer: StallTimer, *, gathered: bool
) -> Iterator[bytes | memoryview]:
    """Yield a body; less than all of it if the connection ends early.

    Args:
        connection: The head was read from it, and nothing of the body.
        framing: Completed when the body was read to its end.
        timer: Limits each read; the caller counts the bytes in it.
        gathered: Whether to fill large buffers before a piece is yielded. Then each piece is valid only until
            the next one is requested.

    Raises:
        OSError: The connection broke; TimeoutError if ``timer`` has no time left.
        SourceError: The body is not a valid chunked one.
    """
    if framing.is_chunked:
        return _chunked(connection, framing, timer)
    if framing.length is None:
        return _to_the_end(connection, timer)
    return _counted(connection, framing, framing.length, timer, gathered=gathered)


def _counted(
    connection: Connection, framing: Framing, length: int, timer: StallTimer, *, gathered: bool
) -> Iterator[bytes | memoryview]:
    first, rest = connection.leftover[:length], connection.leftover[length:]
    connection.leftover = b""
    left = length - len(first)
    # Before the piece is yielded: the caller may ask for nothing more after the last byte. Bytes beyond the
    # body belong to no request, so the next response on this connection could not be trusted.
    framing.is_complete = not left and not rest
    if first:
        yield first
    if gathered and left:
        connection.forget_timeout()
        for piece in gathered_reads(connection.sock, left, timer):
            left -= len(piece)
            framing.is_complete = not left
            yield piece
        return
    while left:
        connection.set_timeout(timer.remaining())
        data = connection.sock.recv(min(left, _PIECE))
        if not data:
            return
        left -= len(data)
        framing.is_complete = not left
        yield data


def _chunked(connection: Connection, framing: Framing, timer: StallTimer) -> Iterator[bytes]:
    decoder = ChunkDecoder()
    raw, connection.leftover = connection.leftover, b""
    while True:
        try:
            data = decoder.feed(raw)
        except ValueError as error:
            raise SourceError(Fault.PROTOCOL, "sent an answer that is not valid HTTP") from error
        # The end of the trailers, if it has arrived; it is not waited for.
        framing.is_complete = decoder.is_over and decoder.rest == b"\r\n"
        if data:
            yield data
        if decoder.is_over:
            return
        connection.set_timeout(timer.remaining())
        raw = connection.sock.recv(_PIECE)
        if not raw:
            return


def _to_the_end(connection: Connection, timer: StallTimer) -> Iterator[bytes]:
    first, connection.leftover = connection.leftover, b""
    if first:
        yield first
    while True:
        connection.set_timeout(timer.remaining())
        if not (data := connection.sock.recv(_PIECE)):
            return
        yield data

"""Reads large bodies from the socket directly, past the HTTP parser, into one reused buffer.

Through httpx each byte is copied about five times. Read directly, a body takes half the processor time, with
and without TLS (measured over loopback). The parser does not see the end of the body, so the connection
cannot be used again; therefore only large bodies are read like this. Chunked bodies are decoded by
:class:`modelfetch.net.chunks.ChunkDecoder`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx

from modelfetch.net.chunks import ChunkDecoder
from modelfetch.net.httpcore_backend import SocketStream
from modelfetch.net.large_reads import gathered

if TYPE_CHECKING:
    from modelfetch.net.time_limits import StallTimer

CHUNKED_FROM = 256 * 1024
"""Smallest body, in bytes, to be read past the parser if it is chunked. The connection cannot be used again;
below this size it is worth more than the time saved."""
CHUNKED_BYTES = 64 * 1024
"""Bytes per read of a chunked body."""


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
        yield from gathered(sock, left, timer)
    else:
        yield from parsed  # yields nothing, but the parser sees the end and httpx can reuse the connection

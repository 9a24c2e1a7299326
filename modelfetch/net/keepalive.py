"""Keep-alive connections that fetch many small files without httpx.

The first request goes through httpx, so proxy, TLS and address of the connection have been checked as for any
request. Further requests go to the same origin with the same header fields. A request through this module
takes 0.7 ms less processor time than one through httpx. Only responses of the simplest form are accepted
(HTTP/1.1, ``Content-Length`` equal to the size of the file); for any other the connection is closed, and the
file is requested again through httpx unless the status is an error. ``h11`` parses head and body. On the
connection::

    GET /models/a.json HTTP/1.1
    Host: example.org
    Range: bytes=0-99

    HTTP/1.1 206 Partial Content
    Content-Length: 100
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

import h11

from modelfetch.errors import SourceError
from modelfetch.net.errors import source_error
from modelfetch.net.responses import ResponseHead

if TYPE_CHECKING:
    from modelfetch.net.time_limits import StallTimer

HEAD_BYTES: Final = 16 * 1024
"""Largest accepted head in bytes; servers send about 300, the front ends of hubs up to 3 KiB."""
MAX_HEADERS: Final = 256
"""Most header fields accepted in one response; httpx itself would accept thousands."""
_PIECE: Final = 64 * 1024
"""Bytes per read."""

_PLAIN: Final = re.compile(r"(?:/(?!\.)(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+")
"""A path (RFC 3986, 3.3) that needs no normalization: no segment is empty or begins with a dot. httpx would
send it unchanged."""


class SocketOwner(Protocol):
    """Owns a socket; here the :class:`.Body` that was first read from it."""

    def close(self) -> None:
        """Close the socket."""


def split_origin(url: str) -> tuple[str, str]:
    """Split a URL into its origin, as written, and its path; the path is empty if it needs normalization."""
    end = url.find("/", url.find("://") + 3)
    if end < 0 or "@" in url[:end] or not _PLAIN.fullmatch(url, end):
        return url, ""
    return url[:end], url[end:]


def ends_connection(headers: Mapping[str, str]) -> bool:
    """Whether the server closes the connection after this response (RFC 9112, 9.3)."""
    return "close" in headers.get("connection", "").lower()


class KeepAliveConnection:
    """A connection for requests to one origin. For one thread at a time.

    Attributes:
        is_open: Whether it can be used for another request.

    Args:
        sock: The socket; no request is under way on it.
        owner: Closed with the connection.
        fields: Header fields of every request, each with its line end.
    """

    def __init__(self, sock: socket.socket, owner: SocketOwner, fields: bytes) -> None:
        self.is_open = True
        self._socket = sock
        self._owner = owner
        self._fields = fields
        self._timeout = 0.0
        """The timeout set at the socket, in seconds."""

    def request(self, path: str, size: int, timer: StallTimer) -> tuple[ResponseHead, bytes] | None:
        """Request a file of ``size`` bytes and read the whole response.

        Args:
            path: Path of the URL.
            size: Size of the file in bytes.
            timer: Limits the waits.

        Returns:
            The response and its body. The body is empty, and was not read, if it is not ``size`` bytes long.
            None if the connection broke or the response is not of the simplest form. The connection is closed
            in both cases.

        Raises:
            SourceError: The response was too slow, or stalled after its first byte. The connection is closed.
        """
        head = b"GET %b HTTP/1.1\r\n%bRange: bytes=0-%d\r\n\r\n" % (path.encode(), self._fields, size - 1)
        # A new parser for each response. h11 accepts a response without having seen the request, and assumes
        # the body framing of a GET then; passing it each request would cost more than parsing the response.
        parser = h11.Connection(h11.CLIENT, HEAD_BYTES)
        try:
            self._set_timeout(timer.remaining())
            self._socket.sendall(head)
            response = self._read(parser, size, timer)
        except h11.RemoteProtocolError:  # includes a connection that ended early
            response = None
        except OSError as error:
            # With some bytes received, the connection is alive and the server is slow: a new connection would
            # be as slow. Without any, the server may have closed the connection unnoticed: try a new one.
            has_head = parser.their_state is not h11.IDLE
            if (has_head or parser.trailing_data[0]) and isinstance(error, TimeoutError):
                self.close()
                raise source_error(error, body=has_head) from error
            response = None
        except SourceError:
            self.close()
            raise
        if response is None or not response[1] or parser.their_state is not h11.DONE:
            self.close()
        return response

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        self._owner.close()

    def _read(
        self, parser: h11.Connection, size: int, timer: StallTimer
    ) -> tuple[ResponseHead, bytes] | None:
        """Read one response with ``parser``, which :meth:`request` examines after a failure."""
        head = self._read_head(parser, timer)
        if head is None:
            return None
        if not _is_whole(head, size):
            return head, b""
        timer.count_bytes(0)  # the head ends the silence
        pieces: list[bytes] = []
        while not isinstance(event := parser.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                timer.count_bytes(len(event.data))
                pieces.append(event.data)
            else:
                timer.check_speed()
                self._set_timeout(timer.remaining())
                parser.receive_data(self._socket.recv(_PIECE))
        # Bytes beyond the body belong to no request: the next response cannot be trusted, nor this one.
        return None if parser.trailing_data[0] else (head, b"".join(pieces))

    def _read_head(self, parser: h11.Connection, timer: StallTimer) -> ResponseHead | None:
        """Read to the end of the head; None if the connection ended or the form is not accepted."""
        parser.receive_data(self._socket.recv(_PIECE))  # request() has set the timeout
        while (event := parser.next_event()) is h11.NEED_DATA:
            self._set_timeout(timer.remaining())
            parser.receive_data(self._socket.recv(_PIECE))
        return _response_head(event) if isinstance(event, h11.Response) else None

    def _set_timeout(self, seconds: float) -> None:
        """Set the timeout of the socket, up to 2 % too long: each change costs a system call."""
        if not seconds <= self._timeout <= seconds * 1.02:
            self._timeout = seconds * 1.01
            self._socket.settimeout(self._timeout)


def _response_head(event: h11.Response) -> ResponseHead | None:
    """The head as the decision needs it; None if the form is not accepted."""
    if event.http_version != b"1.1" or len(event.headers) > MAX_HEADERS:
        return None
    headers: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return ResponseHead(event.status_code, headers)


def _is_whole(head: ResponseHead, size: int) -> bool:
    """Whether the body is exactly the ``size`` bytes after the head."""
    headers = head.headers
    return (
        head.status in (200, 206)
        and headers.get("content-length") == str(size)
        and "transfer-encoding" not in headers
    )

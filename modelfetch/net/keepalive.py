"""Keep-alive connections that fetch many small files without httpx.

The first request goes through httpx, so proxy, TLS and address of the connection have been checked as for any
request. Further requests go to the same origin with the same header fields. A request through httpx takes 0.3
ms of processor time, one through this module 0.07 ms. Only responses of the simplest form are accepted
(HTTP/1.1, ``Content-Length`` equal to the size of the file, no folded header lines); for any other the
connection is closed, and the file is requested again through httpx unless the status is an error. On the
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
_END: Final = b"\r\n\r\n"
"""Ends a head."""

_PLAIN: Final = re.compile(r"(?:/(?!\.)(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+")
"""A path (RFC 3986, 3.3) that needs no normalization: no segment is empty or begins with a dot. httpx would
send it unchanged."""
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [^\r\n\0]*)?\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*)\r\n"
)
"""Status line and header fields (RFC 9112, 4 and 5), without obsolete line folding."""


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
        data = bytearray()
        try:
            self._set_timeout(timer.remaining())
            self._socket.sendall(head)
            response = self._read(data, size, timer)
        except OSError as error:
            # With some bytes received, the connection is alive and the server is slow: a new connection would
            # be as slow. Without any, the server may have closed the connection unnoticed: try a new one.
            if data and isinstance(error, TimeoutError):
                self.close()
                raise source_error(error, body=_END in data) from error
            response = None
        except SourceError:
            self.close()
            raise
        if response is None or not response[1] or ends_connection(response[0].headers):
            self.close()
        return response

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        self._owner.close()

    def _read(self, data: bytearray, size: int, timer: StallTimer) -> tuple[ResponseHead, bytes] | None:
        """Read one response into ``data``, which :meth:`request` examines after a failure."""
        end = self._read_head(data, timer)
        head = _parse_head(data[:end]) if end else None
        if head is None:
            return None
        if not _is_whole(head, size):
            return head, b""
        timer.count_bytes(len(data) - end)
        while len(data) < end + size:
            timer.check_speed()
            self._set_timeout(timer.remaining())
            if not (count := self._receive(data)):
                return None
            timer.count_bytes(count)
        return (head, bytes(data[end:])) if len(data) == end + size else None

    def _read_head(self, data: bytearray, timer: StallTimer) -> int:
        """Read to the end of the head; its length, or 0 if the connection ended or the head is too long."""
        while (end := data.find(_END)) < 0:
            if data:  # request() has set the timeout for the first read
                self._set_timeout(timer.remaining())
            if len(data) > HEAD_BYTES or not self._receive(data):
                return 0
        return end + len(_END)

    def _set_timeout(self, seconds: float) -> None:
        """Set the timeout of the socket, up to 2 % too long: each change costs a system call."""
        if not seconds <= self._timeout <= seconds * 1.02:
            self._timeout = seconds * 1.01
            self._socket.settimeout(self._timeout)

    def _receive(self, data: bytearray) -> int:
        piece = self._socket.recv(_PIECE)
        data += piece
        return len(piece)


def _parse_head(head: bytearray) -> ResponseHead | None:
    """Parse status line and header fields; None if the form is not accepted."""
    match = _HEAD.fullmatch(head)
    if match is None:
        return None
    headers: dict[str, str] = {}
    lines = match[2].decode("latin-1").split("\r\n")[:-1]
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return ResponseHead(int(match[1]), headers) if len(lines) <= MAX_HEADERS else None


def _is_whole(head: ResponseHead, size: int) -> bool:
    """Whether the body is exactly the ``size`` bytes after the head."""
    headers = head.headers
    return (
        head.status in (200, 206)
        and headers.get("content-length") == str(size)
        and "transfer-encoding" not in headers
    )

r"""One HTTP/1.1 connection: sends a request, reads the head of the response, then its body (RFC 9112).

:mod:`modelfetch.net.response_heads` parses the head. The body is framed here, because its bytes need no
parser: they end after ``Content-Length`` bytes, with the last chunk, or with the connection. Bytes are read
into one buffer that is reused, so that each is copied once. On the connection::

    GET /models/a.json HTTP/1.1
    Host: example.org
    Range: bytes=100-199

    HTTP/1.1 206 Partial Content
    Content-Length: 100
"""

from __future__ import annotations

import re
import select
import socket
import sys
from typing import TYPE_CHECKING, Final

from modelfetch.net.response_heads import HEAD_BYTES, Head, HeadError, parse_head
from modelfetch.net.transport import MAX_INTERIM

if TYPE_CHECKING:
    from modelfetch.net.time_limits import StallTimer

_PIECE: Final = 64 * 1024
"""Bytes per read of a head, and of a body of unknown length."""
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_INTERIM: Final = re.compile(rb"HTTP/1\.[0-9] 1[0-9][0-9]")


class Connection:
    """A connection to one server. For one thread at a time.

    Args:
        sock: The socket, connected, with TLS if the URL says so.
        peer: Its remote address. Stored here, because ``getpeername`` fails after a reset.

    Attributes:
        is_used: Whether a response was received over it.
        leftover: Bytes received beyond the last head.
    """

    __slots__ = ("_timeout", "is_used", "leftover", "peer", "sock")

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.sock = sock
        self.peer = peer
        self.is_used = False
        self.leftover = b""
        self._timeout = 0.0
        """The timeout set at the socket, in seconds."""

    def exchange(self, request: bytes, timer: StallTimer) -> Head:
        """Send a request without a body, and read the head of the response.

        Raises:
            HeadError: The response is not valid HTTP.
            ConnectionError: The connection ended before the response did.
            OSError: The connection broke; TimeoutError if ``timer`` has no time left.
        """
        self.set_timeout(timer.remaining())
        self.sock.sendall(request)
        head = parse_head(self._read_head(timer))
        self.is_used = True
        return head

    def _read_head(self, timer: StallTimer) -> bytes:
        """Read to the end of the head of the final response; interim ones are dropped."""
        data = self._receive()
        for _ in range(MAX_INTERIM + 1):
            while (end := _HEAD_END.search(data)) is None:
                if len(data) > HEAD_BYTES or _is_no_http(data):
                    raise HeadError("no end of the head")
                self.set_timeout(timer.remaining())
                data += self._receive()
            head, data = data[: end.end()], data[end.end() :]
            if not _INTERIM.match(head):
                self.leftover = data
                return head
        raise HeadError("too many interim responses")

    def _receive(self) -> bytes:
        data = self.sock.recv(_PIECE)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def set_timeout(self, seconds: float) -> None:
        """Set the timeout of the socket, up to 2 % too long: each change costs a system call."""
        if not seconds <= self._timeout <= seconds * 1.02:
            self._timeout = seconds * 1.01
            self.sock.settimeout(self._timeout)

    def forget_timeout(self) -> None:
        """Set the timeout again at the next call of :meth:`set_timeout`: it was changed at the socket."""
        self._timeout = 0.0

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


def _is_no_http(data: bytes) -> bool:
    """Whether the bytes cannot become a response, so that waiting for more of them is of no use."""
    return not b"HTTP/".startswith(data[:5])


def is_readable(sock: socket.socket) -> bool:
    """Whether something arrived on an idle connection: its end, or bytes that belong to no response."""
    if sock.fileno() < 0:  # closed already
        return True
    if sys.platform == "win32":  # which has no poll
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()  # select fails for descriptors above 1023
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))

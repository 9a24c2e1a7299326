"""One kept-alive connection for many small files, asked and read without the client that made it.

An ordinary request opens it, so its proxy, TLS and address were judged as always; what follows goes to the
same origin with the same header fields. A request through httpx takes 0.3 ms of processor time, one like this
0.07. Of an answer that is not of the plainest form nothing is made: the connection is dropped, and the file
is asked for again in the ordinary way.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from modelfetch.errors import SourceError
from modelfetch.net.errors import source_error
from modelfetch.net.responses import Answer

if TYPE_CHECKING:
    from modelfetch.net.limits import StallTimer

HEAD_BYTES: Final = 16 * 1024
"""The largest head taken; servers send some 300 bytes, the front ends of hubs up to 3 KiB."""
MAX_HEADERS: Final = 256
"""Header fields accepted in one answer; httpx itself would take thousands."""
_PIECE: Final = 64 * 1024
_END: Final = b"\r\n\r\n"
"""What ends a head."""

_PLAIN: Final = re.compile(r"(?:/(?!\.)(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+")
"""A path (RFC 3986, 3.3) that every client writes like this; no segment is empty or begins with a dot."""
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [^\r\n\0]*)?\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*)\r\n"
)
"""Status line and header fields (RFC 9112, 4 and 5), none of them folded."""


class SocketOwner(Protocol):
    """What a socket's life hangs on."""

    def close(self) -> None:
        """Close the socket."""


def split(url: str) -> tuple[str, str]:
    """Cut a URL into its origin, as it is written, and its path; the path is empty where it is not plain."""
    end = url.find("/", url.find("://") + 3)
    if end < 0 or "@" in url[:end] or not _PLAIN.fullmatch(url, end):
        return url, ""
    return url[:end], url[end:]


def is_last(headers: Mapping[str, str]) -> bool:
    """Whether the connection ends with this answer (RFC 9112, 9.3)."""
    return "close" in headers.get("connection", "").lower()


class KeepAliveConnection:
    """A connection over which nothing is on its way. For one thread at a time.

    Attributes:
        is_open: Whether it may be asked again.

    Args:
        sock: Its socket.
        keeper: Closed with the connection.
        fields: The header fields every request has, each line ended.
    """

    def __init__(self, sock: socket.socket, keeper: SocketOwner, fields: bytes) -> None:
        self.is_open = True
        self._socket = sock
        self._keeper = keeper
        self._fields = fields
        self._timeout = 0.0
        """Seconds that are set at the socket."""

    def ask(self, path: str, size: int, timer: StallTimer) -> tuple[Answer, bytes] | None:
        """Ask for a file of ``size`` bytes, and read all of the answer.

        Returns:
            The answer and its body. Where that is not ``size`` bytes long it was not read. None where the
            connection broke, or what came is not of the plainest form. Both end the connection.

        Raises:
            SourceError: The answer came too slowly, or stopped on its way. The connection is closed.
        """
        request = b"GET %b HTTP/1.1\r\n%bRange: bytes=0-%d\r\n\r\n" % (path.encode(), self._fields, size - 1)
        data = bytearray()
        try:
            self._wait(timer.remaining())
            self._socket.sendall(request)
            answered = self._read(data, size, timer)
        except OSError as error:
            if data and isinstance(error, TimeoutError):  # no dead connection: the next would be as slow
                self.close()
                raise source_error(error, body=_END in data) from error
            answered = None
        except SourceError:
            self.close()
            raise
        if answered is None or not answered[1] or is_last(answered[0].headers):
            self.close()
        return answered

    def close(self) -> None:
        """Hang up."""
        self.is_open = False
        self._keeper.close()

    def _read(self, data: bytearray, size: int, timer: StallTimer) -> tuple[Answer, bytes] | None:
        """Read one answer into ``data``, which the caller examines after a failure."""
        end = self._read_head(data, timer)
        answer = _answer(data[:end]) if end else None
        if answer is None:
            return None
        if not _is_whole(answer, size):
            return answer, b""
        timer.count_bytes(len(data) - end)
        while len(data) < end + size:
            timer.check_speed()
            self._wait(timer.remaining())
            if not (count := self._more(data)):
                return None
            timer.count_bytes(count)
        return (answer, bytes(data[end:])) if len(data) == end + size else None

    def _read_head(self, data: bytearray, timer: StallTimer) -> int:
        """Read to the end of the head; its length, or 0 if the connection ended or the head is too long."""
        while (end := data.find(_END)) < 0:
            if data:  # for the first read the timeout is set already: ask() set it before it sent the request
                self._wait(timer.remaining())
            if len(data) > HEAD_BYTES or not self._more(data):
                return 0
        return end + len(_END)

    def _wait(self, seconds: float) -> None:
        """Have the socket wait so long, or a little longer: each change costs a system call."""
        if not seconds <= self._timeout <= seconds * 1.02:
            self._timeout = seconds * 1.01
            self._socket.settimeout(self._timeout)

    def _more(self, data: bytearray) -> int:
        piece = self._socket.recv(_PIECE)
        data += piece
        return len(piece)


def _answer(head: bytearray) -> Answer | None:
    match = _HEAD.fullmatch(head)
    if match is None:
        return None
    headers: dict[str, str] = {}
    lines = match[2].decode("latin-1").split("\r\n")[:-1]
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Answer(int(match[1]), headers) if len(lines) <= MAX_HEADERS else None


def _is_whole(answer: Answer, size: int) -> bool:
    """Whether the body is nothing but ``size`` bytes after the head."""
    headers = answer.headers
    return (
        answer.status in (200, 206)
        and headers.get("content-length") == str(size)
        and "transfer-encoding" not in headers
    )

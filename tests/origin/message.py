"""Requests as they arrived and replies as values, before any of it is on the wire."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Literal
from urllib.parse import parse_qsl, unquote

from tests.origin.content import EMPTY, Content
from tests.origin.stream import Op

Headers = tuple[tuple[str, str], ...]
Effect = Callable[[Iterator[Op]], Iterator[Op]]
Framing = Literal["length", "chunked", "unfinished", "close"]
Ending = Literal["keep", "close", "silent"]

PHRASES = {status.value: status.phrase for status in HTTPStatus}

_REQUEST_LINE = re.compile(r"([A-Z]+) (\S+) HTTP/1\.([01])")


@dataclass(slots=True)
class Request:
    """One request and what became of it.

    Attributes:
        method: GET, HEAD, ...
        target: As on the request line: percent-encoded, with the query.
        headers: Names and values in the order received.
        client: Address and port of the peer.
        connection: Number of the connection, 1 for the first one accepted.
        reused: Whether an earlier request came over the same connection.
        persistent: Whether the client lets the connection stay open.
        started: Monotonic seconds when the head was complete.
        file: Path of the file asked for, whatever the shape of the URL; "" if the URL has no known shape.
        fault: Name of the fault that was applied, "" for a good answer.
        status: Status answered; 0 as long as there is none.
        sent: Bytes of the body (without chunk framing) given to the network.
        finished: Monotonic seconds when the answer ended, well or not.
    """

    method: str
    target: str
    headers: Headers = ()
    client: tuple[str, int] = ("", 0)
    connection: int = 1
    reused: bool = False
    persistent: bool = True
    started: float = field(default_factory=time.monotonic)
    file: str = ""
    fault: str = ""
    status: int = 0
    sent: int = 0
    finished: float | None = None

    @property
    def path(self) -> str:
        """Path of the URL, percent-decoded, without the query."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the query."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.header("Range")

    @property
    def offset(self) -> int:
        """First byte asked for; 0 without a Range."""
        match = re.match(r"bytes=(\d+)-", self.range or "")
        return int(match[1]) if match else 0

    def header(self, name: str) -> str | None:
        """Value of the first header of this name, in any case."""
        return find(self.headers, name)


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer; faults turn one reply into another.

    Attributes:
        status: Status code.
        headers: Content-Length, Transfer-Encoding, Connection and Date only where they are to be unusual.
        body: The bytes to send.
        whole: The whole file the body is taken from.
        reason: Reason phrase; None for the usual one.
        protocol: Version on the status line.
        framing: How the end of the body is told: Content-Length, chunks, chunks without the last one, or
            the end of the connection.
        ending: Whether the connection stays, is closed and says so, or is closed without a word.
        effects: Disturbances of the stream of operations, applied in order.
    """

    status: int
    headers: Headers = ()
    body: Content = EMPTY
    whole: Content = EMPTY
    reason: str | None = None
    protocol: str = "HTTP/1.1"
    framing: Framing = "length"
    ending: Ending = "keep"
    effects: tuple[Effect, ...] = ()

    def header(self, name: str) -> str | None:
        """Value of the first header of this name, in any case."""
        return find(self.headers, name)

    def with_header(self, name: str, value: str) -> Reply:
        """The reply with one header set, instead of any of that name."""
        return replace(self, headers=(*self.without(name).headers, (name, value)))

    def without(self, *names: str) -> Reply:
        """The reply without headers of these names."""
        gone = {name.lower() for name in names}
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0].lower() not in gone))

    def through(self, effect: Effect) -> Reply:
        """The reply, disturbed while it is sent."""
        return replace(self, effects=(*self.effects, effect))

    @property
    def persistent(self) -> bool:
        """Whether the connection outlives the reply."""
        return self.ending == "keep" and self.framing in ("length", "chunked")


def find(headers: Headers, name: str) -> str | None:
    """Value of the first header of this name, in any case."""
    return next((value for key, value in headers if key.lower() == name.lower()), None)


def parse_request(head: bytes) -> Request:
    """A request from its head, without the empty line at the end.

    Raises:
        ValueError: It is not a well-formed HTTP/1 request.
    """
    line, *fields = head.decode("latin-1").split("\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if not match:
        raise ValueError(f"malformed request line: {line[:200]!r}")
    headers = tuple(_parse_field(text) for text in fields)
    keep = "keep-alive" if match[3] == "0" else "close"
    persistent = ((find(headers, "Connection") or "").lower() == keep) == (match[3] == "0")
    return Request(match[1], match[2], headers, persistent=persistent)


def _parse_field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name or name != name.strip():
        raise ValueError(f"malformed header line: {text[:200]!r}")
    return name, value.strip()


def render_head(reply: Reply) -> bytes:
    """Status line and headers as on the wire, with the empty line."""
    headers = [*_missing_headers(reply), *reply.headers]
    lines = [
        f"{reply.protocol} {reply.status} {_reason(reply)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _missing_headers(reply: Reply) -> Iterator[tuple[str, str]]:
    if reply.header("Date") is None:
        yield "Date", formatdate(usegmt=True)
    if reply.framing in ("chunked", "unfinished"):
        yield "Transfer-Encoding", "chunked"
    elif reply.framing == "length" and reply.header("Content-Length") is None:
        yield "Content-Length", str(reply.body.size)
    if reply.ending == "close" or reply.framing == "close":
        yield "Connection", "close"


def _reason(reply: Reply) -> str:
    if reply.reason is not None:
        return reply.reason
    return PHRASES.get(reply.status, "Unassigned")

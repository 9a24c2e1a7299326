"""Parses the head of a response: an ordinary one with a few string operations, any other one with ``h11``.

With ``h11`` alone, parsing heads was a tenth of the processor time of small files, for rules that nearly no
response needs. A head is ordinary if it looks like this, each line ended by CRLF::

    HTTP/1.1 206 Partial Content
    Content-Length: 100
    ETag: "abc"

that is: version 1.1, printable ASCII only, no folded line, no field twice, no ``Transfer-Encoding``, and a
``Content-Length`` that is a number. In any doubt ``h11`` decides, so nothing is accepted that it refuses, and
the result is the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from modelfetch.net.transport import joined

HEAD_BYTES: Final = 100 * 1024
"""Largest accepted head in bytes, as in httpx; servers send about 300, the front ends of hubs up to 3 KiB."""

_ORDINARY: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2})(?: [\t -~]*+)?\r\n(?:[-!#$%&'*+.^_`|~0-9A-Za-z]++:[\t -~]*+\r\n)*+\r\n"
)
"""Possessive, so that no head takes more than one pass."""
_LENGTH_DIGITS: Final = 20
"""The most digits of a ``Content-Length`` in h11."""


class HeadError(Exception):
    """What a server sent is not the head of an HTTP response."""


class Head:
    """The head of a response.

    Attributes:
        status: HTTP status.
        version: As in the status line, such as ``1.1``.
        headers: Fields, names in lower case; repeated ones are joined by commas.
        location: The field ``Location`` as received, or None.
        count: The number of fields.
    """

    __slots__ = ("_raw", "count", "headers", "location", "status", "version")

    def __init__(
        self,
        status: int,
        version: bytes,
        headers: Mapping[str, str],
        location: bytes | None,
        raw: Sequence[tuple[bytes, bytes]] | Sequence[str],
    ) -> None:
        self.status = status
        self.version = version
        self.headers = headers
        self.location = location
        self.count = len(raw)
        self._raw = raw

    def raw(self) -> Sequence[tuple[bytes, bytes]]:
        """The fields as received."""
        return [_raw_field(each) if isinstance(each, str) else each for each in self._raw]


def parse_head(data: bytes) -> Head:
    """Parse a head, up to and including its empty line.

    Raises:
        HeadError: It is not the head of a response.
    """
    return _parse_ordinary(data) or _parse_any(data)


def _parse_ordinary(data: bytes) -> Head | None:
    """Parse an ordinary head; None for any other one."""
    match = _ORDINARY.fullmatch(data)
    if match is None:
        return None
    lines = data.decode("ascii").split("\r\n")[1:-2]
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip("\t ")
    if len(headers) != len(lines) or "transfer-encoding" in headers:
        return None
    length = headers.get("content-length", "0")
    if not length.isdigit() or len(length) > _LENGTH_DIGITS:
        return None
    location = headers.get("location")
    return Head(int(match[1]), b"1.1", headers, None if location is None else location.encode(), lines)


def _raw_field(line: str) -> tuple[bytes, bytes]:
    name, _, value = line.partition(":")
    return name.encode(), value.strip("\t ").encode()


def _parse_any(data: bytes) -> Head:
    import h11  # rarely needed, and a tenth of the modules of a run that fetches a small file

    # A new parser for each response. h11 accepts a response without having seen the request, and then
    # assumes the framing for a GET; passing it each request would cost more than parsing the response.
    parser = h11.Connection(h11.CLIENT, HEAD_BYTES)
    parser.receive_data(data)
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise HeadError("not valid HTTP") from error
    if not isinstance(event, h11.Response):
        raise HeadError("no response")
    fields = list(event.headers)
    return Head(
        event.status_code,
        event.http_version,
        joined((name.decode("ascii"), _text(value)) for name, value in fields),
        next((value for name, value in fields if name == b"location"), None),
        event.headers.raw_items(),
    )


def _text(value: bytes) -> str:
    """A field value as text: UTF-8 where it is valid, else Latin-1, as httpx guesses."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")

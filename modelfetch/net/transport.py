"""What sends requests: a transport, and the response that it returns.

There are two. :mod:`modelfetch.net.direct_transport` sends requests to servers, over connections of its own.
:mod:`modelfetch.net.httpx_transport` sends those that go through a proxy, that have content, or whose URL has
to be normalized first. :class:`modelfetch.net.session.Session` chooses, and treats all responses alike:
redirects, credentials and the checks of responses are independent of the transport.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from modelfetch.version import __version__

if TYPE_CHECKING:
    from modelfetch.net.outgoing import Outgoing
    from modelfetch.net.time_limits import StallTimer

MAX_HEADERS: Final = 256
"""Most header fields accepted in one response; servers send about 20."""
MAX_INTERIM: Final = 5
"""Most interim responses (1xx; RFC 9110, 15.2) accepted before the final one; servers send one or two."""


IDLE_SECONDS: Final = 60.0
"""Seconds after which an idle connection is not used any more; servers close them after 5 to 120."""
MAX_IDLE: Final = 64
"""Most idle connections that are kept."""
FIELDS: Final = (
    "Accept: */*",
    # Ranges are of the encoded representation (RFC 9110, 14.1.2), so a range of compressed content is
    # useless. Decoding would also expose the run to decompression bombs.
    "Accept-Encoding: identity",
    "Connection: keep-alive",
    f"User-Agent: modelfetch/{__version__}",
)
"""Header fields of every request, besides ``Host``."""


class Exchange(Protocol):
    """Reports one request and its response in verbose output: :mod:`modelfetch.net.exchange_trace`.

    Attributes:
        received: Bytes of the body so far.
    """

    received: int

    def finish(self) -> None:
        """Print the line of this exchange, once."""


class Response(Protocol):
    """One response, its body not read yet. The caller closes it.

    Attributes:
        status: HTTP status.
        headers: Header fields, names in lower case; repeated ones are joined by commas.
        location: The field ``Location`` as received, or None.
        peer: IP address of the other end of the connection: the server, or a proxy.
        credential: The field ``Authorization`` of the request, or empty.
        is_head: Whether it answers HEAD, and so has no body.
        exchange: Reports the exchange in verbose output; None without it.
    """

    status: int
    headers: Mapping[str, str]
    location: bytes | None
    peer: str
    credential: str
    exchange: Exchange | None
    is_head: bool

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives, without ``Transfer-Encoding``.

        Raises:
            SourceError: The body is not valid HTTP, or the connection broke.
            OSError: The connection broke; TimeoutError if the timer of the request has no time left.
        """
        ...

    def pieces_of(self, length: int, direct_from: float) -> Iterator[bytes | memoryview]:
        """Yield a body whose length is known, in the fastest way that is safe.

        A piece is valid only until the next one is requested. Raises like :meth:`pieces`.

        Args:
            length: Expected length in bytes. The body may be shorter or longer.
            direct_from: Smallest body, in bytes, to read from the socket past an HTTP parser.
        """
        ...

    def close(self) -> None:
        """Keep the connection for further requests if the body was read to its end, else close it."""
        ...


class Transport(Protocol):
    """Sends requests. May be used by several threads."""

    def send(self, url: str, headers: Mapping[str, str], timer: StallTimer, outgoing: Outgoing) -> Response:
        """Send one request. A failed connection that was used before is replaced; this is not a retry.

        Servers close idle connections at any time, and bytes that an earlier response had too many are no
        HTTP response. Neither says anything about this request.

        Args:
            url: Address.
            headers: Header fields besides those that every request has.
            timer: Limits the waits, also those for the body.
            outgoing: Method, and content to send.

        Raises:
            SourceError: No response was received.
            Cancelled: The run was cancelled.
        """
        ...

    def close_idle(self) -> None:
        """Close the connections that have no request under way."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Make a mapping of header fields: names in lower case, repeated ones joined by commas."""
    headers: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers

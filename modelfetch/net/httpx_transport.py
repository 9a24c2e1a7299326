"""Sends requests through httpx: those through a proxy, with content, or whose URL has to be normalized.

Bodies are read past the parser of httpx where that is safe (:mod:`modelfetch.net.raw_body`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.net import raw_body
from modelfetch.net.errors import wants_credentials
from modelfetch.net.httpx_client import new_client
from modelfetch.net.httpx_errors import is_no_http, source_error
from modelfetch.net.outgoing import GET, Outgoing, Sending
from modelfetch.net.transport import MAX_HEADERS, Response, joined

if TYPE_CHECKING:
    import ssl

    from modelfetch.cancel import Cancellation
    from modelfetch.net.connect import Families
    from modelfetch.net.proxies import Proxies
    from modelfetch.net.time_limits import Limits, StallTimer


class HttpxTransport:
    """Sends requests through httpx; see :class:`modelfetch.net.transport.Transport`.

    Args:
        limits: Timeouts.
        cancel: Wakes blocked connects and reads when the run is cancelled.
        through: The proxies.
        authorities: Returns the TLS context; called when TLS is used first. Raises SourceError.
        families: Which address families answered.
        public_only: Refuse addresses outside the public internet, except for that of a proxy.
    """

    def __init__(
        self,
        limits: Limits,
        cancel: Cancellation,
        through: Proxies,
        authorities: Callable[[], ssl.SSLContext],
        families: Families,
        *,
        public_only: bool,
    ) -> None:
        self._cancel = cancel
        self._proxies = through
        self._http = new_client(
            httpx.Timeout(limits.stall_timeout, connect=limits.connect_timeout, pool=None),
            cancel,
            through=through,
            authorities=authorities,
            families=families,
            public_only=public_only,
        )

    def send(
        self, url: str, headers: Mapping[str, str], timer: StallTimer, outgoing: Outgoing = GET
    ) -> Response:
        """Send one request; see :meth:`modelfetch.net.transport.Transport.send`.

        Content that was sent in part is not sent again here: the server may have stored some of it.
        """
        while True:
            self._cancel.raise_if_cancelled()
            fresh = False

            def trace(name: str, _info: dict[str, Any]) -> None:
                nonlocal fresh
                fresh = fresh or name.endswith(("connect_tcp.complete", "start_tls.complete"))

            timeout = {"connect": timer, "read": timer, "write": timer, "pool": None}
            proxy = self._proxies.proxy_for(url)
            content = Sending(outgoing, timer)
            try:
                request = self._http.build_request(
                    outgoing.method,
                    url,
                    headers={**headers, **outgoing.fields},
                    content=cast("Iterable[bytes]", content) if outgoing.size else None,
                    extensions={"trace": trace, "timeout": timeout},
                )
                response = self._http.send(request, stream=True, auth=_no_auth)
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                self._cancel.raise_if_cancelled()
                failure = source_error(error, body=False, proxy=proxy)
                if not (fresh or content.has_begun) and (
                    failure.fault is Fault.CUT or is_no_http(error, failure)
                ):
                    continue  # this ends: the pool has dropped that connection, and at last makes a fresh one
                raise failure from error
            try:
                if len(response.headers.raw) > MAX_HEADERS:
                    raise SourceError(Fault.PROTOCOL, f"sent more than {MAX_HEADERS} header fields")
                if response.status_code == 407 and proxy is not None:
                    raise wants_credentials(proxy)
            except SourceError:
                response.close()
                raise
            return HttpxResponse(response, timer)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()


class HttpxResponse:
    """A response of httpx; see :class:`modelfetch.net.transport.Response`."""

    def __init__(self, response: httpx.Response, timer: StallTimer) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = joined(response.headers.multi_items())
        # Raw bytes, because httpx decodes header fields by a guess, and Location may be UTF-8 or Latin-1.
        raw = response.headers.raw
        self.location = next((value for name, value in raw if name.lower() == b"location"), None)
        self.peer = str(response.extensions["network_stream"].get_extra_info("server_addr")[0])
        self.credential = response.request.headers.get("authorization", "")
        self.is_head = response.request.method == "HEAD"
        self.exchange = response.extensions.get("exchange")
        self._response = response
        self._timer = timer

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        return _translated(self._response.iter_raw())

    def pieces_of(self, length: int, direct_from: float) -> Iterator[bytes | memoryview]:
        """Yield a body whose length is known, in the fastest way that is safe for it."""
        response = self._response
        if (stream := raw_body.chunked_stream_of(response, length)) is not None:
            return _translated(raw_body.chunked_pieces(stream, self._timer))
        sock = raw_body.socket_of(response, length) if length >= direct_from else None
        if sock is None:
            return _translated(response.iter_raw())
        return _translated(raw_body.pieces(response, sock, length, self._timer))

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else close it.

        httpx returns a connection only when its parser has seen that end. If the last chunk or the trailers
        have not arrived yet, they are not waited for, and the connection is closed.
        """
        self._response.close()


_Piece = TypeVar("_Piece", bytes, bytes | memoryview)


def _translated(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    try:
        yield from pieces
    except httpx.HTTPError as error:
        raise source_error(error, body=True) from error


def _no_auth(request: httpx.Request) -> httpx.Request:
    """Keep httpx from adding credentials from URLs or .netrc: the headers have the right ones already."""
    return request

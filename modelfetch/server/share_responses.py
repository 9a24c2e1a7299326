"""Responses of the shared endpoints whose bytes are not one file: documents, and streams of blocks.

Both keep the limits and counters of :class:`modelfetch.server.file_response.FileResponse`: a transfer takes
a slot, and its bytes are booked. A stream that cannot be completed ends with the connection, because a clean
end would look complete::

    HTTP/1.1 200 OK
    Transfer-Encoding: chunked          a CAR file; without its last chunk the client knows that it was cut
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modelfetch.ipfs.trustless_answer import MissingBlockError
from modelfetch.server.error_responses import Refusal
from modelfetch.server.pull_results import check_client
from modelfetch.server.request_scope import client_address, connection_of

if TYPE_CHECKING:
    from modelfetch.server.share_counters import ServedBytes
    from modelfetch.server.share_outlet import Outlet

JSON: Final = "application/json"
FREE_BYTES: Final = 64 << 10
"""Largest document that is sent without a slot: no more than what is buffered for any response."""
PIECE_BYTES: Final = 256 << 10
"""Bytes of a stream that are sent at once, at least; a block of IPFS has up to 2 MiB."""
WAIT_SECONDS: Final = 10.0
"""Seconds that a request for blocks waits for a slot."""
CHANGING: Final = "no-cache"
"""``Cache-Control`` of what is named by a branch or a tag: caches must ask again."""


class DocumentResponse(Response):
    """Sends bytes that are in memory.

    Args:
        content: The bytes.
        outlet: Limits and counters.
        endpoint: Name of the kind of endpoint, for the counters.
        media_type: Their media type.
        headers: More headers.
    """

    def __init__(
        self,
        content: bytes,
        outlet: Outlet,
        endpoint: str,
        media_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(content, headers={"content-type": media_type, **(headers or {})})
        self._outlet = outlet
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            Refusal: The document is large, and no slot is free.
        """
        size = 0 if scope["method"] == "HEAD" else len(self.body)
        is_free = size <= FREE_BYTES
        with contextlib.nullcontext() if is_free else self._outlet.slot(scope):
            served = self._outlet.counters.begin(self._endpoint, client_address(scope))
            try:
                if (wait := self._outlet.limits.book(size)) > 0 and not is_free:
                    await asyncio.sleep(wait)
                if is_free:
                    await super().__call__(scope, receive, send)
                    served.sent(size)
                else:
                    await self._send_pieces(scope, send, served)
            finally:
                served.end()

    async def _send_pieces(self, scope: Scope, send: Send, served: ServedBytes) -> None:
        """Send a large document piece by piece: whole, each slow client would hold a copy of all of it."""
        connection = connection_of(scope)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), FREE_BYTES):
            piece = bytes(self.body[start : start + FREE_BYTES])
            more = start + FREE_BYTES < len(self.body)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            served.sent(len(piece))
            if connection is not None and connection.is_lost:
                return


class StreamResponse(Response):
    """Sends a body that is made piece by piece, in threads; inside a :class:`SlotResponse`.

    Args:
        body: Yields the pieces. :class:`MissingBlockError` ends the connection.
        close: Called at the end, when no thread uses the body anymore.
        outlet: Limits, counters and threads.
        endpoint: Name of the kind of endpoint, for the counters.
        headers: The headers.
    """

    def __init__(
        self,
        body: Iterator[bytes],
        close: Callable[[], None],
        outlet: Outlet,
        endpoint: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(headers=headers)
        if "content-length" not in headers:
            del self.headers["content-length"]  # that of an empty body
        self._pieces = body
        self._close = close
        self._outlet = outlet
        self._endpoint = endpoint
        self._running: Future[tuple[bytes, bool]] | None = None

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer a request."""
        client = client_address(scope)
        try:
            if scope["method"] == "HEAD":
                self._outlet.counters.begin(self._endpoint, client).end()
                await self._send_head(send)
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._send_pieces(scope, send, client)
        finally:
            self._close_later()

    def _close_later(self) -> None:
        """Close the body as soon as no thread uses it: the request may have been cancelled meanwhile."""
        if self._running is None:
            self._close()
        else:
            self._running.add_done_callback(lambda _: self._close())

    async def _send_head(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": self.raw_headers})

    async def _send_pieces(self, scope: Scope, send: Send, client: str) -> None:
        connection = connection_of(scope)
        served = self._outlet.counters.begin(self._endpoint, client)
        try:
            await self._send_head(send)
            more = True
            while more:
                data, more = await self._make_pieces()
                if (wait := self._outlet.limits.book(len(data))) > 0:
                    await asyncio.sleep(wait)
                if connection is not None and connection.is_lost:
                    return
                await send({"type": "http.response.body", "body": data, "more_body": more})
                served.sent(len(data))
        except (MissingBlockError, Refusal):
            # The head was sent, so only the end of the connection can report it.
            if connection is not None:
                connection.abort()
        finally:
            served.end()

    async def _make_pieces(self) -> tuple[bytes, bool]:
        self._running = self._outlet.submit(self._next)
        return await asyncio.wrap_future(self._running)

    def _next(self) -> tuple[bytes, bool]:
        """Collect some pieces; returns them, and whether there may be more."""
        pieces, size = [], 0
        for piece in self._pieces:
            pieces.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                return b"".join(pieces), True
        return b"".join(pieces), False


class SlotResponse(Response):
    """Waits for a slot, and only then makes the response and sends it.

    Some clients of IPFS request all blocks of a file at once, each over a connection of its own. They would
    fail if most of these were refused. A request that waits holds nothing but its connection.

    Args:
        make: Makes the response, which may hold a block of 2 MiB.
        outlet: Limits and counters.
    """

    def __init__(self, make: Callable[[], Awaitable[Response]], outlet: Outlet) -> None:
        super().__init__()
        self._make = make
        self._outlet = outlet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            Refusal: No slot became free in time, or the client has left.
        """
        check = partial(check_client, connection_of(scope))
        async with self._outlet.slot_in_turn(scope, WAIT_SECONDS, contextlib.nullcontext(check)):
            response = await self._make()
            await response(scope, receive, send)

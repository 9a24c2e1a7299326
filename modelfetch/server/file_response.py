"""The response that sends a verified file, or a range of it.

The bytes of a digest never change. So ``ETag`` is the digest, and a cache may keep the response forever::

    HTTP/1.1 206 Partial Content
    Content-Range: bytes 0-1048575/82468078
    ETag: "a9f3b752833b49e880dec91ee5b6d936112be7c3ea07c221024ba493439f46fe"
    Repr-Digest: sha-256=:qfO3UoM7SeiA3skR7lttk2ESvnw+oHwiECS6STQ59G4=:
    Cache-Control: public, max-age=31536000, immutable

The body takes one of three ways. A small one is read when the file is opened, and sent with the head. On
plain HTTP the kernel sends it (:mod:`modelfetch.server.socket_transfer`). Otherwise (TLS, Windows, or no
descriptor left for that) it is read in blocks in threads.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modelfetch.server.error_responses import Refusal
from modelfetch.server.request_scope import client_address, connection_of, joined_headers
from modelfetch.server.socket_transfer import SocketTransfer
from modelfetch.share.byte_ranges import Selection, select
from modelfetch.store.file_ranges import read_up_to

if TYPE_CHECKING:
    from modelfetch.server.connection_timeouts import Connection
    from modelfetch.server.share_counters import ServedBytes
    from modelfetch.server.share_outlet import Outlet
    from modelfetch.share.shared_cache import SharedFile

SMALL_BYTES: Final = 64 << 10
"""Largest body that is read when the file is opened: a second thread would take longer than to copy it."""
BLOCK_BYTES: Final = 128 << 10
"""Bytes of a block where the kernel cannot send the file. Each response holds two or three of them in memory,
and a client must read one within the read timeout of the connection."""
IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""``Cache-Control`` of what is named by a digest or a commit: a year, the longest time that caches are
expected to keep a response (RFC 9111, 5.3, earlier 2616, 14.21)."""
OCTETS: Final = "application/octet-stream"


def not_found() -> Refusal:
    """Make the refusal of whatever is not shared.

    One text for all reasons: a client must not learn whether something is here but not verified.
    """
    return Refusal(HTTPStatus.NOT_FOUND, "not_found", "not found")


class FileResponse(Response):
    """Sends a file, or what the conditions and the range of the request ask for.

    Args:
        file: The file.
        outlet: Limits, counters and threads.
        endpoint: Name of the kind of endpoint, for the counters.
        headers: More headers; they replace those of the same name.
        media_type: Its media type. Never one that a browser renders: a model may have a page in it, which
            would run with the origin of the panel.
    """

    def __init__(
        self,
        file: SharedFile,
        outlet: Outlet,
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        media_type: str = OCTETS,
    ) -> None:
        self.file = file
        self._outlet = outlet
        self._endpoint = endpoint
        self._is_abandoned = False
        self.etag = f'"{file.sha256}"'
        digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
        own = {
            "Content-Type": media_type,
            "ETag": self.etag,
            "Repr-Digest": f"sha-256=:{digest}:",
            "Accept-Ranges": "bytes",
            "Cache-Control": IMMUTABLE,
        }
        replaced = {name.lower() for name in headers or ()}
        kept = {name: value for name, value in own.items() if name.lower() not in replaced}
        super().__init__(headers={**kept, **(headers or {})})
        del self.headers["content-length"]  # that of an empty body

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            Refusal: A condition is false, the range is outside of the file, no slot is free, or the file has
                changed.
        """
        selection = self._select(scope)
        client = client_address(scope)
        if scope["method"] == "HEAD" or not selection.length:
            self._outlet.counters.begin(self._endpoint, client).end()
            await self._send_head(send)
            await send({"type": "http.response.body", "body": b""})
            return
        async with self._slot(scope, selection):
            await self._send_file(scope, send, selection, client)

    def _select(self, scope: Scope) -> Selection:
        """Choose the bytes that the request asks for, and set status and headers accordingly.

        Raises:
            Refusal: A condition is false, or the range is outside of the file.
        """
        etag = self.headers.get("etag", self.etag)
        selection = select(scope["method"], joined_headers(scope), etag, self.file.size)
        self._refuse(selection)
        self.status_code = selection.status
        if selection.status != HTTPStatus.NOT_MODIFIED:
            self.headers["Content-Length"] = str(selection.length)
        if selection.status == HTTPStatus.PARTIAL_CONTENT:
            last = selection.start + selection.length - 1
            self.headers["Content-Range"] = f"bytes {selection.start}-{last}/{self.file.size}"
        return selection

    @contextlib.asynccontextmanager
    async def _slot(self, scope: Scope, selection: Selection) -> AsyncIterator[None]:
        """Take a slot until the end of the block. This class does not wait for one."""
        del selection
        with self._outlet.slot(scope):
            yield

    def _refuse(self, selection: Selection) -> None:
        if selection.status == HTTPStatus.PRECONDITION_FAILED:
            raise Refusal(HTTPStatus.PRECONDITION_FAILED, "precondition_failed", "the file has another ETag")
        if selection.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise Refusal(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                "bad_range",
                f"the file has {self.file.size} bytes",
                headers={"Content-Range": f"bytes */{self.file.size}"},
            )

    async def _send_head(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)

    async def _send_file(self, scope: Scope, send: Send, selection: Selection, client: str) -> None:
        fd, body = await self._opened(selection)
        # Otherwise many short ranges would be sent at any rate.
        if body and (wait := self._outlet.limits.book(len(body))) > 0:
            await asyncio.sleep(wait)
        served = self._outlet.counters.begin(self._endpoint, client)
        connection = connection_of(scope)
        try:
            await self._send_head(send)
            if fd < 0:
                await send({"type": "http.response.body", "body": body})
                served.sent(len(body))
            elif (transfer := await self._transfer(connection, fd, selection, served)) is not None:
                fd = -1  # the transfer closes it
                assert connection is not None, "it has a transfer"
                if await connection.run_transfer(transfer, self._outlet.pool, selection.length):
                    await send({"type": "http.response.body", "body": b""})
            else:
                await self._send_by_reading(connection, send, fd, selection, served)
        finally:
            served.end()
            if fd >= 0:
                os.close(fd)

    async def _opened(self, selection: Selection) -> tuple[int, bytes]:
        """Open the file in a thread; returns its descriptor and no bytes, or -1 and a small body.

        Raises:
            Refusal: The file has changed, or the system allows no more threads.
        """
        try:
            opening = self._outlet.submit(self._open, selection)
        except Refusal:  # a thread that exists may still take the work, after which nothing would close
            self._is_abandoned = True
            raise
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:  # the server is stopping
            self._is_abandoned = True
            opening.add_done_callback(_close_result)
            raise

    def _open(self, selection: Selection) -> tuple[int, bytes]:
        if self._is_abandoned:
            return -1, b""
        fd = self.file.open()
        if fd is None:
            raise not_found()
        if selection.length > SMALL_BYTES:
            return fd, b""
        try:
            body = read_up_to(fd, selection.start, selection.length)
        finally:
            os.close(fd)
        if len(body) < selection.length:
            raise not_found()
        return -1, body

    async def _transfer(
        self, connection: Connection | None, fd: int, selection: Selection, served: ServedBytes
    ) -> SocketTransfer | None:
        """Return what lets the kernel send the file; None if it cannot, or the client has left."""
        if connection is None or not connection.can_send_files:
            return None

        def make(to: int, seconds: float) -> SocketTransfer:
            limits = self._outlet.limits
            return SocketTransfer(to, fd, selection.start, selection.length, limits, served.sent, seconds)

        with contextlib.suppress(OSError):  # no descriptor is left for a second one of the socket
            return await connection.begin_transfer(make)
        return None

    async def _send_by_reading(
        self,
        connection: Connection | None,
        send: Send,
        fd: int,
        selection: Selection,
        served: ServedBytes,
    ) -> None:
        limits = self._outlet.limits
        offset, end = selection.start, selection.start + selection.length
        while offset < end:
            count = min(limits.piece, BLOCK_BYTES, end - offset)
            if (wait := limits.book(count)) > 0:
                await asyncio.sleep(wait)
            try:
                block = await self._outlet.run(read_up_to, fd, offset, count)
            except Refusal:  # the head was sent, so only the end of the connection can report it
                break
            if len(block) < count or (connection is not None and connection.is_lost):
                break
            offset += count
            await send({"type": "http.response.body", "body": block, "more_body": offset < end})
            served.sent(count)
        if offset < end and connection is not None:
            connection.abort()  # without its end the client knows that the response is not complete


def _close_result(opening: Future[tuple[int, bytes]]) -> None:
    """Close a file that was opened for a response which no longer needs it."""
    if not opening.cancelled() and opening.exception() is None and (fd := opening.result()[0]) >= 0:
        os.close(fd)

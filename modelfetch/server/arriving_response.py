"""The response that sends a file while it is being fetched, chunk by chunk as they are verified.

A request waits for its first chunk without a slot, as that may take hours: the slots are for transfers.
Nothing is sent before that chunk is verified: until then the response can still be an error. Later failures
end the connection, so the client knows that the body is not complete, and can ask for the rest by a range.
What was sent until then is verified.

Once the whole file is verified, the rest is read from its blob.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.server.error_responses import Refusal
from modelfetch.server.file_response import BLOCK_BYTES, OCTETS, FileResponse, not_found
from modelfetch.server.pull_results import check_client, result_of
from modelfetch.server.request_scope import client_address, connection_of
from modelfetch.share.shared_cache import SharedFile
from modelfetch.store.file_ranges import read_up_to
from modelfetch.store.receipt import Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from starlette.types import Scope, Send

    from modelfetch.model.manifest import FileSpec
    from modelfetch.server.arriving_files import Arrival
    from modelfetch.server.connection_timeouts import Connection
    from modelfetch.server.pull_results import Fetch
    from modelfetch.server.share_counters import ServedBytes
    from modelfetch.server.share_outlet import Outlet
    from modelfetch.server.waiting_requests import WaitingRequests
    from modelfetch.share.byte_ranges import Selection

LOOK_SECONDS: Final = 0.05
"""Seconds between the first looks for a chunk."""
LOOK_SHARE: Final = 0.25
"""Later looks for a chunk are apart by this share of the time waited so far: each may hash a wrong one."""
LONGEST_LOOK_SECONDS: Final = 1.0
"""Most seconds between two looks for a chunk."""
CHUNK_SECONDS: Final = 60.0
"""Seconds that a response waits for a chunk while it has a slot. Most clients leave sooner."""
SLOT_SECONDS: Final = 600.0
"""Seconds that a request waits for a slot: a client that reads 1 GB at 2 MB/s holds one for that long."""


def absent(file: FileSpec) -> SharedFile:
    """Describe a file whose bytes are not needed: for HEAD, or a condition that is false."""
    return SharedFile(file.sha256, file.size, Path(), Stamp(file.size, 0, 0), lambda _: None)


class ArrivingFile(SharedFile):
    """A file whose verified chunks can be sent before the others are there.

    Attributes:
        arrival: Its chunks.
        fetch: Ends with the whole file, or with the reason why there is none.
    """

    __slots__ = ("arrival", "fetch")

    def __init__(self, sha256: str, size: int, arrival: Arrival, fetch: Fetch) -> None:
        super().__init__(sha256, size, Path(), Stamp(size, 0, 0), lambda _: None)
        for name, value in (("arrival", arrival), ("fetch", fetch)):
            object.__setattr__(self, name, value)  # the class is frozen

    arrival: Arrival
    fetch: Fetch


class PatientResponse(FileResponse):
    """Sends a file, and waits for a slot if none is free.

    When a file that many clients wait for is there, more of them begin at once than there are slots. Their
    retries would end before a large file has been sent to the first ones.

    Args:
        file: The file.
        outlet: As for :class:`FileResponse`.
        waiting: The requests that wait.
        endpoint: As for :class:`FileResponse`.
        headers: Likewise.
        media_type: Likewise.
    """

    def __init__(
        self,
        file: SharedFile,
        outlet: Outlet,
        waiting: WaitingRequests,
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        media_type: str = OCTETS,
    ) -> None:
        super().__init__(file, outlet, endpoint, headers, media_type)
        self._waiting = waiting

    @asynccontextmanager
    async def _slot(self, scope: Scope, selection: Selection) -> AsyncIterator[None]:
        client = client_address(scope)
        if not self._outlet.limits.slots.is_full(client) or self._waiting.is_full(client):
            async with super()._slot(scope, selection):
                yield
            return
        async with self._outlet.slot_in_turn(scope, SLOT_SECONDS, self._kept_waiting(scope)):
            yield

    @contextmanager
    def _kept_waiting(self, scope: Scope) -> Iterator[Callable[[], None]]:
        with self._waiting.of(scope) as interim:
            yield interim.keep_waiting


class ArrivingResponse(PatientResponse):
    """Sends an :class:`ArrivingFile`; the arguments are those of :class:`PatientResponse`."""

    file: ArrivingFile

    @asynccontextmanager
    async def _slot(self, scope: Scope, selection: Selection) -> AsyncIterator[None]:
        """Wait for the first chunk, and then for a slot."""
        pauses = _Pauses()
        if not await self._is_ready(selection.start):
            with self._waiting.of(scope) as interim:
                while not await self._is_ready(selection.start):
                    await asyncio.wait({self.file.fetch}, timeout=pauses.next())
                    interim.keep_waiting()
        async with super()._slot(scope, selection):
            yield

    async def _is_ready(self, offset: int) -> bool:
        """Whether the chunk that contains an offset seems to be there, or the fetch has ended."""
        return self.file.fetch.done() or await self._outlet.run(self.file.arrival.has, offset)

    async def _send_file(self, scope: Scope, send: Send, selection: Selection, client: str) -> None:
        connection = connection_of(scope)
        offset, end = selection.start, selection.start + selection.length
        with closing(_Reader(self.file, self._outlet, connection)) as reader:
            block = await reader.read(offset, end)
            served = self._outlet.counters.begin(self._endpoint, client)
            try:
                await self._send_head(send)
                while True:
                    for piece in self._pieces(block):
                        offset += len(piece)
                        await self._send_piece(connection, send, piece, served, more=offset < end)
                    if offset >= end:
                        return
                    block = await reader.read(offset, end)
            except Refusal:  # the head was sent, so only the end of the connection can report it
                if connection is not None:
                    connection.abort()
            finally:
                served.end()

    def _pieces(self, block: bytes) -> Iterator[bytes]:
        """Cut a chunk into pieces as small as those of any file, for the rate and for slow clients."""
        count = min(self._outlet.limits.piece, BLOCK_BYTES)
        return (block[start : start + count] for start in range(0, len(block), count))

    async def _send_piece(
        self, connection: Connection | None, send: Send, piece: bytes, served: ServedBytes, *, more: bool
    ) -> None:
        """Send some bytes.

        Raises:
            Refusal: The client is gone.
        """
        # Also without a limit: else the event loop could not notice between two pieces that the client left.
        await asyncio.sleep(max(0.0, self._outlet.limits.book(len(piece))))
        check_client(connection)
        await send({"type": "http.response.body", "body": piece, "more_body": more})
        served.sent(len(piece))


class _Pauses:
    """Times the looks for a chunk: the longer it takes, the further apart.

    Attributes:
        waited: Seconds of all pauses.
    """

    def __init__(self) -> None:
        self.waited = 0.0

    def next(self) -> float:
        """Return the seconds until the next look."""
        seconds = min(LONGEST_LOOK_SECONDS, max(LOOK_SECONDS, LOOK_SHARE * self.waited))
        self.waited += seconds
        return seconds


class _Reader:
    """Reads verified bytes of a file, waiting until they are there."""

    def __init__(self, file: ArrivingFile, outlet: Outlet, connection: Connection | None) -> None:
        self._file = file
        self._outlet = outlet
        self._connection = connection
        self._fd = -1

    async def read(self, offset: int, end: int) -> bytes:
        """Return some bytes from an offset on, at least one and none behind ``end``.

        Raises:
            Refusal: The file could not be fetched, or the chunk takes too long, or the client is gone.
        """
        fetch, pauses = self._file.fetch, _Pauses()
        while not fetch.done() and pauses.waited < CHUNK_SECONDS:
            block = await self._outlet.run(self._file.arrival.read, offset)
            if block is not None:
                return block[: end - offset]
            await asyncio.wait({fetch}, timeout=pauses.next())
            check_client(self._connection)
        if not fetch.done():
            raise not_found()
        return await self._outlet.run(self._read_whole, result_of(fetch), offset, end)

    def _read_whole(self, whole: SharedFile, offset: int, end: int) -> bytes:
        if self._fd < 0:
            fd = whole.open()
            if fd is None:
                raise not_found()
            self._fd = fd
        block = read_up_to(self._fd, offset, min(BLOCK_BYTES, end - offset))
        if not block:
            raise not_found()
        return block

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

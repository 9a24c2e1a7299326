"""``/blobs/sha256/HEX`` of ``serve --share``: any verified file of the cache, by its digest.

Peers say that they would rather wait elsewhere (``Prefer: respond-async``): they get an answer within the
seconds that they name, and learn how far a file is that is being fetched here, and which of its ranges they
can request already (:mod:`modelfetch.server.followed_files`). A server with ``--fetch``
begins to fetch a file for them as for any client, but they do not wait for its bytes in one request::

    GET /blobs/sha256/a9f3...                                200, 404
    GET /blobs/sha256/a9f3...    Prefer: respond-async       200, 202 and the progress, 404
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelfetch.server.fetch_progress import accepted, preferred_wait
from modelfetch.server.file_response import FileResponse, not_found
from modelfetch.server.request_scope import client_address
from modelfetch.sources.peer import INSTANCE_FIELD
from modelfetch.store.in_progress import InProgress

if TYPE_CHECKING:
    from starlette.requests import Request

    from modelfetch.server.share_state import ShareState

ENDPOINT: Final = "blobs"
"""Name in the counters."""
HASH_SECONDS: Final = 0.5
"""Least seconds until the answer is that a blob, which has to be hashed first, is on its way: less than after
which a peer that asked for no wait takes an answer for a late one."""
BEGIN_LOOKS: Final = 5
"""Looks at a fetch that was just begun: in half a second, less than after which a peer takes an answer for a
late one, its job has the lock of the file, and so has progress to report."""
BEGIN_SECONDS: Final = 0.1
"""Seconds between two of them."""


class BlobRoutes:
    """The route.

    Args:
        share_state: The state of sharing.
    """

    def __init__(self, share_state: ShareState) -> None:
        self._share_state = share_state

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [Route("/blobs/sha256/{digest}", self.blob, methods=["GET"])]

    async def blob(self, request: Request) -> Response:
        """Send a blob, or report its progress to a client that would rather wait elsewhere.

        Raises:
            Refusal: 404 if it is not here, and nobody is fetching it; or as :meth:`.ShareState.obtain_blob`.
        """
        digest, seconds = request.path_params["digest"], preferred_wait(request.headers.get("prefer", ""))
        if seconds is None:
            return self._share_state.response(await self._share_state.obtain_blob(request, digest), ENDPOINT)
        response = await _Question(self._share_state, digest, seconds).answer(request)
        instance = {INSTANCE_FIELD: await self._share_state.instance()}
        if response is None:
            refusal = not_found()
            refusal.headers |= instance
            raise refusal
        response.headers.update(instance)
        return response


class _Question:
    """A client's question whether a file is here, to be answered within some seconds.

    Args:
        share_state: The state of sharing.
        digest: As the client sent it.
        seconds: For how long the answer may be held back until the file is here.
    """

    def __init__(self, share_state: ShareState, digest: str, seconds: float) -> None:
        self._share_state = share_state
        self._digest = digest
        self._clock = asyncio.get_running_loop().time
        self._until = self._clock() + seconds

    async def answer(self, request: Request) -> Response | None:
        """Answer; None if the file is not here, and is not being fetched."""
        for _ in range(2):  # a file that was completed after the first look is found by the second one
            if (found := await self._look(request)) is not None:
                return found
        client = client_address(request.scope)
        if request.method == "HEAD" or not await self._share_state.begin_fetch(self._digest, client):
            return None
        for _ in range(BEGIN_LOOKS):
            await asyncio.sleep(BEGIN_SECONDS)
            if (found := await self._look(request)) is not None:
                return found
        return accepted(InProgress(0, 0, None))  # its job waits for others

    async def _look(self, request: Request) -> Response | None:
        """Look for the file, then for a process that is fetching it."""
        found = await self._found()
        if found is not None:
            return found
        progress = await self._wait(request)
        if progress is None:
            return None
        arrival = await self._share_state.arrival(self._digest)
        return accepted(
            progress, await self._share_state.in_thread(arrival.ranges) if arrival is not None else ()
        )

    async def _found(self) -> Response | None:
        """Answer with the file, or that it is on its way while it is hashed; None if it is not here."""
        # Without a timeout: what a slow disk may not have at all must not be said to be on its way.
        found, unread = await self._share_state.find_known(self._digest)
        if unread is not None:
            # The hashing goes on after the timeout, for the next question.
            try:
                async with asyncio.timeout(max(HASH_SECONDS, self._until - self._clock())):
                    found = await self._share_state.hashing.find(self._digest, unread)
            except TimeoutError:
                return accepted(self._share_state.hashing.progress(self._digest) or InProgress(0, 0, 0.0))
        if found is None:
            return None
        # Not `share_state.response`, which may wait for a slot: this client has said how long it waits.
        return FileResponse(found, self._share_state.outlet, ENDPOINT)

    async def _wait(self, request: Request) -> InProgress | None:
        """Wait while a process is fetching the file, unless too many requests wait already."""
        seconds, waiting = self._until - self._clock(), self._share_state.waiting
        if seconds <= 0 or waiting.is_full(client_address(request.scope)):
            return await self._share_state.fetching.wait(self._digest, 0)
        with waiting.of(request.scope):
            return await self._share_state.fetching.wait(self._digest, seconds)

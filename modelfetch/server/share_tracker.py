"""``/announce`` of ``serve --share``: the tracker of the models that the catalogs of this server pin.

::

    GET /announce?info_hash=...&peer_id=...&port=6881&left=0

What is answered is decided in :mod:`modelfetch.share.tracker`. The address of a machine is that of its
connection: behind a reverse proxy it would be that of the proxy, so a tracker must be reached directly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelfetch.server.request_scope import client_address
from modelfetch.share.tracker import Tracker

if TYPE_CHECKING:
    from modelfetch.server.share_state import ShareState


class TrackerRoutes:
    """The route of the tracker.

    Args:
        share_state: The state of sharing.
    """

    def __init__(self, share_state: ShareState) -> None:
        self._share_state = share_state
        self._tracker = Tracker(self._infohashes, time.monotonic)

    def routes(self) -> list[BaseRoute]:
        """Return the route."""
        return [Route("/announce", self.announce, methods=["GET"])]

    async def announce(self, request: Request) -> Response:
        """Answer an announce. A refusal has status 200 too, as clients read the reason only then."""
        query: bytes = request.scope["query_string"]
        # In a thread: the first announce of a torrent reads catalogs.
        answer = await self._share_state.in_thread(
            self._tracker.announce, query, client_address(request.scope)
        )
        return Response(answer, media_type="text/plain", headers={"Cache-Control": "no-store"})

    def _infohashes(self) -> Iterator[str]:
        """Yield the infohash of each pinned model that has a torrent."""
        for manifest in self._share_state.models.current().manifests:
            if manifest.swarm is not None:
                yield manifest.swarm.infohash

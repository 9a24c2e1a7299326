"""Sends files that other processes of this machine are fetching, as they arrive, if their chunks are proven.

``serve --share`` serves a cache that any command may write to. While ``modelfetch ensure`` fetches a file,
its chunks can be sent to other machines at once, if the CID in the manifest proves them: see
:mod:`modelfetch.server.arriving_files`. Peers ask which ranges are there, and request those::

    GET /blobs/sha256/a9f3...   Prefer: respond-async    202 {"available": [[0, 1048576]], ...}
    GET /blobs/sha256/a9f3...   Range: bytes=0-1048575   206

A file whose chunks nothing proves is sent once it is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, ParamSpec, Protocol, TypeVar

from modelfetch.server.arriving_files import ForeignArrival
from modelfetch.server.arriving_response import ArrivingFile
from modelfetch.server.error_responses import Refusal
from modelfetch.server.file_response import not_found

if TYPE_CHECKING:
    from modelfetch.ipfs.leaf_table import LeafTable
    from modelfetch.server.fetch_progress import FetchProgress
    from modelfetch.server.pull_results import Fetch
    from modelfetch.share.shared_cache import SharedCache, SharedFile
    from modelfetch.share.shared_models import SharedModels

P = ParamSpec("P")
T = TypeVar("T")

FOLLOW_SECONDS: Final = 10.0
"""Seconds of one wait for the end of a fetch, after which the next one begins: it may take hours."""


class Sharing(Protocol):
    """What following needs of the state of sharing (:class:`modelfetch.server.share_state.ShareState`)."""

    cache: SharedCache
    models: SharedModels
    fetching: FetchProgress

    async def find(self, sha256: str) -> SharedFile | None:
        """Find a verified file."""

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads the disk."""


class FollowedFiles:
    """The files that are being fetched into a cache. Used by the event loop only.

    Args:
        sharing: The state of sharing.
    """

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing
        self._fetches: dict[str, Fetch] = {}
        """By digest: each ends when no process is fetching the file any more."""

    async def find(self, sha256: str) -> ArrivingFile | None:
        """Find a file that is being fetched, and whose chunks are proven.

        Args:
            sha256: Its digest, as a client sent it.
        """
        if await self._sharing.fetching.wait(sha256, 0) is None:
            return None
        arrival = await self.arrival(sha256)
        if arrival is None:
            return None
        return ArrivingFile(sha256, arrival.size, arrival, self._follow(sha256))

    async def arrival(self, sha256: str) -> ForeignArrival | None:
        """Return what reads the chunks of a file that is being fetched; None if nothing proves them."""
        table = await self._sharing.in_thread(self._table, sha256)
        return ForeignArrival(sha256, table, self._sharing.cache.store) if table is not None else None

    def _table(self, sha256: str) -> LeafTable | None:
        return self._sharing.models.blocks().proven_table(sha256)

    def _follow(self, sha256: str) -> Fetch:
        fetch = self._fetches.get(sha256)
        if fetch is None:
            fetch = self._fetches[sha256] = asyncio.get_running_loop().create_task(self._until_over(sha256))
            fetch.add_done_callback(lambda _: self._fetches.pop(sha256, None))
        return fetch

    async def _until_over(self, sha256: str) -> SharedFile | Refusal:
        """Wait until no process is fetching a file; it is here then, or cannot be had from here."""
        try:
            while await self._sharing.fetching.wait(sha256, FOLLOW_SECONDS) is not None:
                pass
            found = await self._sharing.find(sha256)
        except Refusal as refusal:
            return refusal
        return found if found is not None else not_found()

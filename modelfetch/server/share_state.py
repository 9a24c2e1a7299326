"""The state that all shared endpoints of ``serve --share`` use: verified files, limits, counters, threads.

An endpoint obtains its file and makes the response; the rest is the same for all of them::

    file = await share_state.obtain(request, manifest, spec)    404 if it is not here
    return share_state.response(file, "huggingface")

:class:`ShareState` serves what is here, and what another process is bringing here. A server that fetches
replaces the methods ``obtain...``, ``arrival``, ``begin_fetch`` and ``pin``: see
:mod:`modelfetch.server.pull_through`. All shared routes are put together in
:mod:`modelfetch.server.shared_endpoints`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from modelfetch.errors import ConfigError
from modelfetch.server.arriving_response import ArrivingFile, ArrivingResponse, PatientResponse
from modelfetch.server.fetch_progress import FetchProgress
from modelfetch.server.file_response import OCTETS, FileResponse, not_found
from modelfetch.server.followed_files import FollowedFiles
from modelfetch.server.hash_queue import HashQueue
from modelfetch.server.pull_results import wrong_settings
from modelfetch.server.share_counters import ShareCounters
from modelfetch.server.share_limits import ShareLimits
from modelfetch.server.share_outlet import Outlet, submit
from modelfetch.server.waiting_requests import WaitingRequests
from modelfetch.store.in_progress import InProgress, in_progress
from modelfetch.store.instance import instance_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.server.arriving_files import Arrival
    from modelfetch.share.on_demand import Named
    from modelfetch.share.shared_cache import SharedCache, SharedFile
    from modelfetch.share.shared_models import SharedModels

P = ParamSpec("P")
T = TypeVar("T")

LOOK_THREADS: Final = 4
"""Threads that look for files. They only inspect names, but a network file system may take its time."""


class ShareState:
    """The state of sharing of one server.

    Args:
        cache: The verified files.
        limits: Transfers at the same time, and their rate; None for the defaults.
        models: The models that clients can name.

    Attributes:
        cache: The verified files.
        fetching: The files that are being fetched.
        hashing: The files that are being hashed.
        waiting: The requests that wait for a file, a pin or a slot.
        limits: Transfers at the same time, and their rate.
        counters: What was sent, and to which addresses.
        models: The models that clients can name.
        outlet: Limits, counters and threads of all responses.
        fetches: Whether :meth:`obtain` fetches what is not here. Files that are not here are listed then, and
            requests wait for a slot, as many begin at once when a file that they waited for is there.
    """

    fetches = False

    def __init__(
        self,
        cache: SharedCache,
        limits: ShareLimits | None,
        models: SharedModels,
    ) -> None:
        self.cache = cache
        self.models = models
        self.fetching = FetchProgress(self._progress)
        self._followed = FollowedFiles(self)
        self.limits = limits or ShareLimits()
        self.counters = ShareCounters()
        self.waiting = WaitingRequests()
        self._looking = ThreadPoolExecutor(LOOK_THREADS, "share-look")
        self.hashing = HashQueue(cache)
        self._sending = ThreadPoolExecutor(self.limits.slots.most, "share-send")
        self.outlet = Outlet(self.limits, self.counters, self._sending)

    def close(self) -> None:
        """Stop hashing and start no more transfers; those under way end with their connections."""
        self.cache.close()
        self.hashing.close()
        for pool in (self._looking, self._sending):
            pool.shutdown(wait=False, cancel_futures=True)

    async def find(self, sha256: str) -> SharedFile | None:
        """Find the verified file of a digest; hashes it if that was not done before.

        Args:
            sha256: As a client sent it.

        Returns:
            None if it is not here, for whatever reason.

        Raises:
            Refusal: 503 without threads; 500 if the cache cannot be read at the moment.
        """
        found, unread = await self.find_known(sha256)
        return found if unread is None else await self.hashing.find(sha256, unread)

    async def find_known(self, sha256: str) -> tuple[SharedFile | None, int | None]:
        """Find the verified file of a digest without hashing it; see :meth:`.SharedCache.find_known`.

        Args:
            sha256: As a client sent it.

        Raises:
            Refusal: 503 without threads.
        """
        return await self.in_thread(self.cache.find_known, sha256)

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads the disk, in one of the few threads for that.

        Raises:
            Refusal: 503 without threads; 500 if settings, catalogs or cache cannot be read.
        """
        try:
            return await asyncio.wrap_future(submit(self._looking, function, *args, **kwargs))
        except ConfigError as error:
            raise wrong_settings() from error

    async def _progress(self, sha256: str) -> InProgress | None:
        return await self.in_thread(in_progress, self.cache.root, sha256)

    async def instance(self) -> str:
        """Return the name of the cache; it changes when the cache is made, which may be after the start.

        Raises:
            Refusal: 503 without threads.
        """
        return await self.in_thread(instance_of, self.cache.root)

    async def obtain(self, request: Request, manifest: Manifest, file: FileSpec) -> SharedFile:
        """Obtain a file of a model that a request names; a pull-through cache fetches it.

        Args:
            request: The request.
            manifest: The model.
            file: One of its files.

        Raises:
            Refusal: 404 if it is not here.
        """
        del manifest
        return await self.obtain_blob(request, file.sha256)

    async def obtain_whole(self, request: Request, manifest: Manifest, file: FileSpec) -> SharedFile:
        """Obtain a file as :meth:`obtain` does, for a caller that reads it itself: all of it is here then.

        Raises:
            Refusal: 404 if it is not here.
        """
        del request, manifest
        found = await self.find(file.sha256)
        if found is None:
            raise not_found()
        return found

    async def obtain_blob(self, request: Request, sha256: str) -> SharedFile:
        """Obtain the file of a digest that a request names; a pull-through cache fetches it.

        Raises:
            Refusal: 404 if it is not here.
        """
        del request
        found = await self.find(sha256) or await self._followed.find(sha256)
        found = found or await self.find(sha256)  # it was completed between the two
        if found is None:
            raise not_found()
        return found

    async def arrival(self, sha256: str) -> Arrival | None:
        """Return what reads the chunks of a file that is being fetched, if they are proven.

        Args:
            sha256: Digest of the file, as the client sent it.
        """
        return await self._followed.arrival(sha256)

    async def begin_fetch(self, sha256: str, client: str) -> bool:
        """Begin to fetch a file for a client that does not wait for it, if this server fetches.

        Args:
            sha256: Digest of the file, as the client sent it.
            client: Its address.

        Returns:
            Whether it is being fetched, or was completed a moment ago.
        """
        del sha256, client
        return False

    async def pin(self, request: Request, wanted: Named) -> bool:
        """Pin what no manifest pins, if clients may cause that.

        Args:
            request: The request.
            wanted: A repository of Hugging Face, or an artifact of a registry, as a client named it.

        Returns:
            Whether it is pinned now.
        """
        del request, wanted
        return False

    def response(
        self,
        file: SharedFile,
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        media_type: str = OCTETS,
    ) -> FileResponse:
        """Make the response that sends a file, also one that is still arriving; see :class:`FileResponse`."""
        if isinstance(file, ArrivingFile):
            return ArrivingResponse(file, self.outlet, self.waiting, endpoint, headers, media_type)
        if self.fetches:
            return PatientResponse(file, self.outlet, self.waiting, endpoint, headers, media_type)
        return FileResponse(file, self.outlet, endpoint, headers, media_type)

"""The pull-through cache of ``serve --share --fetch``: fetches a file when a client asks for it.

A request for a file of a pinned model that is not here starts a job for this one file, or joins the job that
fetches it already: many clients cause one download. The file is sent when its bytes are verified:

* chunk by chunk as they arrive, where the manifest pins the CID of the file
  (:mod:`modelfetch.server.arriving_files`);
* else when the SHA-256 of the whole file is right. The client is kept waiting by interim responses
  (:mod:`modelfetch.server.interim_responses`).

A HEAD request, and one whose condition is false, is answered from the manifest and starts nothing. A client
that leaves ends nothing: the next one finds the file. An operator can cancel the job. A failure is remembered
for some seconds, and longer if it happens again, so that clients that repeat their request do not repeat the
download with it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from modelfetch.errors import ModelfetchError, StoreError
from modelfetch.server.arriving_files import Arrivals
from modelfetch.server.arriving_response import ArrivingFile, absent
from modelfetch.server.client_limit import ClientLimit, network_of
from modelfetch.server.error_responses import Refusal
from modelfetch.server.event_streams import ThreadEvent
from modelfetch.server.file_response import not_found
from modelfetch.server.job_log import TooManyFollowers
from modelfetch.server.job_queue import MAX_FILE_JOBS, MAX_QUEUED
from modelfetch.server.pin_requests import PinRequests
from modelfetch.server.pull_results import (
    DiskReports,
    FailurePauses,
    Fetch,
    check_room,
    disk_full,
    origin_failed,
    queue_full,
    refusal_of,
    result_of,
)
from modelfetch.server.request_scope import client_address, joined_headers
from modelfetch.server.share_state import ShareState
from modelfetch.share.byte_ranges import select
from modelfetch.share.on_demand import on_demand_name

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Scope

    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.server.arriving_files import Arrival
    from modelfetch.server.interim_responses import InterimResponses
    from modelfetch.server.job import Job
    from modelfetch.server.job_queue import Jobs
    from modelfetch.server.job_state import Operation
    from modelfetch.server.pin_on_demand import PinOnDemand
    from modelfetch.server.runner import ServerWorkspace
    from modelfetch.server.share_limits import ShareLimits
    from modelfetch.share.model_index import PinnedFile
    from modelfetch.share.on_demand import Named
    from modelfetch.share.shared_cache import SharedCache, SharedFile
    from modelfetch.share.shared_models import SharedModels
    from modelfetch.store import Store

PROGRESS_SECONDS: Final = 1.0
"""Seconds between two looks at a job that has nothing to report."""
LOOK_SECONDS: Final = 0.05
"""Seconds between two looks at a file that is being fetched."""


class PullThrough(ShareState):
    """The state of sharing of a server that fetches what is not here.

    Args:
        cache: The verified files.
        limits: Transfers at the same time, and their rate.
        models: The models that clients can name.
        engine: The engine of the jobs; it reports the files that they fetch to this object.
        jobs: Fetch the files.
        store: The cache.
        on_demand: Pins what clients name and no catalog pins; None pins nothing.

    Attributes:
        on_demand: As given.
    """

    fetches = True

    def __init__(
        self,
        cache: SharedCache,
        limits: ShareLimits | None,
        models: SharedModels,
        engine: ServerWorkspace,
        jobs: Jobs,
        store: Store,
        on_demand: PinOnDemand | None = None,
    ) -> None:
        super().__init__(cache, limits, models)
        self._jobs = jobs
        self._arrivals = Arrivals(store)
        engine.opened = self._arrivals.opened
        self._store = store
        self.on_demand = on_demand
        self._pins = PinRequests(self.waiting)
        self._disk_reports = on_demand.disk_reports if on_demand is not None else DiskReports()
        self._failure_pauses = FailurePauses()
        places = MAX_FILE_JOBS + MAX_QUEUED
        self._places = ClientLimit(places, places // 2, queue_full)
        """One for each fetch under way, held for the client that began it."""
        # These two are used by the event loop only.
        self._fetches: dict[str, Fetch] = {}
        """By digest: those under way, and those that failed a moment ago."""
        self._wanted: dict[str, FileSpec] = {}
        """The files that are being fetched or wait for that, by digest, in the order they were asked for."""
        self._completing = threading.Lock()
        """Protects the field below: files of one model may be completed at the same time."""
        self._missing: dict[str, dict[str, FileSpec]] = {}
        """By identity of a model: files that it lacked when they were last looked at, by digest."""

    async def pin(self, request: Request, wanted: Named) -> bool:
        """Pin what no manifest pins, if that is allowed; see :class:`.PinOnDemand`.

        Raises:
            Refusal: The limit is reached, or the Hub or the registry cannot be reached, or too many requests
                wait.
        """
        if self.on_demand is None or self.on_demand.is_refused(wanted):
            return False
        is_pinned = await self._pins.pin(self.on_demand, request.scope, wanted)
        if is_pinned:
            self.models.refresh()
            with suppress(Refusal):  # it is pinned, whatever becomes of its model
                await self.in_thread(self._complete_pinned, on_demand_name(wanted))
        return is_pinned

    def close(self) -> None:
        """Stop; see :meth:`.ShareState.close`."""
        if self.on_demand is not None:
            self.on_demand.stop()
        self._pins.close()
        super().close()

    async def obtain(self, request: Request, manifest: Manifest, file: FileSpec) -> SharedFile:
        """Obtain a file of a model that a request names; fetches it if it is not here.

        Raises:
            Refusal: It could not be fetched, too many requests wait, or the disk is full.
        """
        if not _needs_bytes(request.scope, file):
            return absent(file)
        return await self._obtain(request, manifest, file, may_arrive=True)

    async def obtain_whole(self, request: Request, manifest: Manifest, file: FileSpec) -> SharedFile:
        """Obtain a file for a caller that reads it itself; fetches all of it if it is not here.

        Raises:
            Refusal: As for :meth:`obtain`.
        """
        return await self._obtain(request, manifest, file, may_arrive=False)

    async def _obtain(
        self, request: Request, manifest: Manifest, file: FileSpec, *, may_arrive: bool
    ) -> SharedFile:
        found = await self.find(file.sha256)
        if found is not None:
            return found
        with self.waiting.of(request.scope) as interim:
            fetch = self._fetch(manifest, file, client_address(request.scope))
            return await self._arriving(fetch, file, interim, may_arrive=may_arrive)

    async def obtain_blob(self, request: Request, sha256: str) -> SharedFile:
        """Obtain the file of a digest; fetches it if a catalog pins it and it is not here.

        Raises:
            Refusal: 404 if no catalog pins it, or as for :meth:`obtain`.
        """
        found = await self.find(sha256)
        if found is not None:
            return found
        pinned = await self.in_thread(self._pinned, sha256)
        if pinned is None:
            raise not_found()
        return await self.obtain(request, pinned.manifest, pinned.file)

    async def arrival(self, sha256: str) -> Arrival | None:
        """Return what reads the chunks of a file that is being fetched; see :meth:`.ShareState.arrival`."""
        own = self._arrivals.find(sha256)
        return own if own is not None and own.is_proven else await super().arrival(sha256)

    async def begin_fetch(self, sha256: str, client: str) -> bool:
        """Begin to fetch the file of a digest, if a catalog pins it, for a client that does not wait for it.

        Returns:
            Whether it is being fetched, or was completed a moment ago.
        """
        pinned = await self.in_thread(self._pinned, sha256)
        if pinned is None:
            return False
        try:
            fetch = self._fetch(pinned.manifest, pinned.file, client)
        except Refusal:  # to a peer its status would mean that the file is here
            return False
        return not fetch.done() or _is_complete(fetch)

    def _pinned(self, sha256: str) -> PinnedFile | None:
        """Find a file of a pinned model by its digest."""
        found = self.models.current().file(sha256)
        return found or self.models.current(missed=True).file(sha256)  # it may have been added just now

    async def _arriving(
        self, fetch: Fetch, file: FileSpec, interim: InterimResponses, *, may_arrive: bool
    ) -> SharedFile:
        """Wait until a file is verified, or until its chunks are and can be sent as they arrive."""
        # Not only by this process: the job may wait for another one.
        arrival = await self.arrival(file.sha256) if may_arrive else None
        while not fetch.done():
            if arrival is not None and arrival.is_proven:
                return ArrivingFile(file.sha256, file.size, arrival, fetch)
            await asyncio.wait({fetch}, timeout=LOOK_SECONDS)
            interim.keep_waiting()
            arrival = self._arrivals.find(file.sha256) if may_arrive else None
        return result_of(fetch)

    def _fetch(self, manifest: Manifest, file: FileSpec, client: str) -> Fetch:
        """Start to fetch a file, or join the fetch that is under way.

        Raises:
            Refusal: This client holds half of all places. That is no result of a fetch, which is for all.
        """
        known = self._fetches.get(file.sha256)
        if known is not None:
            return known
        held = ExitStack()
        held.enter_context(self._places.hold(client))
        fetch = asyncio.get_running_loop().create_task(self._run(manifest, file, client))
        self._fetches[file.sha256] = fetch
        fetch.add_done_callback(lambda _: self._ended(file.sha256, fetch, held))
        return fetch

    def _ended(self, sha256: str, fetch: Fetch, held: ExitStack) -> None:
        held.close()
        self._arrivals.forget(sha256)
        result = None if fetch.cancelled() or fetch.exception() is not None else fetch.result()
        seconds = self._failure_pauses.seconds(sha256, result if isinstance(result, Refusal) else None)
        asyncio.get_running_loop().call_later(seconds, self._fetches.pop, sha256, None)

    async def _run(self, manifest: Manifest, file: FileSpec, client: str) -> SharedFile | Refusal:
        """Fetch a file. A refusal is returned: it is for all requests that wait for the file."""
        # As many as have a place as jobs. Clients of more may have left, and each would look at all others.
        if len(self._wanted) >= MAX_FILE_JOBS + MAX_QUEUED:
            return queue_full()
        self._wanted[file.sha256] = file
        try:
            return await self._run_job(manifest, file, client)
        except Refusal as refusal:
            return queue_full() if refusal.code == "queue_full" else refusal
        finally:
            self._wanted.pop(file.sha256, None)

    async def _run_job(self, manifest: Manifest, file: FileSpec, client: str) -> SharedFile:
        """Fetch a file by a job.

        Raises:
            Refusal: The file is not here afterwards.
        """
        # All that came before: their bytes are not there yet, and no partial takes its space in advance.
        await self.in_thread(self._check_space, tuple(self._wanted.values()))
        job, _ = await self.in_thread(self._jobs.submit_file, manifest, file.path, network_of(client))
        inode = await self._until_over(job, file.sha256)
        if job.state.status != "completed":
            refusal = refusal_of(job.state.error)
            if job.state.error is not None and refusal.code == "disk_full":
                self._disk_reports.tell(job.state.error.message)
            raise refusal
        if inode is not None:
            await self.in_thread(self.cache.note_verified, file.sha256, inode)
        found = await self.find(file.sha256)
        if found is None:  # the catalog has other bytes under this name by now
            raise origin_failed("the pin of the file has changed")
        with suppress(Refusal):  # the file is here, whatever becomes of the rest of its model
            await self.in_thread(self._complete, manifest, file.sha256)
        return found

    async def _until_over(self, job: Job, sha256: str) -> int | None:
        """Wait for the end of a job; returns the inode that its file was written to, if it is known."""
        changed, inode = ThreadEvent(), None
        with suppress(TooManyFollowers), job.log.subscribe(changed.set):
            while job.log.marker is None:
                changed.clear()
                arrival = self._arrivals.find(sha256)
                if arrival is not None:
                    inode = await self.in_thread(arrival.inode) or inode
                if job.log.marker is None:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), PROGRESS_SECONDS)
        while not job.finished.is_set():
            # It follows a moment after the last entry of the log. Without the log the job may take hours.
            await asyncio.sleep(LOOK_SECONDS if job.log.marker is None else LOOK_SECONDS / 10)
        return inode

    def _check_space(self, files: Sequence[FileSpec]) -> None:
        """Refuse to fetch the last of some files if all of them would fill the disk."""
        try:
            needed = sum(file.size - self._store.held(file) for file in files)
            check_room(self._store, needed)
        except StoreError as error:
            self._disk_reports.tell(error.message)
            raise disk_full() from None

    def _complete_pinned(self, name: str) -> None:
        """Complete a model of which all files were read for its pin, so that no other fetch is the last."""
        for manifest in self.models.current().manifests:
            if manifest.name == name:
                self._complete(manifest)

    def _complete(self, manifest: Manifest, sha256: str = "") -> None:
        """Submit a job for a model of which the last file was fetched: it verifies all, and is then ready.

        Args:
            manifest: The model.
            sha256: The file that was fetched, if any.
        """
        identity = manifest.identity
        with self._completing:
            missing = self._missing.get(identity)
            if missing is None:  # files of 20,000 are looked at once, not with each of them
                files = {file.sha256: file for file in manifest.files}
                missing = {each: file for each, file in files.items() if self._store.find_blob(file) is None}
                self._missing[identity] = missing
            missing.pop(sha256, None)
            # Others may have come in another way: by another process, or for another model.
            while missing and self._store.find_blob(next(iter(missing.values()))) is not None:
                del missing[next(iter(missing))]
            if missing or self._store.receipt(manifest) is not None:
                return
            del self._missing[identity]
        operation: Operation = "worker_download" if manifest.kind == "worker" else "model_download"
        try:
            self._jobs.submit(operation, manifest.name)
        except (Refusal, ModelfetchError):  # the queue is full, or the catalog has changed
            return  # an operator can submit it later


def _is_complete(fetch: Fetch) -> bool:
    """Whether a fetch that has ended brought the file."""
    return not fetch.cancelled() and fetch.exception() is None and not isinstance(fetch.result(), Refusal)


def _needs_bytes(scope: Scope, file: FileSpec) -> bool:
    """Whether the response to a request has bytes of a file in its body."""
    if scope["method"] == "HEAD":
        return False
    selection = select(scope["method"], joined_headers(scope), f'"{file.sha256}"', file.size)
    return bool(selection.length)

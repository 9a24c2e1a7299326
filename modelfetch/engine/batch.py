"""Fetch many small files: each in one answer over a kept-alive connection, stored in groups.

What takes time with a file of a few kilobytes is not its bytes but what is done for each file alone: a lock,
a journal, a sync, and the wait for an answer. A batch does without lock and journal, syncs a group of files
at once, and waits for many answers at the same time:

1. fetch a few files one after the other, to measure how long an answer takes;
2. fetch the others over as many connections as that wait is worth, and commit them in groups;
3. leave all files that failed, and those that were never begun, to :func:`modelfetch.engine.file.obtain`.

So a batch handles the common case only. Retries, other sources, and the reports about both are those of the
ordinary way.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from modelfetch.engine.batch_connections import BatchConnections, patience
from modelfetch.engine.candidates import COSTLY, FIRST_BYTE
from modelfetch.engine.events import Event, FileStarted, FileVerified
from modelfetch.engine.file import FileDone, Item, Mode, Obtained, committed, obtain_alone
from modelfetch.engine.progress import Request
from modelfetch.engine.workers import affordable, merge
from modelfetch.errors import Fault, SourceError, StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.source_kinds import SourceKind
from modelfetch.sources.base import HttpOffer
from modelfetch.sources.local_files import LocalOffer
from modelfetch.store.dir_handles import limit

if TYPE_CHECKING:
    from modelfetch.engine.plan import Job
    from modelfetch.engine.runtime import Runtime
    from modelfetch.sources.base import Offer
    from modelfetch.store import GroupCommit, Staged

FEWEST: Final = 32
"""The fewest small files for a batch: fewer take only a fifth of a second in the ordinary way."""
LARGEST: Final = 256 * 1024
"""The largest small file, in bytes: 64 of them at a time take 16 MiB of memory."""
SAMPLE: Final = 3
"""Files fetched one after the other to measure the wait for an answer; the shortest counts."""
LONG_WAIT: Final = 0.005
"""Seconds of wait from which two files are enough to measure: the network, and no processor, takes so
long."""
WAIT_OF_ONE: Final = 0.0008
"""Seconds of wait that are worth one thread more: about twice the processor time of a file. Measured: over
loopback four threads are slower than one; with answers after 50 ms, 64 are best."""
MOST: Final = 64
"""The most threads, and so connections, of a batch; more gain nothing measurable and load the server."""
PER_FILE: Final = 16
"""Connections of a batch for each file that may be in work at the same time (``network.files``)."""
HAND_ON_SECONDS: Final = 0.05
"""Seconds over which a thread collects files before it hands them on: each handover costs a thread switch."""
COMMIT_SECONDS: Final = 0.5
"""Seconds that verified files wait to be committed with others, and so about the work that a killed run
loses."""
COMMIT_FILES: Final = 1024
"""The most files that are committed together."""
FAILURES: Final = 8
"""Failed files after which the batch ends: this server or source needs the ordinary way."""

_SILENT: Final = frozenset({Fault.CONNECT, Fault.TIMEOUT, Fault.STALL})
"""Faults of a connection that the server accepts but has no thread for."""
_OF_THE_HOST: Final = frozenset(
    {Fault.BUSY, Fault.CONNECT, Fault.TLS, Fault.PROXY, Fault.STALL, Fault.TIMEOUT, Fault.AUTHORIZATION}
    | {Fault.REDIRECT}
)
"""Faults of the host and not of one file: the next file would fail too, or has to wait."""


class _Unanswered(Exception):  # noqa: N818 - a reason for fewer connections, not a failure
    """A new connection was not answered while others were."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A file that was fetched and verified, and is not committed yet."""

    job: Job
    offer: HttpOffer
    loose: Staged
    began: float
    wait: float
    """Seconds from the request to the last byte."""
    request: Request

    @property
    def obtained(self) -> Obtained:
        return Obtained(self.offer.kind, self.offer.host, self.job.file.size)

    def committed(self, now: float) -> Iterator[Event]:
        obtained, first = self.obtained, True
        for (manifest, file), path in zip(self.job.places, self.loose.targets, strict=True):
            fetched = obtained.fetched if first else 0  # shared bytes were received once, so they count once
            yield committed(manifest, file, path, replace(obtained, fetched=fetched), now - self.began)
            first = False


def split_small(runtime: Runtime, work: Sequence[Job], mode: Mode) -> tuple[Sequence[Job], Sequence[Job]]:
    """Split jobs into those that are fetched one by one, and those for a batch: often none.

    Args:
        runtime: Of the run.
        work: The jobs, each with a digest of its own.
        mode: Of the run.
    """
    if mode.force or runtime.offline or mode.bad or runtime.limit_rate is not None:
        return work, []  # a batch neither replaces files nor throttles
    small = [job for job in work if job.file.size <= LARGEST]
    if len(small) < FEWEST:
        return work, []
    return [job for job in work if job.file.size > LARGEST], small


def threads_for(wait: float, most: int) -> int:
    """The number of files to fetch at the same time.

    Args:
        wait: Seconds that one answer takes.
        most: The upper bound.
    """
    return min(most, max(1, math.ceil(wait / WAIT_OF_ONE)))


def most_threads(files: int) -> int:
    """The most threads of a batch; one for a run that was asked to fetch one file at a time."""
    return 1 if files == 1 else min(MOST, PER_FILE * files)


class Batch:
    """One batch: its files are fetched by several threads, and committed by the thread that runs the batch.

    Args:
        runtime: Of the run.
        work: The jobs, each with a digest of its own; see :func:`split_small`.
        new: Those of which no byte is on disk yet.
        mode: Of the run.
    """

    def __init__(self, runtime: Runtime, work: Sequence[Job], new: Sequence[Job], mode: Mode) -> None:
        self._runtime = runtime
        self._mode = mode
        self._waiting = deque(new)
        """Jobs that no thread has begun. Emptied to end the batch; shared by its threads."""
        self._left = {job.file.sha256: job for job in work}
        """Jobs that have not ended yet, by digest."""
        self._refusal: StoreError | None = None
        """The first error of the disk in a lane."""
        self._failures = 0
        self._answers = 0
        self._patience: float | None = None
        """Seconds for the first answer over a new connection; None until the sample was fetched."""
        self._last_offer: HttpOffer | None = None

    def run(self) -> Generator[Item | Sequence[Item], None, None]:
        """Obtain every file, in the quick way or else in the ordinary one.

        Raises:
            Cancelled: The run was cancelled.
        """
        try:
            with self._runtime.store.group() as group:
                yield from self._quickly(group)
        except StoreError:
            self._waiting.clear()  # the ordinary way meets the same disk, and reports its error for a file
        yield from self._ordinarily()

    # The quick way

    def _quickly(self, group: GroupCommit) -> Iterator[Sequence[Item]]:
        clock = self._runtime.clock
        pending: list[_Fetched] = []
        committed_at = clock()
        refusal: StoreError | None = None
        for parcel in self._parcels(group):
            pending += parcel
            yield [event for fetched in parcel for event in _verified(fetched)]
            if len(pending) >= COMMIT_FILES or clock() - committed_at >= COMMIT_SECONDS:
                try:
                    yield self._commit(group, pending)
                except StoreError as error:
                    refusal = error
                    self._waiting.clear()  # the connections then end; until they do, they write to the group
                pending, committed_at = [], clock()
        if refusal is not None:
            raise refusal
        yield self._commit(group, pending)

    def _parcels(self, group: GroupCommit) -> Iterator[list[_Fetched]]:
        wait = yield from self._sample(group)
        self._patience = patience(wait)
        most = affordable(most_threads(self._runtime.files), limit())
        threads = threads_for(wait, most)
        if threads == 1:
            yield from self._fetch(group)
        else:
            yield from self._fetch_by(threads, group)

    def _sample(self, group: GroupCommit) -> Generator[list[_Fetched], None, float]:
        """Fetch the first files; returns the seconds of the shortest wait."""
        waits: list[float] = []
        while self._waiting and len(waits) < SAMPLE:
            for parcel in self._fetch(group, 1):
                waits += [fetched.wait for fetched in parcel]
                yield parcel
            if min(waits[1:], default=0.0) >= LONG_WAIT:  # the first wait includes making the connection
                break
        return min(waits, default=0.0)

    def _fetch_by(self, threads: int, group: GroupCommit) -> Iterator[list[_Fetched]]:
        cancel = self._runtime.cancel.child()  # leaving the connections must not end the run
        connections = BatchConnections(cancel)
        fetching = [self._fetch_in(connections, number, group) for number in range(threads)]
        with closing(merge(fetching, threads, cancel)) as merged:
            for parcel in merged:
                yield parcel or []  # an empty one lets the caller look at the clock
        if self._refusal is not None:
            raise self._refusal

    def _fetch_in(
        self, connections: BatchConnections, number: int, group: GroupCommit
    ) -> Generator[list[_Fetched], None, None]:
        """Fetch files over one of several connections, as soon as it may start."""
        if not connections.enter(number):
            return
        try:
            yield from self._fetch(group, connections=connections)
        except StoreError as error:  # raised once the other connections ended: they write to the same group
            self._refusal = self._refusal or error
            self._waiting.clear()
        finally:
            connections.leave(is_over=not self._waiting)

    def _fetch(
        self, group: GroupCommit, most: float = math.inf, connections: BatchConnections | None = None
    ) -> Generator[list[_Fetched], None, None]:
        """Fetch files until none is left, in one thread."""
        clock, parcel = self._runtime.clock, list[_Fetched]()
        handed_on, count, is_proven = clock(), 0, False
        while count < most and (job := self._next(connections)) is not None:
            count += 1
            try:
                fetched = self._fetch_one(group, job)
            except _Unanswered:
                self._waiting.appendleft(job)
                if connections is not None and connections.note_silence():
                    break
                continue
            if fetched is not None:
                parcel.append(fetched)
                if connections is not None and not is_proven:
                    is_proven = True
                    connections.note_answer()
            if clock() - handed_on >= HAND_ON_SECONDS:
                yield parcel
                parcel, handed_on = [], clock()
        if not self._waiting and self._last_offer is not None:
            # An idle connection may hold one of the few threads of a server, which other files wait for.
            self._last_offer.close_idle()
        yield parcel

    def _next(self, connections: BatchConnections | None) -> Job | None:
        """The next job that no thread has begun; None where none is left."""
        if connections is not None:
            connections.check_cancelled()
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _fetch_one(self, group: GroupCommit, job: Job) -> _Fetched | None:
        """Fetch a file from the source that comes first; None when that failed or is not for a batch.

        Raises:
            _Unanswered: Other connections got answers while this one waited for its first.
        """
        clock, offer = self._runtime.clock, self._offer(job)
        if offer is None:
            return None
        self._last_offer, answers = offer, self._answers
        request = _request(job, offer, clock())
        try:
            data = self._fetch_answer(offer, request)
        except SourceError as error:
            if self._patience is not None and error.fault in _SILENT and self._answers > answers:
                raise _Unanswered from error
            # No connection got an answer. A later answer of the host takes this back.
            if error.fault in COSTLY:
                self._runtime.hosts.record_failure(offer.host, error, job.file.sha256)
            self._count_failure(error)
            return None
        self._answers += 1
        wait = clock() - request.began
        loose = group.write(job.places, data)
        if loose is None:
            self._count_failure(SourceError(Fault.HASH, "wrong bytes"))
            return None
        return _Fetched(job, offer, loose, request.began, wait, request)

    def _fetch_answer(self, offer: HttpOffer, request: Request) -> bytes:
        """Fetch a file; meanwhile the thread that follows the run reports its progress."""
        key = request.model, request.file
        self._runtime.requests[key] = request
        try:
            return offer.fetch(FIRST_BYTE if offer.kind == SourceKind.IPFS else self._patience, request.count)
        finally:
            del self._runtime.requests[key]

    def _offer(self, job: Job) -> HttpOffer | None:
        """The first offer, if a batch can use it: over HTTP, from a host that did not fail."""
        offers = self._runtime.each_offer(*job.places)
        offer = next((each for each in offers if not _is_ruled_out(each)), None)
        if not isinstance(offer, HttpOffer) or not job.file.size:
            return None
        return offer if self._runtime.hosts.is_healthy(offer.host) else None

    def _count_failure(self, error: SourceError) -> None:
        self._failures += 1
        if error.fault in _OF_THE_HOST or self._failures >= FAILURES:
            self._waiting.clear()

    def _commit(self, group: GroupCommit, pending: Sequence[_Fetched]) -> Sequence[Item]:
        """Commit fetched files; those that could not be placed are left to the ordinary way."""
        stored = {each.file.sha256 for each in group.commit([fetched.loose for fetched in pending])}
        placed = [fetched for fetched in pending if fetched.loose.file.sha256 in stored]
        for host in {fetched.offer.host for fetched in placed}:
            self._runtime.hosts.record_success(host)
        now, items = self._runtime.clock(), list[Item]()
        for fetched in placed:
            del self._left[fetched.job.file.sha256]
            items += fetched.committed(now)
        return [*items, *(FileDone(fetched.job, fetched.obtained) for fetched in placed)]

    # The ordinary way

    def _ordinarily(self) -> Iterator[Item]:
        cancel = self._runtime.cancel.child()  # leaving these tasks must not end the run
        runtime = self._runtime.for_part(cancel)
        tasks = [obtain_alone(runtime, job, self._mode) for job in self._left.values()]
        with closing(merge(tasks, runtime.files, cancel)) as merged:
            yield from (item for item in merged if item is not None)


def _is_ruled_out(offer: Offer) -> bool:
    """Whether a file on this disk is known to have other bytes."""
    return isinstance(offer, LocalOffer) and offer.is_ruled_out()


def _request(job: Job, offer: HttpOffer, began: float) -> Request:
    manifest, file = job.places[0]
    return Request(manifest.name, file.path, offer.kind, offer.host, file.size, began)


def _verified(fetched: _Fetched) -> Iterator[Event]:
    manifest, file = fetched.job.places[0]
    if not fetched.request.is_announced:
        yield FileStarted(manifest.name, file.path, file.size, 0)
    yield FileVerified(manifest.name, file.path, file.size, file.sha256)

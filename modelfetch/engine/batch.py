"""Fetch small files: each in one answer into memory, over kept-alive connections, stored in groups.

What takes time with a file of a few kilobytes is not its bytes but what is done for each file alone: a lock,
a journal, a sync, and the wait for an answer. A batch does without lock and journal, syncs a group of files
at once, and waits for many answers at the same time:

1. fetch a few files one after the other, to measure how long an answer takes;
2. fetch the others over as many connections as that wait is worth, and commit them in groups;
3. leave all files that failed, and those that were never begun, to :func:`modelfetch.engine.file.obtain`.

So a batch handles the common case only. What the ordinary way does with a failed file begins with the answer
that the batch received (:mod:`modelfetch.engine.first_answer`): no request is repeated for it, its bytes and
its failure count, and retries, other sources and events follow the ordinary rules.

Until a file is verified its bytes are in memory only. A cancelled run writes them to a partial; a killed one
loses them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from modelfetch import tracing
from modelfetch.cancel import Cancelled
from modelfetch.engine.batch_requests import Request
from modelfetch.engine.events import Event, FileStarted, FileVerified
from modelfetch.engine.file import FileDone, Item, Mode, Obtained, committed, obtain_alone
from modelfetch.engine.first_answer import FirstAnswer
from modelfetch.engine.workers import More, affordable, merge
from modelfetch.errors import Fault, SourceError, StoreError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.source_kinds import SourceKind
from modelfetch.sources.base import HttpOffer
from modelfetch.store.dir_handles import limit

if TYPE_CHECKING:
    from modelfetch.engine.batch_connections import BatchConnections
    from modelfetch.engine.plan import Job
    from modelfetch.engine.runtime import Runtime
    from modelfetch.sources.base import Offer
    from modelfetch.store import GroupCommit, Staged

FEWEST: Final = 1
"""The fewest small files for a batch."""
LARGEST: Final = 1024 * 1024
"""The largest small file, in bytes. A killed run loses at most so much of each file under way."""
SAMPLE: Final = 3
"""Files fetched one after the other to measure the wait for an answer; the shortest counts."""
LONG_WAIT: Final = 0.005
"""Seconds of wait from which two files are enough to measure: the network, and no processor, takes so
long."""
DISTANT: Final = 0.02
"""Seconds for the first file, its connection included, from which one file is enough to measure."""
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


def split_small(
    runtime: Runtime,
    work: Sequence[Job],
    held: Mapping[tuple[str, int], int],
    mode: Mode,
    swarmed: Collection[tuple[str, int]] = (),
) -> tuple[Sequence[Job], Sequence[Job]]:
    """Split jobs into those that are fetched one by one, and those for a batch: often none.

    Args:
        runtime: Of the run.
        work: The jobs, each with a digest of its own.
        held: The bytes of each job that are on disk; a batch only fetches whole files.
        mode: Of the run.
        swarmed: Keys of the jobs that a swarm may fill: those wait for it, one by one.
    """
    if mode.force or runtime.offline or mode.bad or runtime.limit_rate is not None:
        return work, []  # a batch neither replaces files nor throttles
    largest = min(LARGEST, runtime.split_policy.min_size - 1)  # a file that may be split is not small
    small = [job for job in work if 0 < job.file.size <= largest and not held[job.key]]
    small = [job for job in small if job.key not in swarmed] if swarmed else small
    if len(small) < FEWEST:
        return work, []
    digests = {job.file.sha256 for job in small}
    return [job for job in work if job.file.sha256 not in digests], small


class Batch:
    """One batch: its files are fetched by several threads, and committed by the thread that runs the batch.

    Args:
        runtime: Of the run.
        work: The jobs, the largest first, each with a digest of its own; see :func:`split_small`.
        mode: Of the run.
    """

    def __init__(self, runtime: Runtime, work: Sequence[Job], mode: Mode) -> None:
        self._runtime = runtime
        self._mode = mode
        self._waiting = deque(work)
        """Jobs that no thread has begun. Emptied to end the batch; shared by its threads."""
        self._left = {job.file.sha256: job for job in work}
        """Jobs that have not ended yet, by digest."""
        self._staged: dict[str, Staged] = {}
        """Verified files that are not committed yet, by digest."""
        self._refusal: StoreError | None = None
        """The first error of the disk in a lane."""
        self._failures = 0
        self._patience: float | None = None
        """Seconds for the first answer over a new connection; None until the sample was fetched."""
        self._last_offer: HttpOffer | None = None

    def run(self) -> Generator[Item | Sequence[Item] | More, None, None]:
        """Obtain every file, in the quick way or else by tasks that follow the ordinary one.

        Raises:
            Cancelled: The run was cancelled.
        """
        try:
            with self._runtime.store.group() as group:
                try:
                    yield from self._quickly(group)
                except (Cancelled, GeneratorExit):
                    with suppress(StoreError):  # verified files stay on disk
                        group.commit(list(self._staged.values()))
                    raise
        except StoreError:
            self._waiting.clear()  # the ordinary way meets the same disk, and reports its error for a file
        if self._left:
            yield More([obtain_alone(self._runtime, job, self._mode) for job in self._left.values()])

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
        if not self._waiting:
            return
        from modelfetch.engine.batch_connections import fitting, most_threads, patience, threads_for

        most = affordable(most_threads(self._runtime.files), limit())
        threads = threads_for(wait, min(most, fitting([job.file.size for job in self._waiting])))
        if threads == 1:
            yield from self._fetch(group)
        else:
            self._patience = patience(wait)
            yield from self._fetch_by(threads, group)

    def _sample(self, group: GroupCommit) -> Generator[list[_Fetched], None, float]:
        """Fetch the first files; returns the seconds of the shortest wait."""
        waits: list[float] = []
        while self._waiting and len(waits) < SAMPLE:
            # The smallest: its wait is that for the answer, and the others are not held up by its bytes.
            self._waiting.rotate()
            for parcel in self._fetch(group, 1):
                waits += [fetched.wait for fetched in parcel]
                yield parcel
            # The first wait includes making the connection.
            if min(waits[1:], default=0.0) >= LONG_WAIT or (waits and waits[0] >= DISTANT):
                break
        return min(waits, default=0.0)

    def _fetch_by(self, threads: int, group: GroupCommit) -> Iterator[list[_Fetched]]:
        from modelfetch.engine.batch_connections import BatchConnections

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
        is_told = False
        try:
            is_told = yield from self._fetch(group, connections=connections)
        except StoreError as error:  # raised once the other connections ended: they write to the same group
            self._refusal = self._refusal or error
            self._waiting.clear()
        finally:
            if not is_told:
                connections.leave(is_over=not self._waiting)

    def _fetch(
        self, group: GroupCommit, most: float = math.inf, connections: BatchConnections | None = None
    ) -> Generator[list[_Fetched], None, bool]:
        """Fetch files until none is left, in one thread; returns whether it was told to end before."""
        clock, parcel = self._runtime.clock, list[_Fetched]()
        handed_on, count, is_told = clock(), 0, False
        first_byte = self._patience  # of a new connection, until it has answered
        while count < most and (job := self._next(connections)) is not None:
            count += 1
            try:
                fetched = self._fetch_one(group, job, first_byte)
            except _Unanswered:
                self._waiting.appendleft(job)
                if connections is not None and (is_told := connections.note_silence()):
                    break
                first_byte = None  # the last connection has the time that any other source has
                continue
            if fetched is not None:
                parcel.append(fetched)
                if connections is not None and first_byte is not None:
                    connections.note_answer()
                first_byte = None
            if clock() - handed_on >= HAND_ON_SECONDS:
                yield parcel
                parcel, handed_on = [], clock()
        if not self._waiting and self._last_offer is not None:
            # An idle connection may hold one of the few threads of a server, which other files wait for.
            self._last_offer.close_idle()
        yield parcel
        return is_told

    def _next(self, connections: BatchConnections | None) -> Job | None:
        """The next job that no thread has begun; None where none is left."""
        if connections is not None:
            connections.check_cancelled()
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _fetch_one(self, group: GroupCommit, job: Job, first_byte: float | None) -> _Fetched | None:
        """Fetch a file from the source that comes first; None when that failed or is not for a batch.

        Raises:
            _Unanswered: A new connection was not answered within ``first_byte`` seconds.
        """
        offer = self._offer(job)
        if offer is None:
            return None
        self._last_offer = offer
        self._runtime.prepare(offer.address)  # loading modules must not count as time of the source
        answer, request = FirstAnswer(offer), _request(job, offer, self._runtime.clock())
        try:
            self._receive(answer, request, self._limit(job, offer, first_byte))
        except SourceError as error:
            if first_byte is not None and error.fault in _SILENT and not answer.data:
                raise _Unanswered from error
            if offer.kind == SourceKind.PEER and error.fault is Fault.NOT_FOUND:
                self._waiting.append(job)  # from the next source: that peer is no longer offered
                return None
            answer.error = error
        except Cancelled:
            answer.keep(self._runtime.store, job.file)
            raise
        wait = self._runtime.clock() - request.began
        # Once all bytes are there, the SHA-256 decides, however the answer ended.
        loose = group.write(job.places, answer.data) if len(answer.data) == job.file.size else None
        if loose is None:
            self._leave(job, answer)
            return None
        self._staged[job.file.sha256] = loose
        return _Fetched(job, offer, loose, request.began, wait, request)

    def _receive(self, answer: FirstAnswer, request: Request, first_byte: float | None) -> None:
        """Receive a file; meanwhile the thread that follows the run reports its progress."""
        key = request.model, request.file
        self._runtime.requests[key] = request
        try:
            for count in answer.receive(first_byte):
                request.count(count)
        finally:
            del self._runtime.requests[key]

    def _limit(self, job: Job, offer: HttpOffer, first_byte: float | None) -> float | None:
        """The time limit for the first byte, in seconds; None for the limit of any stall."""
        if offer.kind != SourceKind.IPFS:
            return first_byte
        from modelfetch.engine.candidates import FIRST_BYTE

        has_others = any(each.kind != SourceKind.IPFS for each in self._runtime.offers(*job.places))
        return FIRST_BYTE if has_others else None

    def _offer(self, job: Job) -> HttpOffer | None:
        """The first offer, if a batch can use it: over HTTP, from a host that did not fail."""
        (manifest, file), *more = job.places
        _, offer = self._runtime.first_offers.pop((id(manifest), file.path), (manifest, None))
        offer = None if more else offer  # another model may have a source that comes first
        if not isinstance(offer, HttpOffer):
            offers = self._runtime.each_offer(*job.places)
            offer = next((each for each in offers if not _is_ruled_out(each)), None)
        if not isinstance(offer, HttpOffer):
            return None
        return offer if self._runtime.hosts.is_healthy(offer.host) else None

    def _leave(self, job: Job, answer: FirstAnswer) -> None:
        """Leave a file to the ordinary way, with the answer that was received."""
        self._runtime.first_answers[job.file.sha256] = answer
        fault = Fault.HASH if answer.error is None else answer.error.fault
        if tracing.active is not None:
            tracing.active.say(f"retry: {job.file.path}: {answer.outcome}; it is fetched by itself later")
        self._failures += 1
        # A peer that failed is not offered again, so the other files are fetched from elsewhere.
        is_over = fault in _OF_THE_HOST and answer.kind != SourceKind.PEER
        if is_over or self._failures >= FAILURES:
            self._waiting.clear()

    def _commit(self, group: GroupCommit, pending: Sequence[_Fetched]) -> Sequence[Item]:
        """Commit fetched files; those that could not be placed are left to the ordinary way."""
        stored = {each.file.sha256 for each in group.commit([fetched.loose for fetched in pending])}
        placed = [fetched for fetched in pending if fetched.loose.file.sha256 in stored]
        for host in {fetched.offer.host for fetched in placed}:
            self._runtime.hosts.record_success(host)
        now, items = self._runtime.clock(), list[Item]()
        for fetched in placed:
            del self._left[fetched.job.file.sha256], self._staged[fetched.job.file.sha256]
            items += fetched.committed(now)
        return [*items, *(FileDone(fetched.job, fetched.obtained) for fetched in placed)]


def _is_ruled_out(offer: Offer) -> bool:
    """Whether a file on this disk is known to have other bytes."""
    if offer.kind != SourceKind.LOCAL:
        return False
    from modelfetch.sources.local_files import LocalOffer

    return isinstance(offer, LocalOffer) and offer.is_ruled_out()


def _request(job: Job, offer: HttpOffer, began: float) -> Request:
    manifest, file = job.places[0]
    return Request(manifest.name, file.path, offer.kind, offer.host, file.size, began)


def _verified(fetched: _Fetched) -> Iterator[Event]:
    manifest, file = fetched.job.places[0]
    if not fetched.request.is_announced:
        yield FileStarted(manifest.name, file.path, file.size, 0)
    yield FileVerified(manifest.name, file.path, file.size, file.sha256)

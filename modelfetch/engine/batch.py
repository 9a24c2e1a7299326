"""Many small files at once: fetched whole into memory over kept-alive connections, and stored in groups.

What makes a file of a few kilobytes slow is not its bytes but what is done for each one alone: a lock, a
journal, a sync, a wait for the answer. A batch does without the first two, shares the third, and waits for
many answers at a time. It knows only how things go well. A file for which anything does not is left to
:func:`modelfetch.engine.file.obtain`, which retries, falls back, blames and tells as for every other file.
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
from modelfetch.engine.file import Mode, News, Obtained, committed, obtain
from modelfetch.engine.workers import Done, affordable, merge
from modelfetch.errors import Fault, SourceError, StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.sources.base import IPFS, HttpOffer
from modelfetch.store.dir_handles import limit

if TYPE_CHECKING:
    from modelfetch.engine.plan import Job
    from modelfetch.engine.runtime import Runtime
    from modelfetch.store import GroupCommit, Staged

FEWEST: Final = 32
"""Small files from which on a batch is worth it: fewer take the ordinary way in a fifth of a second."""
LARGEST: Final = 256 * 1024
"""Bytes of a small file: it comes in one go, and 64 of them at once are no burden on memory."""
SAMPLE: Final = 3
"""Files fetched one after the other to see how long an answer takes; the quickest counts."""
LONG_WAIT: Final = 0.005
"""Seconds from which on two files are sample enough: no processor is that slow to answer."""
WAIT_OF_ONE: Final = 0.0008
"""Seconds of waiting for an answer for which one thread more is worth it: about what a file costs a
processor, twice over. Over loopback four are slower than one; at 50 ms, 64 are best."""
MOST: Final = 64
"""Threads, and so connections, of a batch; more gain nothing measurable, and servers dislike them."""
PER_FILE: Final = 16
"""Connections of a batch for each file that may be in work at the same time (``network.files``)."""
TELL_SECONDS: Final = 0.05
"""How long a thread gathers files before it hands them on, so that not each costs a change of threads."""
COMMIT_SECONDS: Final = 0.5
"""How long verified files wait for others to be committed with, and so about what a killed run loses."""
COMMIT_FILES: Final = 1024
"""The most that are committed together."""
FAILURES: Final = 8
"""Files that may fail before the batch is given up: it is the wrong way then."""

_SILENT: Final = frozenset({Fault.CONNECT, Fault.TIMEOUT, Fault.STALL})
"""How a connection beyond those that a server has room for fails."""
_OF_THE_HOST: Final = frozenset(
    {Fault.BUSY, Fault.CONNECT, Fault.TLS, Fault.PROXY, Fault.STALL, Fault.TIMEOUT, Fault.AUTHORISATION}
    | {Fault.REDIRECT}
)
"""Faults after which the next file would fare no better, or a wait is called for."""


class _Unanswered(Exception):  # noqa: N818 - a reason for fewer connections, not a failure
    """A new connection was not answered while others were."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A file that came, and was the right one."""

    number: int
    job: Job
    offer: HttpOffer
    loose: Staged
    began: float
    wait: float
    """Seconds until all of it was there."""

    @property
    def obtained(self) -> Obtained:
        return Obtained(self.offer.kind, self.offer.host, self.job.file.size)

    def committed(self, now: float) -> Iterator[Event]:
        obtained, first = self.obtained, True
        for (manifest, file), path in zip(self.job.places, self.loose.targets, strict=True):
            fetched = obtained.fetched if first else 0  # shared bytes came in once
            yield committed(manifest, file, path, replace(obtained, fetched=fetched), now - self.began)
            first = False


def first_small(runtime: Runtime, work: Sequence[Job], mode: Mode) -> int:
    """Say from which job on the rest is for a batch; the number of jobs where none is.

    Args:
        runtime: Of the run.
        work: The largest first.
        mode: Of the run.
    """
    if mode.force or mode.offline or mode.bad or runtime.limit_rate is not None:
        return len(work)
    first = next((n for n, job in enumerate(work) if job.file.size <= LARGEST), len(work))
    return first if len(work) - first >= FEWEST else len(work)


def threads_for(wait: float, most: int) -> int:
    """How many files to ask for at the same time.

    Args:
        wait: Seconds that one answer takes.
        most: Never more than this.
    """
    return min(most, max(1, math.ceil(wait / WAIT_OF_ONE)))


def most_threads(files: int) -> int:
    """The most threads of a batch; a run that does one file at a time goes on doing so."""
    return 1 if files == 1 else min(MOST, PER_FILE * files)


class Batch:
    """One batch.

    Args:
        runtime: Of the run.
        work: All jobs of the run.
        first: The first of those that are for the batch; see :func:`first_small`.
        new: The numbers of those of which nothing is here yet.
        mode: Of the run.
    """

    def __init__(
        self, runtime: Runtime, work: Sequence[Job], first: int, new: Sequence[int], mode: Mode
    ) -> None:
        self._runtime = runtime
        self._work = work
        self._mode = mode
        self._waiting = deque(new)
        """Nobody has begun these. Emptied to end the batch; shared by its threads."""
        self._left = set(range(first, len(work)))
        """These have not ended yet."""
        self._failures = 0
        self._answers = 0
        self._patience: float | None = None
        """Seconds for the first answer over a new connection, once something is known of the others."""
        self._asked: HttpOffer | None = None

    def run(self) -> Generator[Event | News, None, None]:
        """Obtain every file, in the quick way or in the ordinary one.

        The ends are numbered as in all the work.

        Raises:
            Cancelled: The run was cancelled.
        """
        try:
            with self._runtime.store.group() as group:
                yield from self._quickly(group)
        except StoreError:
            self._waiting.clear()  # whoever tries again will say what the disk does not like
        yield from self._ordinarily()

    # The quick way

    def _quickly(self, group: GroupCommit) -> Iterator[News]:
        clock = self._runtime.clock
        pending: list[_Fetched] = []
        committed_at = clock()
        refusal: StoreError | None = None
        for parcel in self._parcels(group):
            pending += parcel
            yield News(tuple(event for fetched in parcel for event in _verified(fetched)))
            if len(pending) >= COMMIT_FILES or clock() - committed_at >= COMMIT_SECONDS:
                try:
                    yield self._commit(group, pending)
                except StoreError as error:
                    refusal = error
                    self._waiting.clear()  # and see the lanes to their end: leaving them ends the run
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
        """Fetch the first files, and say how long the quickest took."""
        waits: list[float] = []
        while self._waiting and len(waits) < SAMPLE:
            for parcel in self._fetch(group, 1):
                waits += [fetched.wait for fetched in parcel]
                yield parcel
            if min(waits[1:], default=0.0) >= LONG_WAIT:  # for the first one a connection had to be made
                break
        return min(waits, default=0.0)

    def _fetch_by(self, threads: int, group: GroupCommit) -> Iterator[list[_Fetched]]:
        error: BaseException | None = None
        lanes = BatchConnections(self._runtime.cancel)
        fetching = [self._fetch_in(lanes, number, group) for number in range(threads)]
        with closing(merge(fetching, threads, self._runtime.cancel)) as merged:
            for happened in merged:
                if not isinstance(happened, Done):
                    yield happened or []
                elif happened.error is not None:
                    error = error or happened.error
                    self._waiting.clear()  # and see the others to their end: leaving them ends the run
        if error is not None:
            raise error

    def _fetch_in(
        self, lanes: BatchConnections, number: int, group: GroupCommit
    ) -> Generator[list[_Fetched], None, None]:
        """Fetch files in one of several lanes, when its turn has come."""
        if not lanes.enter(number):
            return
        try:
            yield from self._fetch(group, lanes=lanes)
        finally:
            lanes.leave(is_over=not self._waiting)

    def _fetch(
        self, group: GroupCommit, most: float = math.inf, lanes: BatchConnections | None = None
    ) -> Generator[list[_Fetched], None, None]:
        """Fetch files until none is left; what one thread does."""
        clock, parcel = self._runtime.clock, list[_Fetched]()
        told, count, is_proven = clock(), 0, False
        while count < most and (number := self._next()) is not None:
            count += 1
            try:
                fetched = self._fetch_one(group, number)
            except _Unanswered:
                self._waiting.appendleft(number)
                if lanes is not None and lanes.note_silence():
                    break
                continue
            if fetched is not None:
                parcel.append(fetched)
                if lanes is not None and not is_proven:
                    is_proven = True
                    lanes.note_answer()
            if clock() - told >= TELL_SECONDS:
                yield parcel
                parcel, told = [], clock()
        if not self._waiting and self._asked is not None:
            self._asked.close_idle()  # a server of few threads serves nobody else over what is kept open
        yield parcel

    def _next(self) -> int | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _fetch_one(self, group: GroupCommit, number: int) -> _Fetched | None:
        """Fetch a file from the source that comes first; None where that is not possible like this.

        Raises:
            _Unanswered: Others got answers while this one waited for its first.
        """
        job, clock = self._work[number], self._runtime.clock
        offer = self._offer(job)
        if offer is None:
            return None
        self._asked, answers, began = offer, self._answers, clock()
        try:
            data = offer.fetch(FIRST_BYTE if offer.kind == IPFS else self._patience)
        except SourceError as error:
            if self._patience is not None and error.fault in _SILENT and self._answers > answers:
                raise _Unanswered from error
            if error.fault in COSTLY:  # and nobody else was answered; whoever still is makes it good again
                self._runtime.hosts.record_failure(offer.host, error, job.file.sha256)
            self._count_failure(error)
            return None
        self._answers += 1
        wait = clock() - began
        loose = group.write(job.places, data)
        if loose is None:
            self._count_failure(SourceError(Fault.HASH, "wrong bytes"))
            return None
        return _Fetched(number, job, offer, loose, began, wait)

    def _offer(self, job: Job) -> HttpOffer | None:
        """The offer that is asked first, if it is one for a batch and nothing is known against its host."""
        offer = next(self._runtime.each_offer(*job.places), None)
        if not isinstance(offer, HttpOffer) or not job.file.size:
            return None
        return offer if self._runtime.hosts.is_healthy(offer.host) else None

    def _count_failure(self, error: SourceError) -> None:
        self._failures += 1
        if error.fault in _OF_THE_HOST or self._failures >= FAILURES:
            self._waiting.clear()

    def _commit(self, group: GroupCommit, pending: Sequence[_Fetched]) -> News:
        """Store what was fetched; what cannot be is left."""
        stored = {each.file.sha256 for each in group.commit([fetched.loose for fetched in pending])}
        placed = [fetched for fetched in pending if fetched.loose.file.sha256 in stored]
        for host in {fetched.offer.host for fetched in placed}:
            self._runtime.hosts.record_success(host)
        self._left -= {fetched.number for fetched in placed}
        now = self._runtime.clock()
        return News(
            [event for fetched in placed for event in fetched.committed(now)],
            [Done(fetched.number, fetched.obtained, None) for fetched in placed],
        )

    # The ordinary way

    def _ordinarily(self) -> Iterator[Event | News]:
        runtime, numbers = self._runtime, sorted(self._left)
        tasks = [obtain(runtime, self._work[number], self._mode) for number in numbers]
        with closing(merge(tasks, runtime.files, runtime.cancel)) as merged:
            for happened in merged:
                if isinstance(happened, Done):
                    yield News(ended=[Done(numbers[happened.index], happened.result, happened.error)])
                elif happened is not None:
                    yield happened


def _verified(fetched: _Fetched) -> Iterator[Event]:
    manifest, file = fetched.job.places[0]
    yield FileStarted(manifest.name, file.path, file.size, 0)
    yield FileVerified(manifest.name, file.path, file.size, file.sha256)

"""Getting one file: from any source, switching in the middle, until its bytes are the pinned ones."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import field
from typing import TYPE_CHECKING

from modelfetch.engine.candidates import (
    COSTLY,
    Candidate,
    Decision,
    Leave,
    Retry,
    Rotate,
    choose,
    decide,
    first_byte_of,
    ready_at,
)
from modelfetch.engine.events import (
    Event,
    FileQuarantined,
    FileVerified,
    Progress,
    SourceFailed,
)
from modelfetch.engine.failures import Exhausted, progress, retry_scheduled, source_failed
from modelfetch.engine.parallel import ParallelConnections
from modelfetch.engine.rate_limit import PROGRESS_SECONDS, Floor, Ticker
from modelfetch.engine.sink import Connection, Sink
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.responses import Unranged
from modelfetch.sources.base import LOCAL, Offer, Stream

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.segments import Segment
    from modelfetch.model.manifest import FileSpec
    from modelfetch.store import Partial

_WRONG = "sent wrong bytes: the SHA-256 does not match"
_MIXED = "bytes from several sources do not fit together; once more from the start"
_IMPOSSIBLE = "no bytes cannot have this SHA-256"


@dataclass(slots=True)
class Transfer:
    """The state of getting one file's bytes into its partial.

    The rules it follows, in words: the good bytes are never thrown away for a failure to deliver; a source is
    retried only for faults that may pass; a wrong hash is never retried at a source that supplied every byte.

    This is the first lane of the file, and the one that retries and falls back. Company may come to its side
    (:mod:`modelfetch.engine.parallel`), and fails in silence: what it leaves, this one fetches.
    """

    runtime: Runtime
    model: str
    file: FileSpec
    partial: Partial
    candidates: list[Candidate]
    failures: list[tuple[Candidate, SourceError]] = field(default_factory=list)
    """Why each source was left, in that order."""
    filling: Sink = field(init=False)
    _company: ParallelConnections = field(init=False)
    _ticker: Ticker = field(init=False)
    _holding: Candidate | None = None
    """The source to go on with while it is merely waited for."""
    _told: int = 0
    """Bytes of the last progress."""
    _pure: bool = False
    """Whether each source must now supply the file by itself, because a mixture turned out wrong."""

    def __post_init__(self) -> None:
        self.filling = Sink(self.runtime, self.partial)
        self._company = ParallelConnections(self.runtime, self.filling, self.candidates)
        self._ticker = Ticker(self.runtime.clock)

    def run(self) -> Iterator[Event]:
        """Fill the partial with the pinned bytes.

        Raises:
            Exhausted: No source could.
            StoreError: The disk refused.
            Cancelled: The run was cancelled; the good bytes stay.
        """
        key = self.model, self.file.path
        self.runtime.positions[key] = lambda: self.partial.received
        self._company.call(self.file.size - self.partial.received)
        try:
            while not self._is_complete or not (yield from self._judge()):
                yield from self._reject() if self._is_complete else self._try()
        finally:
            self._company.dismiss()
            self.runtime.positions.pop(key, None)
        yield FileVerified(self.model, self.file.path, self.file.size, self.file.sha256)

    @property
    def _is_complete(self) -> bool:
        return self.partial.length == self.file.size

    def _judge(self) -> Generator[Event, None, bool]:
        """Wait until all is hashed; whether it is the pinned file."""
        if self._told < self.file.size and self.filling.last is not None:
            yield self._progress(self.filling.last)  # others brought the last bytes
        while not self.partial.wait(PROGRESS_SECONDS):
            self.runtime.cancel.raise_if_cancelled()
        return self.partial.digest() == self.file.sha256

    def _next(self) -> Candidate:
        if self._holding is not None:
            return self._holding
        if not self.candidates:
            raise Exhausted([(candidate.label, error) for candidate, error in self.failures])
        return choose(self.candidates, self.runtime.hosts, self.runtime.clock(), self.file.sha256)

    def _wait(self, candidate: Candidate) -> float:
        return ready_at(candidate, self.runtime.hosts) - self.runtime.clock()

    def _try(self) -> Iterator[Event]:
        """Ask one source once, for bytes that nobody else is fetching."""
        candidate = self._next()
        wait = self._wait(candidate)
        if wait > 0 and self._company.is_there:
            yield from self._watch(candidate)
            return
        self.runtime.cancel.sleep(wait)
        self._share_out(candidate)
        is_alone = bool(self.filling.verdict.is_fast) or not self._company.is_there
        segment = self.filling.segments.take(is_alone=is_alone)
        if segment is None:
            if not self._company.is_there:
                self.filling.share_again()  # somebody left without giving back what it had
            yield from self._watch(candidate)
            return
        lane = Connection(candidate, segment)
        try:
            yield from self._receive(lane)
        except SourceError as error:
            if not self._is_complete:  # else the digest decides, whatever became of the answer
                yield from self._failed(candidate, error)
        finally:
            self.filling.segments.leave(lane.segment)

    def _share_out(self, candidate: Candidate) -> None:
        """Ask for no more than the first part where others are likely to come for the rest.

        What is on its way when a larger answer is cut short is sent for nothing. A host that needed no
        company is spared the second request.
        """
        if candidate.offer.kind != LOCAL and not self.runtime.hosts.is_fast(candidate.offer.host):
            self._company.spread()

    def _watch(self, candidate: Candidate) -> Iterator[Event]:
        """Look on for a moment while others do what is left to do."""
        self.runtime.cancel.sleep(PROGRESS_SECONDS / 4)
        if self._ticker.due():
            yield self._progress(candidate)

    def _receive(self, lane: Connection) -> Iterator[Event]:
        """Take what one answer of one source gives."""
        candidate, hosts, host = lane.candidate, self.runtime.hosts, lane.candidate.offer.host
        down = hosts.down(host)
        if down is not None and not candidate.failures:
            raise down
        if candidate.offer.kind != LOCAL:
            self.runtime.prepare(candidate.offer.address)  # our own loading is not the source's time
        yield self._progress(candidate)  # the attempt begins: from here on its first byte is waited for
        floor = Floor(self.runtime.min_speed, self.runtime.stall_timeout, self.runtime.clock)
        hosts.enter(host, is_first=True)
        try:
            while (yield from self._copy(lane)):
                floor.check(lane.written)
        finally:
            hosts.leave(host)
        yield self._progress(candidate)
        hosts.welcome(host)

    def _copy(self, lane: Connection) -> Generator[Event, None, bool]:
        """Take what one answer gives.

        Returns:
            Whether to ask for more at once: a range may be shorter than the one asked for (RFC 9110, 15.3.7),
            and that is no failure for as long as it brings anything.
        """
        stream, until = self._open(lane)
        written, is_local = lane.written, lane.candidate.offer.kind == LOCAL
        try:
            for count in self.filling.copy(lane, stream, until):
                if not is_local:
                    self.filling.verdict.add(count)
                if self._ticker.due():
                    yield self._progress(lane.candidate)
        finally:
            stream.close()
        if not is_local:
            self.runtime.hosts.note_speed(lane.candidate.offer.host, is_fast=self.filling.verdict.is_fast)
        if lane.segment.left and not (stream.ranged and lane.written > written):
            raise SourceError(Fault.CUT, f"ended {lane.segment.left} bytes too early")
        return bool(lane.segment.left)

    def _open(self, lane: Connection) -> tuple[Stream, int]:
        """Ask for what a lane is to fetch; the answer, and where it is to end."""
        if lane.candidate.offer.kind != LOCAL:
            self.filling.verdict.ask()
        if self._is_foreign_to(lane.candidate):
            stream = lane.candidate.offer.open(0, first_byte=first_byte_of(lane.candidate, self.candidates))
            with self.filling.alone():
                self.partial.restart()
                self.filling.start_over()
            lane.segment = self.filling.segments.all()
            return stream, self.file.size
        stream, until = self._open_part(lane.candidate, lane.segment)
        if not stream.ranged:
            self.filling.segments.reclaim(lane.segment)
        return stream, until

    def _open_part(self, candidate: Candidate, segment: Segment) -> tuple[Stream, int]:
        """Ask for a part of the file, or for all that follows where parts are not to be had."""
        position, end, size = segment.position, segment.end, self.file.size
        offer, first_byte = candidate.offer, first_byte_of(candidate, self.candidates)
        hosts, until = self.runtime.hosts, size
        stream: Stream | None = None
        if end < size and hosts.sends_ranges(offer.host):
            try:
                stream, until = offer.open(position, end, first_byte), end
            except Unranged:
                hosts.note_whole_only(offer.host)
        if stream is None:
            stream = offer.open(position, first_byte=first_byte)
        if stream.ranged:
            return stream, until
        hosts.note_whole_only(offer.host)
        return stream, size

    def _is_foreign_to(self, candidate: Candidate) -> bool:
        """Whether what is there is of no use to this source, which must supply every byte by itself."""
        return self._pure and not self.filling.is_by(candidate)

    def _progress(self, candidate: Candidate) -> Progress:
        self._told = self.partial.received
        return progress(self.model, self.file, candidate, self._told)

    def _failed(self, candidate: Candidate, error: SourceError) -> Iterator[Event]:
        """Account for a failed try and tell what comes next."""
        self.runtime.pace.let_go()  # this file may have to wait: others can use the link
        candidate.failures += 1
        self._holding = None
        hosts, host = self.runtime.hosts, candidate.offer.host
        decision = decide(
            candidate,
            error,
            self.runtime.retry,
            demoted=hosts.is_demoted(host, self.file.sha256),
            alone=len(self.candidates) == 1,
            rest=self._wait(candidate),
        )
        if error.retry_after is not None and not isinstance(decision, Leave):
            hosts.park(host, decision.wait)
        yield self._apply(candidate, error, decision)

    def _apply(self, candidate: Candidate, error: SourceError, decision: Decision) -> Event:
        now = self.runtime.clock()
        match decision:
            case Retry(wait):
                candidate.ready_at = now + wait
                self._holding = candidate
                return retry_scheduled(self.model, self.file, candidate, error, wait)
            case Rotate(wait):
                candidate.ready_at = now + wait
                candidate.rank += len(self.candidates)
                if error.fault in COSTLY:  # else each file of the run would wait as long for the same host
                    self.runtime.hosts.give_up(candidate.offer.host, error, self.file.sha256)
            case Leave():
                self.candidates.remove(candidate)
                self.failures.append((candidate, error))
                if candidate.offer.kind != LOCAL:  # one bad file says nothing about its directory
                    self.runtime.hosts.give_up(candidate.offer.host, error, self.file.sha256)
        return self._source_failed(candidate, error)

    def _source_failed(self, candidate: Candidate, error: SourceError) -> SourceFailed:
        following = self._next() if self.candidates else None
        return source_failed(self.model, self.file, candidate, error, self.partial.received, following)

    def _reject(self) -> Iterator[Event]:
        """The file is complete and wrong: put the bytes aside, blame the source if it alone is to blame."""
        if not self.file.size:
            raise Exhausted([("manifest", SourceError(Fault.HASH, _IMPOSSIBLE))])
        candidate = self.filling.last
        is_alone = candidate is not None and self.filling.is_by(candidate)
        self._pure = self._pure or (candidate is not None and not is_alone)
        if self._pure:
            self._company.dismiss()
        put_aside = self._quarantine()
        yield put_aside
        if candidate is None:
            return  # an earlier run left wrong bytes: nobody here is to blame
        error = _wrong(put_aside)
        if candidate not in self.candidates:
            self._blame_left(candidate, error, is_alone=is_alone)
        elif is_alone:
            yield from self._failed(candidate, error)
        else:
            self._holding = candidate
            mixed = SourceError(Fault.HASH, _MIXED)
            yield retry_scheduled(self.model, self.file, candidate, mixed, 0.0)

    def _blame_left(self, candidate: Candidate, error: SourceError, *, is_alone: bool) -> None:
        """Account for wrong bytes of a source that was left while its further connections went on.

        That it was left was told. Whoever comes next goes on; if that is nobody, wrong bytes are why.
        """
        if is_alone:
            self.failures = [(each, error if each is candidate else why) for each, why in self.failures]

    def _quarantine(self) -> FileQuarantined:
        """Put all bytes aside and begin again without any."""
        names = sorted(set(self.filling.suppliers.values()))
        file, actual, source = self.file, self.partial.digest(), " + ".join(names)
        with self.filling.alone():
            kept = self.runtime.store.quarantine_partial(self.partial, actual=actual, source=source)
            self.filling.start_over()
        self.filling.forgive()
        for candidate in self.candidates:
            candidate.good = 0
        return FileQuarantined(self.model, file.path, str(kept), file.sha256, actual, source)


def _wrong(put_aside: FileQuarantined) -> SourceError:
    detail = f"expected SHA-256 {put_aside.expected}, got {put_aside.actual}"
    return SourceError(Fault.HASH, _WRONG, detail=detail)


def candidates_for(offers: list[Offer]) -> list[Candidate]:
    """Offers in the order in which they should be asked."""
    return [Candidate(offer, rank) for rank, offer in enumerate(offers)]

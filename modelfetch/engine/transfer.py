"""Transfer of one file: from any source, falling back in the middle, until it has the pinned SHA-256.

The rules: verified data, and bytes that may be right, are never discarded because a source fails to deliver.
A source is retried only for faults that may pass. A source that sent every byte of a file with a wrong
SHA-256 is not asked for it again; if several sources sent them, each must send the whole file by itself.

Example: a mirror closes the connection after 3 of 10 MiB. It is asked again from byte 3 MiB on; when its
attempts are used up, the next source is asked from wherever the file is by then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

from modelfetch.engine.candidates import (
    COSTLY,
    Candidate,
    Candidates,
    Decision,
    Discard,
    Retry,
    Rotate,
    choose,
    decide,
    first_byte_of,
    is_taken,
    ready_at,
    report_decision,
)
from modelfetch.engine.events import Event, FileQuarantined, FileVerified, Progress, SourceFailed
from modelfetch.engine.failures import Exhausted, progress, retry_scheduled, source_failed, wrong_bytes
from modelfetch.engine.file_chunks import FileChunks
from modelfetch.engine.minimum_speed import MinimumSpeed
from modelfetch.engine.parallel import ParallelConnections
from modelfetch.engine.parts import FileParts
from modelfetch.engine.rate_limit import PROGRESS_SECONDS, Ticker
from modelfetch.engine.sink import Connection, Sink
from modelfetch.engine.wrong_chunks import discard_wrong_chunks
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.model.source_kinds import SWARM, SWARM_LABEL, SourceKind
from modelfetch.net.responses import Unranged
from modelfetch.sources.base import Stream
from modelfetch.store.chunk_digests import CHUNK

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.model.manifest import FileSpec
    from modelfetch.store import Partial

# Reasons in events; the reporters show them to people.
_MIXED = "bytes from several sources do not fit together; starting again"
_IMPOSSIBLE = "an empty file cannot have this SHA-256"


@dataclass(slots=True)
class Transfer:
    """The first connection of a file, which fetches its bytes into its partial.

    It is the one that retries, falls back and reports. Parallel connections may be added
    (:mod:`modelfetch.engine.parallel`); they fail without an event, and what they leave, this one fetches.
    """

    runtime: Runtime
    model: str
    file: FileSpec
    partial: Partial
    candidates: Candidates
    chunks: FileChunks = field(default_factory=FileChunks)
    note_begun: Callable[[bool], None] = lambda _: None
    """Reports to other machines whether bytes are requested now, or the peers are still asked."""
    failures: list[tuple[Candidate, SourceError]] = field(default_factory=list)
    """The last failure of each discarded source, in the order in which they were discarded."""
    sink: Sink = field(init=False)
    parts: FileParts = field(init=False)
    _parallel: ParallelConnections = field(init=False)
    _ticker: Ticker = field(init=False)
    _retrying: Candidate | None = None
    """The source that is asked next because it is to be retried, or None to choose one."""
    _swarm_failures: list[tuple[str, SourceError]] = field(default_factory=list)
    """The failure of the swarm where it sent every byte of a file whose SHA-256 was wrong."""
    _reported: int = 0
    """Bytes in the last progress event."""
    _must_be_single: bool = False
    """Whether each source must send the whole file by itself, because bytes of several were wrong."""

    def __post_init__(self) -> None:
        self.sink = Sink(self.runtime, self.partial, self.candidates, self.chunks)
        self._parallel = ParallelConnections(self.runtime, self.sink, self.candidates)
        self._ticker = Ticker(self.runtime.clock)
        self.parts = FileParts(self.partial, self.runtime.clock)

    def run(self) -> Generator[Event, None, None]:
        """Fetch into the partial until its SHA-256 is the pinned one.

        Raises:
            Exhausted: Every source failed.
            StoreError: The disk refused.
            Cancelled: The run was cancelled. The partial is kept for the next run.
        """
        if self.candidates.has_kind(SourceKind.PEER) and not self.is_complete:
            from modelfetch.engine.peer_wait import settle  # few runs have peers

            self.failures += yield from settle(self)
        self.note_begun(True)
        key = self.model, self.file.path
        self.runtime.positions[key] = lambda: self.sink.received
        self._parallel.start(self.file.size - self.partial.received)
        try:
            while not ((was_complete := self.is_complete) and (yield from self._is_verified())):
                yield from self._reject() if was_complete and self.is_complete else self._attempt()
        finally:
            self._parallel.stop()
            if not self.is_complete:
                self.sink.keep_beginnings()
            self.runtime.positions.pop(key, None)
        yield from self._report_discarded()
        yield FileVerified(self.model, self.file.path, self.file.size, self.file.sha256)

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there, by a parallel connection at any moment; the SHA-256 may be wrong."""
        return self.partial.length == self.file.size

    def _is_verified(self) -> Generator[Event, None, bool]:
        """Wait until all bytes are hashed, and compare the SHA-256 with the pinned one."""
        if self._reported < self.file.size and self.sink.last is not None:
            yield self.progress(self.sink.last)  # parallel connections brought the last bytes
        while not self.partial.wait(PROGRESS_SECONDS):
            self.runtime.cancel.raise_if_cancelled()
        return self.file.is_pinned(self.partial.digest())

    def _next(self) -> Candidate:
        if self._retrying is not None:
            return self._retrying
        remaining = self.candidates.remaining()
        if not remaining:
            failed = [(candidate.label, error) for candidate, error in self.failures]
            raise Exhausted([*self._swarm_failures, *failed])
        return choose(remaining, self.runtime.hosts, self.runtime.clock(), self.file.sha256)

    def _wait(self, candidate: Candidate) -> float:
        return ready_at(candidate, self.runtime.hosts) - self.runtime.clock()

    def _attempt(self) -> Iterator[Event]:
        """Ask one source once, for bytes that no other connection is fetching."""
        yield from self._report_discarded()
        is_working = self._parallel.is_working
        self._parallel.raise_failure()  # after is_working: a thread that ended has stored its failure by now
        is_shared = is_working or self.sink.is_shared
        candidate = self._next()
        wait = self._wait(candidate)
        if is_shared and (wait > 0 or is_taken(candidate, self.runtime.hosts)):
            yield from self._watch(candidate)
            return
        self.runtime.cancel.sleep(wait)
        self._split_if_useful(candidate)
        is_alone = bool(self.sink.probe.is_fast) or not is_shared
        segment = self.sink.segments.claim(is_alone=is_alone)
        if segment is None:
            if not (self._parallel.is_working or self.sink.is_shared):
                self.sink.split_again()  # a thread ended without releasing its segment
            yield from self._watch(candidate)
            return
        connection = Connection(candidate, segment)
        try:
            yield from self.receive(connection)
        except SourceError as error:
            if not self.is_complete:  # else the SHA-256 decides, however the answer ended
                yield from self._failed(candidate, error)
        finally:
            self.sink.segments.release(connection.segment)

    def _report_discarded(self) -> Iterator[Event]:
        """Report the sources that were discarded for a wrong chunk over a parallel connection."""
        for candidate, error in self._parallel.take_discarded():
            self.failures.append((candidate, error))
            if self._retrying is candidate:
                self._retrying = None
            self.runtime.hosts.record_failure(candidate.offer.host, error, self.file.sha256)
            yield self._source_failed(candidate, error)

    def _split_if_useful(self, candidate: Candidate) -> None:
        """Request only the first part of the file where parallel connections are likely to fetch the rest.

        The bytes in flight when a larger answer is cut short are wasted. A host known to be fast enough
        with one connection gets one request for all.
        """
        # A gateway limits the requests of each client, so it gets one for all that is missing.
        is_whole = candidate.offer.kind in (SourceKind.LOCAL, SourceKind.IPFS)
        if not is_whole and not self.runtime.hosts.is_fast(candidate.offer.host):
            self._parallel.split()

    def _watch(self, candidate: Candidate) -> Iterator[Event]:
        """Wait a moment while parallel connections fetch what is left, and report their progress."""
        if self.sink.is_shared:
            self.runtime.cancel.sleep(PROGRESS_SECONDS / 2)  # for pieces of the swarm
        else:  # short, so that a thread that has just ended is noticed
            self._parallel.watch(PROGRESS_SECONDS / 4)
        self.runtime.cancel.raise_if_cancelled()
        if self._ticker.due():
            is_swarm_alone = self.sink.is_shared and self.sink.last is None
            yield self.progress(None if is_swarm_alone else candidate)

    def receive(self, connection: Connection) -> Iterator[Event]:
        """Receive what one attempt at a source brings, in one answer or several.

        Raises:
            SourceError: It failed, or its host is known to be unreachable.
        """
        candidate, hosts, host = connection.candidate, self.runtime.hosts, connection.candidate.offer.host
        down = hosts.down(host)
        if down is not None and not candidate.failures:
            raise down  # another file waited for this host already; a retry asks it all the same
        if candidate.offer.kind != SourceKind.LOCAL:
            # Before the attempt begins: loading modules must not count as time of the source.
            self.runtime.prepare(candidate.offer.address)
        yield self.progress(candidate)  # the attempt begins here: the wait for its first byte counts
        floor = MinimumSpeed(self.runtime.min_speed, self.runtime.stall_timeout, self.runtime.clock)
        hosts.acquire_connection(host, is_first=True)
        try:
            while (yield from self._copy(connection)):
                floor.check(self.sink.gained(connection))
        finally:
            hosts.release_connection(host)
        yield self.progress(candidate)
        hosts.record_success(host)

    def _copy(self, connection: Connection) -> Generator[Event, None, bool]:
        """Write what one answer brings.

        Returns:
            Whether to request the rest at once: a range may be shorter than the one asked for (RFC 9110,
            15.3.7), and that is no failure as long as it brings any bytes.
        """
        stream, until = self._open(connection)
        gained, is_local = self.sink.gained(connection), connection.candidate.offer.kind == SourceKind.LOCAL
        try:
            for count in self.sink.copy(connection, stream, until):
                if not is_local:
                    self.sink.probe.add(count)
                if self._ticker.due():
                    yield self.progress(connection.candidate)
        finally:
            stream.close()
        if not is_local:
            self.runtime.hosts.note_speed(connection.candidate.offer.host, is_fast=self.sink.probe.is_fast)
        if connection.segment.left and not (stream.ranged and self.sink.gained(connection) > gained):
            raise SourceError(Fault.CUT, f"ended {connection.segment.left} bytes too early")
        return bool(connection.segment.left)

    def _open(self, connection: Connection) -> tuple[Stream, int]:
        """Request the segment of a connection.

        Returns:
            The answer, and the position in the file where it is to end.
        """
        if connection.candidate.offer.kind != SourceKind.LOCAL:
            self.sink.probe.ask(over_tls=connection.candidate.offer.address.startswith("https:"))
        if self._must_restart(connection.candidate):
            # Opened first: if the source does not answer, the bytes that are there stay.
            stream = connection.candidate.offer.open(0, first_byte=self._first_byte(connection.candidate))
            with self.sink.exclusive():
                self.partial.restart()
                self.sink.reset()
            connection.segment = self.sink.segments.claim_all()
            return stream, self.file.size
        if self.file.size > CHUNK:  # the SHA-256 of a smaller file says as much, without a request
            self.chunks.learn(connection.candidate.offer, self._first_byte(connection.candidate))
        stream, until = self._open_part(connection)
        if not stream.ranged:
            self.sink.segments.reclaim(connection.segment)
        return stream, until

    def _open_part(self, connection: Connection) -> tuple[Stream, int]:
        """Request a segment, or all that follows its start if the host does not send ranges.

        Returns:
            The answer, and the position in the file where it is to end.
        """
        position, end, size = self.sink.next_offset(connection), connection.segment.end, self.file.size
        offer, first_byte = connection.candidate.offer, self._first_byte(connection.candidate)
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

    def _first_byte(self, candidate: Candidate) -> float | None:
        return first_byte_of(candidate, self.candidates.remaining())

    def _must_restart(self, candidate: Candidate) -> bool:
        """Whether the file starts again for this source, which must send every byte by itself."""
        return self._must_be_single and not self.sink.is_only_supplier(candidate)

    def progress(self, candidate: Candidate | None) -> Progress:
        """Return the event that a source brings bytes, for which the history counts them; None: the swarm."""
        self._reported = self.sink.received
        parts = self.parts.now(SWARM_LABEL if candidate is None else candidate.label)
        return progress(self.model, self.file, candidate, self._reported, parts, self.sink.brought)

    def _failed(self, candidate: Candidate, error: SourceError) -> Iterator[Event]:
        """Count a failed attempt, decide what follows, and report it."""
        self._retrying = None
        if candidate not in self.candidates.remaining():
            return  # a parallel connection discarded it for a wrong chunk meanwhile, and its end is reported
        self.candidates.count_failure(candidate)
        hosts, host = self.runtime.hosts, candidate.offer.host
        decision = decide(
            candidate,
            error,
            self.runtime.retry,
            demoted=hosts.is_demoted(host, self.file.sha256),
            alone=len(self.candidates.remaining()) == 1,
            rest=self._wait(candidate),
        )
        report_decision(f"{self.model}/{self.file.path}", candidate.label, error, decision)
        if error.retry_after is not None and not isinstance(decision, Discard):
            hosts.defer(host, decision.wait)
        yield self._apply(candidate, error, decision)

    def _apply(self, candidate: Candidate, error: SourceError, decision: Decision) -> Event:
        now = self.runtime.clock()
        match decision:
            case Retry(wait):
                self.candidates.rest(candidate, now + wait)
                self._retrying = candidate
                return retry_scheduled(self.model, self.file, candidate, error, wait)
            case Rotate(wait):
                self.candidates.demote(candidate, now + wait)
                # Otherwise each file of the run would wait a whole time limit for this host.
                if error.fault in COSTLY:
                    self.runtime.hosts.record_failure(candidate.offer.host, error, self.file.sha256)
            case Discard():
                self.candidates.discard(candidate)
                self.failures.append((candidate, error))
                # One damaged file predicts nothing about the others on this disk.
                if candidate.offer.kind != SourceKind.LOCAL:
                    self.runtime.hosts.record_failure(candidate.offer.host, error, self.file.sha256)
        return self._source_failed(candidate, error)

    def _source_failed(self, candidate: Candidate, error: SourceError) -> SourceFailed:
        following = self._next() if self.candidates.remaining() else None
        return source_failed(self.model, self.file, candidate, error, self.partial.received, following)

    def _reject(self) -> Iterator[Event]:
        """Quarantine a complete file with a wrong SHA-256, and discard the source if it sent all of it."""
        if not self.file.size:
            raise Exhausted([("manifest", SourceError(Fault.HASH, _IMPOSSIBLE))])
        if discard_wrong_chunks(self.runtime, self.sink, self.partial):
            return
        candidate = self.sink.last
        is_alone = candidate is not None and self.sink.is_only_supplier(candidate)
        self._must_be_single = self._must_be_single or (candidate is not None and not is_alone)
        if self._must_be_single:
            self._parallel.stop()  # they would mix bytes of several sources again
        quarantined = self._quarantine()
        yield quarantined
        if candidate is None:  # else all bytes are of an earlier run, whose sources are not known here
            if quarantined.source == SWARM_LABEL:
                self._swarm_failures.append((SWARM_LABEL, wrong_bytes(quarantined, SWARM)))
            return
        error = wrong_bytes(quarantined, candidate.offer.kind)
        if candidate not in self.candidates.remaining():
            self._blame_discarded(candidate, error, is_alone=is_alone)
        elif is_alone:
            yield from self._failed(candidate, error)
        else:
            self._retrying = candidate
            yield retry_scheduled(self.model, self.file, candidate, SourceError(Fault.HASH, _MIXED), 0.0)

    def _blame_discarded(self, candidate: Candidate, error: SourceError, *, is_alone: bool) -> None:
        """Blame wrong bytes on a source that was discarded while its parallel connections went on.

        Its end was already reported, so there is no further event. If no other source is left, the wrong
        bytes, not the earlier failure, are the reason in the error of the file.
        """
        if is_alone:
            self.failures = [(each, error if each is candidate else why) for each, why in self.failures]

    def _quarantine(self) -> FileQuarantined:
        """Move all bytes to quarantine and start again without any."""
        names = sorted(set(self.sink.suppliers.values()))
        file, actual, source = self.file, self.partial.digest(), " + ".join(names)
        with self.sink.exclusive():
            kept = self.runtime.store.quarantine_partial(self.partial, actual=actual, source=source)
            self.sink.reset()
        # Same bytes again are progress now; and what the sources sent so far resets no failures.
        self.sink.reset_progress()
        self.candidates.forget_progress()
        return FileQuarantined(self.model, file.path, str(kept), file.sha256, actual, source)

"""Parallel connections of a large file: segments of it, fetched beside its first connection.

Only the first connection (:mod:`modelfetch.engine.transfer`) retries, falls back, reports and verifies. When
a parallel one fails, the rest of its segment is free again, for the first connection or another parallel one.
So no failure of theirs ends the run, with one exception: a disk that refuses to write would refuse the first
connection as well.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from modelfetch import tracing
from modelfetch.engine.candidates import Candidate, Candidates, most_connections, ready_at
from modelfetch.engine.sink import Connection, Sink
from modelfetch.engine.workers import LEAVE_SECONDS, join
from modelfetch.errors import Fault, SourceError, StoreError
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.responses import Unranged
from modelfetch.threads import start

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.segments import Segments

_TOO_MANY = frozenset({Fault.BUSY, Fault.CONNECT, Fault.TIMEOUT})
"""How a host may fail when it has too many of our connections."""

THREAD_NAME = "modelfetch-connection"
"""Name of each thread, for debuggers and tests."""


class ParallelConnections:
    """The parallel connections of one file.

    Used by the thread of the first connection. It shares four fields with the threads it starts, without a
    lock: ``_is_stopped`` and ``_error`` are never cleared once they are set, ``_parts`` is set before a
    thread starts and again when all of them were stopped, and ``_discarded`` is changed one item at a time.

    Args:
        runtime: The run.
        sink: Receives the bytes.
        candidates: The sources, which the first connection changes meanwhile.
    """

    def __init__(self, runtime: Runtime, sink: Sink, candidates: Candidates) -> None:
        self._runtime = runtime
        self._sink = sink
        self._candidates = candidates
        self._threads: list[threading.Thread] = []
        self._changed = threading.Event()
        """Set when a segment or a thread has ended."""
        self._is_stopped = False
        self._parts = 1
        self._error: StoreError | None = None
        self._discarded: list[tuple[Candidate, SourceError]] = []
        """Sources that sent a wrong chunk; each thread appends, and the first connection takes them out."""

    def start(self, missing: int) -> None:
        """Start the threads of the connections; each waits until the first connection proves to be slow.

        Args:
            missing: Bytes of the file that are missing; they limit the number of connections.
        """
        if all(candidate.offer.kind == SourceKind.LOCAL for candidate in self._candidates.remaining()):
            return  # parallel connections ask remote sources only
        most = self._runtime.split_policy.parts(missing)
        self._parts = self._runtime.hosts.share_connections(missing, most)
        # The system may refuse a thread. The file is then fetched by those that started.
        started = (start(self._work, THREAD_NAME) for _ in range(self._parts - 1))
        self._threads = [thread for thread in started if thread is not None]

    def split(self) -> None:
        """Cut the file into one part for each connection, if there are parallel ones."""
        if self._threads:
            self._sink.segments.split(self._parts)

    @property
    def is_working(self) -> bool:
        """Whether a parallel connection is at work, or may still begin."""
        return any(thread.is_alive() for thread in self._threads)

    def watch(self, seconds: float) -> None:
        """Wait until a parallel connection ends a segment, at most for some seconds.

        What ends before the next call is not missed: that call returns at once.
        """
        self._changed.wait(seconds)
        self._changed.clear()

    def raise_failure(self) -> None:
        """Raise in the calling thread what a parallel connection failed with.

        A thread stores its failure before it ends. So a caller that reads :attr:`is_working` first, and then
        calls this, misses none.

        Raises:
            StoreError: The disk refused to store its bytes.
        """
        if self._error is not None:
            raise self._error

    def take_discarded(self) -> list[tuple[Candidate, SourceError]]:
        """Return the sources that were discarded since the last call, because they sent a wrong chunk."""
        taken = []
        while self._discarded:  # one by one: a thread may append meanwhile
            taken.append(self._discarded.pop(0))
        return taken

    def stop(self) -> None:
        """Start no further request, and wait at most :data:`LEAVE_SECONDS` for the threads to end."""
        self._is_stopped = True
        # Threads may still wait for the first request, which is not sent any more.
        self._sink.probe.ask()
        join(self._threads, LEAVE_SECONDS)
        self._runtime.hosts.return_connections(self._parts)
        self._parts = 1

    def _work(self) -> None:
        try:
            if self._sink.probe.wait() and not self._is_stopped:
                self._fetch_segments()
        except StoreError as error:
            self._error = error  # raised by raise_failure() in the thread of the first connection
        except Exception:  # cancelled, or a bug: the first connection fetches what is left, and meets it too
            return
        finally:
            self._changed.set()

    def _fetch_segments(self) -> None:
        """Fetch segments while there are any, and a source that may have another connection."""
        segments = self._sink.segments
        failed: set[str] = set()
        while not self._is_stopped and (candidate := self._choose(failed)) is not None:
            try:
                # Only with a source for the parts: the one connection of a gateway is to request all at once.
                segments.split(self._parts)
                goes_on = self._fetch_segment(segments, candidate, failed)
            finally:
                self._runtime.hosts.release_connection(candidate.offer.host)
            if not goes_on:
                return

    def _fetch_segment(self, segments: Segments, candidate: Candidate, failed: set[str]) -> bool:
        """Fetch one segment from a source.

        Args:
            segments: Where the segment comes from.
            candidate: The source.
            failed: Gets the address of the source if it fails.

        Returns:
            Whether another segment is worth a request: this one was fetched completely, or another source may
            have it.
        """
        segment = segments.claim()
        if segment is None:
            return False
        connection = Connection(candidate, segment)
        try:
            self._fill(connection)
        except SourceError as error:
            self._note_failure(candidate, error)
            failed.add(candidate.offer.address)
            # Bytes of several sources are mixed only where each chunk is checked, or if the failed one sent
            # none: else it is unknown which of them sent wrong bytes.
            return self._sink.chunks.table is not None or error.fault.is_unreached
        finally:
            segments.release(connection.segment)
            self._changed.set()
        return not connection.segment.left

    def _choose(self, failed: Collection[str]) -> Candidate | None:
        """Choose the first source without failures whose host allows another connection, and count that.

        A source that failed is left to the first connection, which alone retries. The order of the checks
        matters: the last one counts the connection.

        Args:
            failed: Addresses of sources that failed over this connection.
        """
        hosts, now = self._runtime.hosts, self._runtime.clock()
        for candidate in self._in_order(self._candidates.remaining()):
            host = candidate.offer.host
            is_able = (
                candidate.offer.kind != SourceKind.LOCAL
                and hosts.sends_ranges(host)
                and hosts.down(host) is None
            )
            has_failed = bool(candidate.failures) or candidate.offer.address in failed
            is_healthy = not has_failed and not hosts.is_demoted(host)
            is_ready = is_able and is_healthy and ready_at(candidate, hosts) <= now
            if is_ready and hosts.acquire_connection(host, most=most_connections(candidate)):
                return candidate
        return None

    def _in_order(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """Return the order in which sources are given another connection.

        Where chunks are checked, the sources of one kind share them: none of them can spoil more than a
        chunk, and together they are faster. A less preferred kind waits until the others have no more.
        """
        ranked = sorted(candidates, key=lambda candidate: candidate.rank)
        if self._sink.chunks.table is None:
            return ranked
        kinds = list(dict.fromkeys(candidate.offer.kind for candidate in ranked))
        hosts = self._runtime.hosts
        return sorted(
            ranked, key=lambda each: (kinds.index(each.offer.kind), hosts.connections(each.offer.host))
        )

    def _fill(self, connection: Connection) -> None:
        """Fetch a segment, in as many answers as that takes while each of them brings bytes."""
        gained = -1
        while connection.segment.left and self._sink.gained(connection) > gained and not self._is_stopped:
            gained = self._sink.gained(connection)
            self._copy(connection)

    def _copy(self, connection: Connection) -> None:
        """Request what is left of a segment, and write what one answer brings."""
        self._sink.chunks.learn(connection.candidate.offer)
        end = connection.segment.end
        stream = connection.candidate.offer.open(self._sink.next_offset(connection), end)
        try:
            if not stream.ranged:
                raise Unranged  # the whole file would come once more, for one segment of it
            for _ in self._sink.copy(connection, stream, end):
                if self._is_stopped:
                    break
        finally:
            stream.close()

    def _note_failure(self, candidate: Candidate, error: SourceError) -> None:
        """Note what a failure says about the host.

        The source is not counted as failed for it, unless it sent a wrong chunk: then it is not asked again.
        """
        host = candidate.offer.host
        if error.fault is Fault.HASH and self._candidates.discard(candidate):
            self._discarded.append((candidate, error))
        if tracing.active is not None:
            tracing.active.say(f"retry: a further connection to {host}: {error.message}; not repeated")
        if isinstance(error, Unranged):
            self._runtime.hosts.note_whole_only(host)
        elif error.fault in _TOO_MANY:
            self._runtime.hosts.reduce_connections(host)

"""Further connections for a large file: parts of it, fetched beside its first connection.

They need no care of their own. Whatever goes wrong, the rest of the part is free again, for the first
connection or for another one, and only the first one retries, falls back, tells and judges. So nothing that
happens to one of them ends the run, but a disk that refuses: the first one would meet with that as well.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from modelfetch.engine.candidates import Candidate, Candidates, ready_at
from modelfetch.engine.sink import Connection, Sink
from modelfetch.engine.workers import LEAVE_SECONDS, join
from modelfetch.errors import Fault, SourceError, StoreError
from modelfetch.net.responses import Unranged
from modelfetch.sources.base import LOCAL
from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.segments import Segments

_TOO_MANY = frozenset({Fault.BUSY, Fault.CONNECT, Fault.TIMEOUT})
"""How a host may say that it has enough of our connections."""


class ParallelConnections:
    """The further lanes of one file.

    Args:
        runtime: The run.
        filling: The file.
        candidates: The sources, which the first connection changes meanwhile.
    """

    def __init__(self, runtime: Runtime, filling: Sink, candidates: Candidates) -> None:
        self._runtime = runtime
        self._filling = filling
        self._candidates = candidates
        self._threads: list[threading.Thread] = []
        self._is_dismissed = False
        self._parts = 1
        self._error: StoreError | None = None

    def call(self, missing: int) -> None:
        """Call as many as some missing bytes are worth; they wait until it is known if they are wanted."""
        if all(candidate.offer.kind == LOCAL for candidate in self._candidates.remaining()):
            return
        self._parts = self._runtime.sharing.parts(missing, self._runtime.hosts.share(missing))
        # Where no more threads are to be had, those that are there will do.
        started = (start(self._work, "modelfetch-company") for _ in range(self._parts - 1))
        self._threads = [thread for thread in started if thread is not None]

    def spread(self) -> None:
        """Cut the file into the parts that all of them would fetch."""
        if self._threads:
            self._filling.segments.spread(self._parts)

    @property
    def is_working(self) -> bool:
        """Whether a parallel connection is at work, or may still begin."""
        return any(thread.is_alive() for thread in self._threads)

    def raise_failure(self) -> None:
        """Raise in the calling thread what a parallel connection failed with.

        A thread stores its failure before it ends. So whoever looks at :attr:`is_working` first, and calls
        this then, misses none.

        Raises:
            StoreError: The disk refused to store its bytes.
        """
        if self._error is not None:
            raise self._error

    def dismiss(self) -> None:
        """Let nobody begin anything more, and wait for them to leave, if it does not take long."""
        self._is_dismissed = True
        self._filling.verdict.ask()  # whoever waits for the first request waits for nothing now
        join(self._threads, LEAVE_SECONDS)

    def _work(self) -> None:
        try:
            if self._filling.verdict.wait() and not self._is_dismissed:
                self._share()
        except StoreError as error:
            self._error = error  # handed over to the first lane
        except Exception:  # cancelled, or what nobody foresaw: the first lane fetches what is left
            return

    def _share(self) -> None:
        """Fetch parts of the file for as long as there is something to share."""
        segments = self._filling.segments
        segments.spread(self._parts)
        while not self._is_dismissed and (candidate := self._choose()) is not None:
            try:
                is_done = self._fetch(segments, candidate)
            finally:
                self._runtime.hosts.leave(candidate.offer.host)
            if not is_done:
                return

    def _fetch(self, segments: Segments, candidate: Candidate) -> bool:
        """Fetch one part from a source; whether to go on with another."""
        segment = segments.take()
        if segment is None:
            return False
        lane = Connection(candidate, segment)
        try:
            self._fill(lane)
        except SourceError as error:
            self._learn(candidate.offer.host, error)
            return False
        finally:
            segments.leave(lane.segment)
        return not lane.segment.left

    def _choose(self) -> Candidate | None:
        """The best source that has sent nothing but good so far, and has room for another connection."""
        hosts, now = self._runtime.hosts, self._runtime.clock()
        for candidate in sorted(self._candidates.remaining(), key=lambda candidate: candidate.rank):
            host = candidate.offer.host
            is_able = candidate.offer.kind != LOCAL and hosts.sends_ranges(host) and hosts.down(host) is None
            is_well = not candidate.failures and not hosts.is_demoted(host)
            if is_able and is_well and ready_at(candidate, hosts) <= now and hosts.enter(host):
                return candidate
        return None

    def _fill(self, lane: Connection) -> None:
        """Fetch a part, in as many answers as that takes while each of them brings something."""
        written = -1
        while lane.segment.left and lane.written > written and not self._is_dismissed:
            written = lane.written
            self._take(lane)

    def _take(self, lane: Connection) -> None:
        """Take what one answer gives."""
        end = lane.segment.end
        stream = lane.candidate.offer.open(lane.segment.position, end)
        try:
            if not stream.ranged:
                raise Unranged
            for _ in self._filling.copy(lane, stream, end):
                if self._is_dismissed:
                    break
        finally:
            stream.close()

    def _learn(self, host: str, error: SourceError) -> None:
        if isinstance(error, Unranged):
            self._runtime.hosts.note_whole_only(host)
        elif error.fault in _TOO_MANY:
            self._runtime.hosts.spare(host)

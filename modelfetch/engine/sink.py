"""One file, filled by one connection or several: who writes which bytes, and who is to thank or to blame."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelfetch.engine.segments import Segment, Segments, SpeedProbe
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.retry import RESET_BYTES
from modelfetch.sources.base import LOCAL, Stream

if TYPE_CHECKING:
    from modelfetch.engine.candidates import Candidate
    from modelfetch.engine.runtime import Runtime
    from modelfetch.store import Partial


@dataclass(slots=True)
class Connection:
    """One connection at work on a file."""

    candidate: Candidate
    segment: Segment
    """What it is to fetch."""
    written: int = 0
    """Bytes it has written."""


class Sink:
    """The bytes of one file on their way into its partial. Lanes may be on several threads.

    Attributes:
        segments: Who fetches what.
        verdict: Whether the first lane is to get company.
        fetched: Bytes that came over the network, good or not.
        suppliers: Who supplied the bytes that are there, including earlier runs: the name of each by its
            address, because two places of one host have one name.
        last: The source of the latest bytes.
    """

    def __init__(self, runtime: Runtime, partial: Partial) -> None:
        self.verdict = SpeedProbe(runtime.sharing, runtime.pace)
        self.fetched = 0
        self.suppliers = {f"{origin} (earlier)": f"{origin} (earlier)" for origin in partial.origins}
        self.last: Candidate | None = None
        self._runtime = runtime
        self._partial = partial
        self._lock = threading.Lock()
        self._written = threading.Condition(self._lock)
        self._writers = 0
        self._present = self._high = partial.received
        """Bytes that are there, and the most that ever were."""
        self.segments = self._share_out()

    def _share_out(self) -> Segments:
        return Segments(self._partial.missing, self._runtime.sharing)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Take bytes away, and :meth:`start_over`, inside the context: nobody writes meanwhile.

        A lane that was told to end may still hold a piece. It is let through before, or finds afterwards that
        nothing is granted to it; else its bytes would stand among those of the next attempt, unnoticed.
        """
        with self._lock:
            self._written.wait_for(lambda: not self._writers)
            yield

    def start_over(self) -> None:
        """Begin with nothing: the bytes that were there are gone. Only while one is :meth:`alone`."""
        self.suppliers = {}
        self._present = 0
        self.share_again()

    def share_again(self) -> None:
        """Share out all that is missing, when nobody is at work any more."""
        self.segments = self._share_out()

    def forgive(self) -> None:
        """Count the same bytes as progress again: those that came so far were wrong."""
        self._high = 0

    def copy(self, lane: Connection, stream: Stream, until: int) -> Iterator[int]:
        """Write what a stream gives, as far as the lane is to fetch it.

        Args:
            lane: Who writes; without ranges it goes on to other bytes that nobody fetches.
            stream: The answer of its source.
            until: Where the answer is to end.

        Yields:
            After each piece its length.

        Raises:
            SourceError: The source failed, or sent too much.
            StoreError: The disk refused.
            Cancelled: The run was cancelled.
        """
        position, is_whole = stream.start, not stream.ranged
        try:
            for piece in self._limited(stream, is_local=lane.candidate.offer.kind == LOCAL):
                if position + len(piece) > until:
                    raise SourceError(Fault.SIZE, f"sent more than the {until} bytes expected")
                self._write(lane, piece, position, until, is_whole=is_whole)
                position += len(piece)
                yield len(piece)
                if lane.segment.left or position >= until:
                    continue
                if not self._go_on(lane, until, is_whole=is_whole):
                    return  # the rest was given to others, or is there
        except SourceError:
            if position < until:
                raise
            # All that was asked for is there, whatever else becomes of the answer: the digest decides.

    def _limited(self, stream: Stream, *, is_local: bool) -> Iterator[bytes | memoryview]:
        """Take what a stream gives, as fast as is allowed."""
        for piece in stream:
            self._runtime.cancel.raise_if_cancelled()  # not every source is woken by it
            if is_local:
                yield piece
                continue
            self._count(len(piece))
            yield from self._runtime.rate.dole(piece)

    def _count(self, count: int) -> None:
        with self._lock:
            self.fetched += count

    def _write(
        self, lane: Connection, piece: bytes | memoryview, start: int, until: int, *, is_whole: bool
    ) -> None:
        """Write those bytes of a piece that the lane is to fetch."""
        end = start + len(piece)
        while lane.segment.position < end:
            segment, at = lane.segment, lane.segment.position
            with self._lock:
                self._writers += 1
            try:
                granted = self.segments.advance(segment, end - at)
                if granted:
                    self._announce(lane.candidate)
                    self._partial.put(at, piece[at - start : at - start + granted], lane.candidate.label)
                    self._credit(lane, granted)
            finally:
                with self._lock:
                    self._writers -= 1
                    self._written.notify_all()
            if segment.left or not self._go_on(lane, until, is_whole=is_whole):
                return

    def _go_on(self, lane: Connection, until: int, *, is_whole: bool) -> bool:
        """Go on with the next free bytes, unless the answer ends before them: nobody would send them."""
        if lane.segment.end >= until:
            return False
        following = self.segments.go_on(lane.segment, is_whole=is_whole)
        lane.segment = following or lane.segment
        return following is not None

    def _announce(self, candidate: Candidate) -> None:
        """Note who is about to supply bytes: whoever sees the last one must know of all."""
        with self._lock:
            self.suppliers[candidate.offer.address] = candidate.label
            self.last = candidate

    def is_by(self, candidate: Candidate) -> bool:
        """Whether one place supplied every byte that is there."""
        return set(self.suppliers) <= {candidate.offer.address}

    def _credit(self, lane: Connection, count: int) -> None:
        """Count what was written. Progress is what was never there before, else two could go on for ever."""
        with self._lock:
            lane.written += count
            self._present += count
            lane.candidate.good += min(count, max(0, self._present - self._high))
            self._high = max(self._high, self._present)
            if lane.candidate.good >= RESET_BYTES:
                lane.candidate.failures = lane.candidate.good = 0

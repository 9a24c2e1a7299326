"""Fills one file from a swarm, beside the ordinary transfer: waits, copies, feeds, and reads when it must.

The engine of the swarm writes pieces into a staging file. They are copied from there into the partial, in any
order, because only a file that this program created gets a final name. Then the transfer verifies the SHA-256
of the whole file, which the swarm does not vouch for. A wrong one is quarantined, and the file is fetched
again without the swarm.

A machine that reads the other sources (:mod:`modelfetch.swarm.rendezvous`) runs the ordinary transfer, and
gives each piece to the swarm as soon as all its bytes are written. All others wait here.

Threads: the run's own thread of the file calls :meth:`SwarmFile.run`; the thread of the engine's events calls
:meth:`SwarmFile.take`; the threads of connections call what :meth:`modelfetch.engine.sink.Sink.share` got.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from modelfetch import tracing
from modelfetch.engine.events import Event
from modelfetch.engine.failures import Exhausted
from modelfetch.engine.rate_limit import Ticker
from modelfetch.engine.swarm_piece_picker import choose
from modelfetch.errors import StoreError
from modelfetch.model.source_kinds import SWARM_LABEL

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.swarm_model import SwarmModel
    from modelfetch.engine.transfer import Transfer
    from modelfetch.swarm.file_pieces import FilePieces

LOOK_SECONDS: Final = 0.05
"""Seconds between two looks while a file waits for the swarm."""

Feed = Callable[["SwarmFile", int], None]
"""Has a piece of a file given to the engine, by another thread."""


class SwarmFile:
    """One file of a run that a swarm helps to fill.

    Args:
        runtime: Of the run.
        model: The torrent that has the file.
        path: Of the file, in the torrent.
        feed: See :data:`Feed`.
    """

    def __init__(self, runtime: Runtime, model: SwarmModel, path: str, feed: Feed) -> None:
        self.model = model
        self.path = path
        self._runtime = runtime
        self._feed = feed
        self._file = model.manifest.file(path)
        self._transfer: Transfer | None = None
        self._span: FilePieces | None = None
        self._lock = threading.Lock()
        """Protects ``_transfer``, ``_present``, ``_fed`` and ``_taken``, and keeps the partial open while it
        is used. The locks of the model, the sink and the partial are taken while it is held, never before."""
        self._present: dict[int, int] = {}
        """Bytes of each piece that are there and came otherwise than from the swarm in this run."""
        self._fed: set[int] = set()
        self._taken: set[int] = set()
        self._checks_fed = 0
        self._error: StoreError | None = None
        self._reads_since: float | None = None
        self._is_filled = False
        self.is_over = False
        """Whether :meth:`run` has ended."""

    # In the thread of the file

    def run(self, transfer: Transfer) -> Iterator[Event]:
        """Fill the partial of a transfer until its SHA-256 is right, with the swarm and all other sources.

        Raises:
            Exhausted: Every source failed, and the swarm brings nothing.
            StoreError: The disk refused.
            Cancelled: The run was cancelled.
        """
        key = transfer.model, self.path
        with self._lock:
            self._transfer = transfer
        try:
            self._runtime.positions[key] = lambda: transfer.sink.received
            self._join(transfer)
            yield from self._wait(transfer, self._must_wait)
            yield from self._read(transfer)
            self._is_filled = True
        finally:
            self._runtime.positions.pop(key, None)
            with self._lock:  # waits until nothing is written to the partial or read from it
                self._transfer, self.is_over = None, True

    def _must_wait(self) -> bool:
        """Whether others read, or this machine still lacks the metainfo that its peers have.

        Without the metainfo it could neither feed the pieces that it reads nor leave any to the swarm.
        """
        return self.model.part() is None or (self._span is None and self.model.may_bring)

    def _read(self, transfer: Transfer) -> Iterator[Event]:
        """Run the transfer; where all its sources fail, wait while the swarm still brings something."""
        while True:
            try:
                with closing(transfer.run()) as events:
                    for event in events:
                        # It never sees a failed write of a piece of the swarm, and would wait for its bytes.
                        self._raise_failure()
                        yield event
            except Exhausted:
                if not transfer.sink.is_shared or not self.model.may_bring:
                    raise
            else:
                return
            yield from self._wait(transfer, lambda: self.model.may_bring)

    def _wait(self, transfer: Transfer, goes_on: Callable[[], bool]) -> Iterator[Event]:
        """Report progress while pieces come from the swarm, as long as a condition holds."""
        ticker = Ticker(self._runtime.clock)
        while goes_on() and not self.model.is_gone and not self._is_done(transfer):
            if self._span is None:
                self._join(transfer)
            self._raise_failure()
            if ticker.due():
                yield transfer.progress(None)
            self._runtime.cancel.sleep(LOOK_SECONDS)
        self._raise_failure()

    def _is_done(self, transfer: Transfer) -> bool:
        """Whether the transfer has to decide: the file is complete, or is fetched without the swarm."""
        is_excluded = self._span is not None and not transfer.sink.is_shared
        return transfer.partial.length == self._file.size or is_excluded

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error

    def _join(self, transfer: Transfer) -> None:
        """Share the sink of the transfer with the swarm, once the pieces of the file are known."""
        self._span = self.model.span(self.path)
        if self._span is None or transfer.sink.is_shared:
            return
        with self._lock:
            gaps = transfer.partial.missing
            self._present = {each: _present(gaps, *self._span.range_of(each)) for each in self._span.pieces}
        transfer.sink.share(self._choose, self._note_written)
        self.take()
        if self.model.is_gone:  # its end, which leaves all shared files, may have come before this one was
            self.leave()

    # In the threads of connections

    def _choose(self, free: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
        """Choose what a connection fetches next; called under the lock of the segments."""
        part, span = self.model.part(), self._span
        if part is None or span is None:
            return None
        now = self._runtime.clock()
        if self._reads_since is None:
            self._reads_since = now
            if tracing.active is not None:
                tracing.active.say(f"swarm: {self.path}: reads part {part.index + 1} of {part.count}")
        return choose(free, span, part, self.model.needs, now - self._reads_since)

    def _note_written(self, start: int, end: int) -> None:
        """Give those pieces to the swarm that are complete now that a range was written."""
        span = self._span
        if span is None:
            return
        with self._lock:
            for piece in span.touched(start, end):
                low, high = span.range_of(piece)
                self._present[piece] += min(end, high) - max(start, low)
                if self._present[piece] >= high - low and piece not in self._fed:
                    self._fed.add(piece)
                    self._feed(self, piece)

    # In the thread of the engine's events

    def take(self, piece: int | None = None) -> None:
        """Copy what the swarm has brought and what no connection fetches, and feed what lies here.

        What fails is raised in the thread of the file.

        Args:
            piece: The only piece to look at; None for all.
        """
        with self._lock:
            transfer, span = self._transfer, self._span
            if transfer is None or span is None or not transfer.sink.is_shared:
                return
            if piece is None:
                pieces = [each for each in self.model.finished(span) if each not in self._taken]
            else:
                pieces = [piece] if piece in span.pieces else []
            try:
                self._take(transfer, span, pieces, is_alone=piece is not None)
            except StoreError as error:
                self._error = error

    def leave(self) -> None:
        """Fetch the rest without the swarm, which is gone."""
        with self._lock:
            if self._transfer is not None and self._transfer.sink.is_shared:
                self._transfer.sink.stop_sharing()

    def _take(self, transfer: Transfer, span: FilePieces, pieces: Sequence[int], *, is_alone: bool) -> None:
        gaps = [] if is_alone else transfer.partial.missing
        if self.model.is_ready and self._checks_fed < self.model.checks:
            self._checks_fed = self.model.checks
            self._feed_all(span, transfer.partial.missing)
        for piece in pieces:
            start, end = span.range_of(piece)
            # For one piece the gaps are not looked at: there may be thousands. What is there is not free.
            if not is_alone and _present(gaps, start, end) == end - start:
                self._taken.add(piece)
                continue
            data = self._runtime.store.read_range(self.model.staging[self.path], start, end)
            if data is None:  # the file is gone, or was cut: somebody else has to bring the piece
                self.model.forget(piece)
                continue
            before = transfer.sink.brought
            transfer.sink.put_piece(start, data, SWARM_LABEL)
            self._runtime.rate.note(transfer.sink.brought - before)

    def _feed_all(self, span: FilePieces, gaps: Sequence[tuple[int, int]]) -> None:
        """Feed the pieces that an earlier run, or a connection, brought before the engine was ready."""
        for piece in span.pieces:
            start, end = span.range_of(piece)
            if not self.model.is_finished(piece) and _present(gaps, start, end) == end - start:
                self._fed.add(piece)
                self._feed(self, piece)

    # In the thread that feeds

    @property
    def is_abandoned(self) -> bool:
        """Whether :meth:`run` ended early, so that nothing can be read of the file any more."""
        return self.is_over and not self._is_filled

    def read(self, piece: int) -> bytes | None:
        """Return the bytes of a piece for the engine; None while they cannot be read."""
        assert self._span is not None, "only joined files are fed"
        start, end = self._span.range_of(piece)
        store = self._runtime.store
        with suppress(StoreError):
            with self._lock:
                if self._transfer is not None:
                    return self._transfer.partial.read(start, end)
            blob = store.find_blob(self._file)
            return None if blob is None else store.read_range(blob, start, end)
        return None


def _present(gaps: Sequence[tuple[int, int]], start: int, end: int) -> int:
    """Count the bytes of a range that are in none of a file's gaps, which are in order."""
    count = end - start
    # A search: a file that a swarm fills in any order has thousands of gaps, and as many pieces.
    for index in range(bisect_right(gaps, start, key=lambda gap: gap[1]), len(gaps)):
        low, high = gaps[index]
        if low >= end:
            break
        count -= min(high, end) - max(low, start)
    return count

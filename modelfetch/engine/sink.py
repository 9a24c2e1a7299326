"""The sink of one file: writes the bytes of its connections, and records which source sent them.

Each byte is written once, by the connection whose segment it is in. The sink knows every source that sent
bytes of the file, including those of earlier runs, because a file with a wrong SHA-256 is blamed on a source
only if that one sent all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Final

from modelfetch.engine.beginnings import Beginning, Beginnings
from modelfetch.engine.file_chunks import CheckedAnswer, FileChunks
from modelfetch.engine.segments import Segment, Segments
from modelfetch.engine.speed_probe import SpeedProbe
from modelfetch.engine.writers import Writers
from modelfetch.errors import Fault, SourceError, StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.source_kinds import SourceKind
from modelfetch.sources.base import Stream
from modelfetch.sources.local_files import LocalStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelfetch.engine.candidates import Candidate, Candidates
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.segments import Choose
    from modelfetch.store import Partial


CLONED_FROM: Final = 1 << 20
"""Size in bytes from which a file on this disk is cloned if possible: a smaller one is copied as fast."""


@dataclass(slots=True)
class Connection:
    """One connection at work on a file. Used by one thread."""

    candidate: Candidate
    segment: Segment
    """What it fetches."""
    written: int = 0
    """Bytes it has written."""

    @property
    def address(self) -> str:
        """Address of its source."""
        return self.candidate.offer.address


class Sink:
    """Writes the bytes of one file into its partial; connections may be on several threads.

    The lock of the writers protects the counts and the suppliers, too. It is not held during a write, so that
    connections write at the same time; :meth:`exclusive` waits for the writers instead. While it is held no
    other lock is taken, but by the code inside :meth:`exclusive`.

    Attributes:
        segments: Which connection fetches what.
        probe: Whether the first connection is fast enough alone.
        fetched: Bytes that came over the network, good or not.
        suppliers: The sources of the bytes that are there, including earlier runs: the name of each by its
            address, because two addresses on one host have the same name.
        last: The source of the latest bytes that a connection brought.
        brought: Bytes that came from a swarm.
    """

    def __init__(
        self, runtime: Runtime, partial: Partial, candidates: Candidates, chunks: FileChunks | None = None
    ) -> None:
        self.chunks = chunks or FileChunks()
        self.probe = SpeedProbe(runtime.split_policy)
        self.fetched = 0
        self.suppliers = {f"{origin} (earlier)": f"{origin} (earlier)" for origin in partial.origins}
        self.last: Candidate | None = None
        self.brought = 0
        self._choose: Choose | None = None
        self._on_write: Callable[[int, int], None] | None = None
        self._runtime = runtime
        self._partial = partial
        self._candidates = candidates
        self._writers = Writers()
        self._lock = self._writers.lock
        self._present = self._high = partial.received
        """Bytes that are there, and the most that ever were."""
        self._held: dict[int, int] = {}
        """Bytes that wait for the rest of their chunk, by the ``id`` of their connection."""
        self._beginnings = Beginnings()
        self.segments = self._missing_segments()

    def _missing_segments(self) -> Segments:
        policy, align = self._runtime.split_policy, self.chunks.align
        return Segments(self._partial.missing, policy, align=align, choose=self._choose)

    @property
    def received(self) -> int:
        """Bytes that are there, and those that wait for the rest of their chunk."""
        waiting = sum(tuple(self._held.values())) + self._beginnings.total
        return min(self._partial.file.size, self._partial.received + waiting)

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep all connections from writing, for taking bytes away and :meth:`reset`.

        A connection that was stopped may still hold a piece. It is written before this context, or gets
        nothing granted after it. Otherwise its bytes would stand among those of the next attempt, unnoticed.
        """
        return self._writers.exclusive()

    def reset(self) -> None:
        """Start again without any bytes. Only inside :meth:`exclusive`."""
        self.suppliers = {}
        self._present = 0
        self._choose = self._on_write = None  # wrong bytes may be those of the swarm
        self.split_again()

    def forget(self, count: int) -> None:
        """Count bytes as missing that were taken away. Only inside :meth:`exclusive`."""
        self._present -= count
        self._high = min(self._high, self._present)  # what replaces them is progress
        self._choose = self._on_write = None
        self.split_again()

    def split_again(self) -> None:
        """Make segments of all that is missing. Segments of before get no more bytes granted."""
        self._beginnings = Beginnings()
        self.segments = self._missing_segments()

    def share(self, choose: Choose, on_write: Callable[[int, int], None]) -> None:
        """Fetch together with a swarm. Only before the first connection.

        ``choose`` decides what the connections fetch (:class:`Segments`), and ``on_write`` is called with
        start and end of what a connection wrote, in its thread.
        """
        self._choose, self._on_write = choose, on_write
        self.split_again()

    def stop_sharing(self) -> None:
        """Fetch the rest without the swarm."""
        self._choose = self._on_write = None
        self.segments.choose_freely()

    @property
    def is_shared(self) -> bool:
        """Whether a swarm brings bytes, too."""
        return self._choose is not None

    def put_piece(self, start: int, data: bytes, label: str) -> None:
        """Write those bytes of a piece from a swarm that are missing and that no connection fetches.

        Raises:
            StoreError: The disk refused.
        """
        with self._writers:
            segments = self.segments  # replaced only while there is no writer
            for segment in segments.claim_within(start, start + len(data)) if self.is_shared else ():
                at, count = segment.position, segments.advance(segment, segment.left)
                with self._lock:
                    self.suppliers[label] = label
                self._partial.put(at, data[at - start : at - start + count], label)
                segments.release(segment)
                with self._lock:
                    self.fetched += count
                    self.brought += count
                    self._present += count
                    self._high = max(self._high, self._present)

    def reset_progress(self) -> None:
        """Count bytes that were there before as progress again, because those were wrong."""
        self._high = 0

    def next_offset(self, connection: Connection) -> int:
        """Return where the next answer for the segment of a connection is to begin.

        That is behind what its source has sent of the first chunk already.
        """
        segment = connection.segment
        begun = self._beginnings.length(segment.position, connection.address)
        return segment.position + (begun if begun < segment.left else 0)

    def gained(self, connection: Connection) -> int:
        """Return how many bytes a connection has brought: those written, and those of its first chunk."""
        return connection.written + self._beginnings.length(connection.segment.position, connection.address)

    def keep_beginnings(self) -> None:
        """Write what is there of chunks that are not complete, at the end of a run that is not.

        The next run continues behind it. It is not proven, no more than what came without a chunk map: if it
        is wrong, its chunk is fetched again. Best effort, as nothing was promised about these bytes.
        """
        with self.exclusive(), suppress(StoreError):
            for offset, begun in self._beginnings.take_all():
                end = offset + len(begun.data)
                if any(start <= offset and end <= stop for start, stop in self._partial.missing):
                    self._partial.put(offset, begun.data, begun.label)

    def copy(self, connection: Connection, stream: Stream, until: int) -> Iterator[int]:
        """Write those bytes of a stream that the connection fetches.

        Args:
            connection: Its segment is replaced by the next free one behind it, if the answer goes on.
            stream: The answer of its source.
            until: Position in the file where the answer is to end.

        Yields:
            The length of each piece, after it was written, or kept until the rest of its chunk arrives.

        Raises:
            SourceError: The source failed, or sent too much, or a wrong chunk.
            StoreError: The disk refused.
            Cancelled: The run was cancelled.
        """
        if isinstance(stream, LocalStream) and self._is_cloned(connection, stream):
            yield connection.written
            return
        begun = self._take_beginning(connection, stream)
        answer = self.chunks.checked(stream.start - len(begun), until)
        try:
            yield from self._copy_answer(connection, stream, answer, begun)
        except SourceError as error:
            if error.fault is Fault.HASH:
                self._beginnings.drop(connection.address)
            if answer.position < until:
                raise
            # All that was requested is there, so a failure at the end of the answer does not count: the
            # SHA-256 of the file decides whether the bytes are right.
        finally:
            self._note_held(connection, 0)
            self._keep_beginning(connection, answer)

    def _copy_answer(
        self, connection: Connection, stream: Stream, answer: CheckedAnswer, begun: bytes
    ) -> Iterator[int]:
        """Write what an answer brings; yields like :meth:`copy`."""
        received = self._limited(stream, is_local=connection.candidate.offer.kind == SourceKind.LOCAL)
        for piece in chain(filter(None, (begun,)), received):
            is_over = self._write_parts(connection, answer, piece, is_whole=not stream.ranged)
            if piece is not begun:
                yield len(piece)
            if is_over:
                return  # the rest was given to other connections, or is there

    def _write_parts(
        self, connection: Connection, answer: CheckedAnswer, piece: bytes | memoryview, *, is_whole: bool
    ) -> bool:
        """Write what can be written now that a piece arrived.

        Returns:
            Whether the rest of the answer brings nothing that is missing.
        """
        for part in self._right(answer, piece, connection):
            start = answer.position - len(part)
            self._write(connection, part, start, answer.until, is_whole=is_whole)
            if self._is_over(connection, answer, is_whole=is_whole):
                return True  # before the next part: what is free by then may begin before it
        return self._is_over(connection, answer, is_whole=is_whole)

    def _take_beginning(self, connection: Connection, stream: Stream) -> bytes:
        """Take what the source sent of the first chunk before, if this answer continues it."""
        position = connection.segment.position
        begun = self._beginnings.take(position, connection.address)
        return begun if stream.start == position + len(begun) else b""

    def _keep_beginning(self, connection: Connection, answer: CheckedAnswer) -> None:
        """Keep what an answer brought of a chunk that it does not end, unless it was given to another one."""
        segment = connection.segment
        if answer.held and segment.left and segment.position == answer.position:
            begun = Beginning(connection.address, connection.candidate.label, answer.rest())
            self._beginnings.keep(segment.position, begun)

    def _right(
        self, answer: CheckedAnswer, piece: bytes | memoryview, connection: Connection
    ) -> Iterator[bytes | memoryview]:
        """Yield those bytes that can be written now that this piece arrived, and count those that wait."""
        if answer.position + answer.held + len(piece) > answer.until:
            raise SourceError(Fault.SIZE, "sent more bytes than requested")
        yield from answer.pieces(piece)
        self._note_held(connection, answer.held)

    def _note_held(self, connection: Connection, count: int) -> None:
        """Count the bytes of a connection that wait for the rest of their chunk."""
        if count:
            self.segments.note_arrival(connection.segment)
            self._held[id(connection)] = count
        else:
            self._held.pop(id(connection), None)

    def _is_cloned(self, connection: Connection, stream: LocalStream) -> bool:
        """Take a whole large file from this disk by sharing its blocks, if nothing of it is there yet.

        Returns:
            Whether it was possible; if not, the bytes are to be copied.
        """
        segment, candidate, size = connection.segment, connection.candidate, self._partial.file.size
        if size < CLONED_FROM:
            return False
        with self.exclusive():  # cloning replaces every byte, so no other connection may write meanwhile
            if self._present or not self.segments.take_whole(segment, size):
                return False
            if not self._partial.clone(stream.fileno(), candidate.label):
                self.segments.return_whole(segment)
                return False
            self.suppliers[candidate.offer.address] = candidate.label
            self.last = candidate
            connection.written = self._present = size
            progress, self._high = size - self._high, size
        self._candidates.credit(candidate, progress)
        return True

    def _limited(self, stream: Stream, *, is_local: bool) -> Iterator[bytes | memoryview]:
        """Yield what a stream gives, at the limited rate; a disk is not limited."""
        for piece in stream:
            self._runtime.cancel.raise_if_cancelled()  # a cancellation does not interrupt every source
            if is_local:
                yield piece
                continue
            self._count(len(piece))
            yield from self._runtime.rate.throttle(piece)

    def _count(self, count: int) -> None:
        with self._lock:
            self.fetched += count

    def _write(
        self, connection: Connection, piece: bytes | memoryview, start: int, until: int, *, is_whole: bool
    ) -> None:
        """Write those bytes of a piece that are in the segment of the connection."""
        end = start + len(piece)
        while connection.segment.position < end:
            segment, at = connection.segment, connection.segment.position
            with self._writers:
                granted = self.segments.advance(segment, end - at)
                if granted:
                    self._note_supplier(connection.candidate)
                    self._partial.put(
                        at, piece[at - start : at - start + granted], connection.candidate.label
                    )
                    self._credit(connection, granted)
                    if (on_write := self._on_write) is not None:
                        on_write(at, at + granted)
            if segment.left or not self._continue(connection, until, is_whole=is_whole):
                return

    def _is_over(self, connection: Connection, answer: CheckedAnswer, *, is_whole: bool) -> bool:
        """Whether the segment of a connection is done, and the rest of the answer brings nothing missing."""
        is_done = not connection.segment.left and answer.position < answer.until
        # Not with what another connection gave back meanwhile: that may have come in the piece before.
        behind = answer.position
        return is_done and not self._continue(connection, answer.until, is_whole=is_whole, behind=behind)

    def _continue(self, connection: Connection, until: int, *, is_whole: bool, behind: int = 0) -> bool:
        """Go on with the next free bytes, unless the answer ends before them and would not bring them."""
        if connection.segment.end >= until:
            return False
        following = self.segments.claim_next(connection.segment, is_whole=is_whole, behind=behind)
        connection.segment = following or connection.segment
        return following is not None

    def _note_supplier(self, candidate: Candidate) -> None:
        """Record a source before its bytes are written.

        A thread that finds the file complete must know every source, also that of the last bytes.
        """
        with self._lock:
            self.suppliers[candidate.offer.address] = candidate.label
            self.last = candidate

    def is_only_supplier(self, candidate: Candidate) -> bool:
        """Return whether this source sent every byte that is there."""
        return set(self.suppliers) <= {candidate.offer.address}

    def _credit(self, connection: Connection, count: int) -> None:
        """Count written bytes, and those of them that are progress.

        Progress is only what was never there before. Otherwise two sources whose bytes do not fit together
        could reset each other's failures for ever.
        """
        with self._lock:
            connection.written += count
            self._present += count
            progress = min(count, max(0, self._present - self._high))
            self._high = max(self._high, self._present)
        self._candidates.credit(connection.candidate, progress)

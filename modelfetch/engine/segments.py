"""Which connection fetches which bytes of one file.

The missing bytes are cut into segments, one for each connection. A connection that is done claims the next
free bytes, or half of the largest segment of another one, or all of a segment that receives nothing. What a
connection leaves unfinished is free again. Decisions and counts only; nothing here touches a network or a
disk.

Example: 100 MiB over four connections become four segments of about 25 MiB. When the first is done while the
last still has 20 MiB left, it claims the second half of these.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.engine.rate_limit import Clock

STAGGER: Final = 0.0125
"""How much longer the last part of a file is than the first: this share of an equal part for each part. So
the parts end one after the other, about as fast as they are hashed in order: a limited connection brings
some 20 MB/s, and SHA-256 takes 1.6 GB/s."""
IN_FLIGHT: Final = 10 << 20
"""Most bytes in flight when an answer is not read to its end: what the socket buffers of both sides hold
where Linux sizes them (tcp_wmem 4 MiB, tcp_rmem 6 MiB). These bytes are wasted."""


@dataclass(frozen=True, slots=True)
class SplitPolicy:
    """When and how a file is fetched over several connections."""

    connections: int = 4
    """Most connections to one file; with 1 a file is never split."""
    min_size: int = 32 << 20
    """Missing bytes from which on a file is split. The first answer is cut short then, and the bytes in
    flight, up to some MiB, are sent twice: too large a share of a smaller file."""
    min_part: int = 4 << 20
    """Fewest bytes for a connection of its own: at 20 MiB/s and 50 ms a fifth of its time is lost."""
    min_remainder: int = 6 << 20
    """Bytes that must be left of a segment before half of it is given to another connection (measured)."""
    max_delay: float = 0.02
    """Seconds without a first byte after which a source is far away, and parallel connections start without
    a measured speed. Half as long again over TLS, where handshakes take processor time. (Over loopback, the
    first byte came within 8 ms, and within 32 ms over TLS, on a busy machine.)"""
    sample: int = 4 << 20
    """Bytes after which the speed of a connection is known."""
    sample_seconds: float = 0.1
    """Seconds after which it is known in any case."""
    fast_speed: float = 64e6
    """Bytes per second from which on one connection is enough; hosts that limit each connection give less."""
    stall_seconds: float = 3.0
    """Seconds without a byte after which another connection may take over the whole rest of a segment."""
    max_waste: float = 0.08
    """Share of the missing bytes that may be sent twice, because a segment is cut while its bytes are in
    flight. With what retries cost, an honest origin then sends less than a tenth more than the file."""

    def parts(self, size: int) -> int:
        """Return into how many parts to cut a file at most, given its missing bytes."""
        if size < self.min_size:
            return 1
        return max(1, min(self.connections, size // self.min_part))


class Segment:
    """The bytes that one connection fetches: those from ``position`` up to ``end``.

    Changed by :class:`Segments` only, under its lock. Other threads may read a field at any time.
    """

    __slots__ = ("end", "is_begun", "moved_at", "position")

    def __init__(self, position: int, end: int, moved_at: float) -> None:
        self.is_begun = False
        self.position = position
        self.end = end
        self.moved_at = moved_at

    @property
    def left(self) -> int:
        """Bytes still to come."""
        return self.end - self.position


Choose = Callable[[Sequence[tuple[int, int]]], tuple[int, int] | None]
"""Chooses a part of one of some free ranges."""


def _anywhere(offset: int) -> int:
    """Cut at any byte."""
    return offset


class Segments:
    """The missing bytes of one file: each of them is free, or in exactly one segment. Thread-safe.

    One lock protects the free ranges, the list of claimed segments and every field of these segments.

    Args:
        missing: The gaps of the file, in order, each as its start and end.
        policy: The rules.
        clock: Monotonic seconds.
        align: Moves a place where a range is cut to the start of a chunk, so that each connection fetches
            whole chunks, which can be checked by themselves.
        choose: Chooses which part of the free ranges is fetched next, or None to fetch nothing now: the rest
            is expected from elsewhere. Called under the lock of this object.
    """

    def __init__(
        self,
        missing: Iterable[tuple[int, int]],
        policy: SplitPolicy,
        clock: Clock = time.monotonic,
        align: Callable[[int], int] = _anywhere,
        choose: Choose | None = None,
    ) -> None:
        self._free = list(missing)
        self._align = align
        self._claimed: list[Segment] = []
        self._policy = policy
        self._waste_left = policy.max_waste * sum(end - start for start, end in self._free)
        """Bytes that may still be sent twice."""
        self._clock = clock
        self._lock = threading.Lock()
        self._is_split = choose is not None  # what is chosen is small: other connections find free ranges
        self._choose = choose

    def claim(self, *, is_alone: bool = False) -> Segment | None:
        """Claim the first free range, else a segment, or half of one, from another connection.

        Args:
            is_alone: Whether no other connection will claim the rest: free ranges that follow one another are
                then joined and fetched with one request.

        Returns:
            A segment, to be given back with :meth:`release`; None if there is nothing worth a connection.
        """
        with self._lock:
            if self._choose is not None:
                return self._claim_chosen(self._choose)
            if self._free:
                start, end = self._free.pop(0)
                while is_alone and self._free and self._free[0][0] == end:
                    end = self._free.pop(0)[1]
                return self._claim(start, end)
            # A stalled segment first: all that is left of it is taken over, however small, and counts as no
            # waste. A segment under way is cut only if it is larger than min_remainder, and within max_waste.
            return self._from_the_stalled() or self._from_the_largest()

    def _claim_chosen(self, choose: Choose) -> Segment | None:
        self._free = _joined(self._free)
        chosen = choose(self._free)
        if chosen is not None:
            return self._take(*chosen)
        # What a silent connection holds would otherwise be left to it: nothing is cut off from the others.
        return None if self._free else self._from_the_stalled()

    def choose_freely(self) -> None:
        """Give connections all free ranges from now on, in order, and let the longest one be split."""
        with self._lock:
            self._choose = None
            self._is_split = False

    def claim_within(self, start: int, end: int) -> list[Segment]:
        """Claim those parts of a range that no connection fetches: free ones, and those of a stalled one.

        Returns:
            Segments, each to be given back with :meth:`release`.
        """
        with self._lock:
            now = self._clock()
            for segment in self._claimed:
                is_stalled = now - segment.moved_at >= self._policy.stall_seconds
                if is_stalled and segment.left and segment.position < end and start < segment.end:
                    self._free_range(segment.position, segment.end)
                    segment.end = segment.position
            inside = [(max(start, free), min(end, until)) for free, until in self._free]
            return [self._take(first, last) for first, last in inside if first < last]

    def _take(self, start: int, end: int) -> Segment:
        """Claim a part of one free range."""
        index = next(i for i, (free, until) in enumerate(self._free) if free <= start and end <= until)
        free, until = self._free[index]
        self._free[index : index + 1] = [rest for rest in ((free, start), (end, until)) if rest[0] < rest[1]]
        return self._claim(start, end)

    def claim_all(self) -> Segment:
        """Claim everything that is missing; only while no segment is claimed."""
        with self._lock:
            start, end = self._free[0][0], self._free[-1][1]
            self._free.clear()
            return self._claim(start, end)

    def claim_next(self, segment: Segment, *, is_whole: bool, behind: int = 0) -> Segment | None:
        """Claim the next free range for a connection whose answer goes on behind its segment.

        Args:
            segment: The finished segment, given back if there is a next one.
            is_whole: Whether the answer is the whole file, so that bytes may be skipped up to a free range.
            behind: Position before which the answer brings nothing more.

        Returns:
            The next segment, or None if no range that this answer brings is free.
        """
        with self._lock:
            if segment not in self._claimed:
                return None  # it was claimed before the file was split again
            for index, (start, end) in enumerate(self._free):
                is_next = start == segment.end or (is_whole and start > segment.end)
                if is_next and start >= behind:
                    del self._free[index]
                    self._claimed.remove(segment)
                    return self._claim(start, end)
            return None

    def advance(self, segment: Segment, count: int) -> int:
        """Count bytes of a segment as received, before they are written.

        Before, not after: else another connection could be given the same bytes while they are written.

        Returns:
            How many of them to write: fewer than ``count`` if the rest was given to another connection, and
            none if the segment was claimed before the file was split again.
        """
        with self._lock:
            if segment not in self._claimed:
                return 0
            granted = min(count, segment.left)
            segment.position += granted
            segment.moved_at = self._clock()
            segment.is_begun = True
            return granted

    def note_arrival(self, segment: Segment) -> None:
        """Note that bytes of a segment arrive that cannot be written yet: it is not stalled."""
        with self._lock:
            segment.moved_at = self._clock()
            segment.is_begun = True

    def take_whole(self, segment: Segment, size: int) -> bool:
        """Count all bytes of the file as received, if this segment is all of it and has none yet.

        Returns:
            Whether it is. No other connection is then given any of the bytes.
        """
        with self._lock:
            is_whole = segment in self._claimed and (segment.position, segment.end) == (0, size)
            if is_whole:
                segment.position, segment.is_begun = size, True
            return is_whole

    def return_whole(self, segment: Segment) -> None:
        """Count the bytes of :meth:`take_whole` as not received."""
        with self._lock:
            segment.position, segment.is_begun = 0, False

    def reclaim(self, segment: Segment) -> None:
        """Free all segments that received nothing yet: the answer to this segment brings their bytes, too."""
        with self._lock:
            for other in self._claimed:
                if other is not segment and other.left and not other.is_begun:
                    self._free_range(other.position, other.end)
                    other.end = other.position

    def release(self, segment: Segment) -> None:
        """Give a segment back; what is left of it is free again."""
        with self._lock:
            self._claimed.remove(segment)
            if segment.left:
                self._free_range(segment.position, segment.end)

    def split(self, parts: int) -> None:
        """Cut the longest range into parts for as many connections. Only the first call does anything.

        A free range is cut at no cost: each connection requests its own part. A claimed one is already
        requested, so the bytes in flight beyond its first part are wasted; if these are too many, nothing
        is cut.
        """
        with self._lock:
            if self._is_split:
                return
            self._is_split = True
            start, end = max(self._free, key=lambda free: free[1] - free[0], default=(0, 0))
            largest = max(self._claimed, key=lambda segment: segment.left, default=None)
            if largest is None or largest.left <= end - start:
                others = [free for free in self._free if free != (start, end)]
                self._free = sorted([*others, *cut(start, end, parts, self._align)])
                return
            first, *others = cut(largest.position, largest.end, parts, self._align)
            if others and self._may_cut(largest.end - first[1]):
                self._free = sorted([*self._free, *others])
                largest.end = first[1]

    def _may_cut(self, length: int) -> bool:
        """Whether so many bytes may be taken from a segment under way; if so, counts them as wasted.

        No more than :data:`IN_FLIGHT` are wasted: bytes that were not sent yet are not sent at all.
        """
        cost = min(length, IN_FLIGHT)
        is_affordable = cost <= self._waste_left
        self._waste_left -= cost * is_affordable
        return is_affordable

    def _claim(self, start: int, end: int) -> Segment:
        segment = Segment(start, end, self._clock())
        self._claimed.append(segment)
        return segment

    def _free_range(self, start: int, end: int) -> None:
        self._free = sorted([*self._free, (start, end)])

    def _from_the_stalled(self) -> Segment | None:
        now = self._clock()
        for segment in self._claimed:
            if segment.left and now - segment.moved_at >= self._policy.stall_seconds:
                return self._cut_off(segment, segment.position)
        return None

    def _from_the_largest(self) -> Segment | None:
        largest = max(self._claimed, key=lambda segment: segment.left, default=None)
        if (
            largest is None
            or largest.left < self._policy.min_remainder
            or not self._may_cut(largest.left // 2)
        ):
            return None
        at = self._align(largest.end - largest.left // 2)
        return self._cut_off(largest, at) if at > largest.position else None

    def _cut_off(self, segment: Segment, at: int) -> Segment:
        end, segment.end = segment.end, at
        return self._claim(at, end)


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges that follow one another without a gap."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined


def cut(start: int, end: int, parts: int, align: Callable[[int], int] = _anywhere) -> list[tuple[int, int]]:
    """Cut a range into parts, each a little longer than the one before; see :data:`STAGGER`.

    Args:
        start: Start of the range.
        end: End of the range.
        parts: Number of parts.
        align: Moves the place of a cut; see :class:`Segments`.

    Returns:
        The parts that are not empty: fewer than asked for of a very short range, none of an empty one.
    """
    spread = STAGGER * parts
    weights = [1 + spread * (index / (parts - 1) - 0.5) if parts > 1 else 1.0 for index in range(parts)]
    edges, total = [start], 0.0
    for weight in weights:
        total += weight
        edges.append(start + round((end - start) * total / sum(weights)))
    edges[1:-1] = [min(max(align(edge), start), end) for edge in edges[1:-1]]
    return [(edges[index], edges[index + 1]) for index in range(parts) if edges[index] < edges[index + 1]]

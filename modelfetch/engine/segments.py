"""Who fetches which bytes of one file: how it is shared out, and shared again when somebody is done.

Decisions and counts only; nothing here touches a network or a disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from modelfetch.engine.pace import Pace
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.engine.rate_limit import Clock

STAGGER: Final = 0.2
"""By how much the last part of a file is longer than the first, relative to an even share: the parts end one
after the other, and the hash, which takes them in order, is not left with all of them at the end."""
IN_FLIGHT: Final = 10 << 20
"""Bytes on their way at most when an answer is not read to its end: what the socket buffers of both sides
hold where Linux sizes them (tcp_wmem 4 MiB, tcp_rmem 6 MiB). They were sent for nothing."""


@dataclass(frozen=True, slots=True)
class SplitPolicy:
    """When and how a file is fetched over several connections."""

    connections: int = 4
    """Connections to one file at most; 1 for never sharing."""
    worth: int = 32 << 20
    """Missing bytes from which on a file is shared. The first answer is cut short then, and what is under way
    comes twice, up to some MiB: for less than this it would weigh too much."""
    least: int = 4 << 20
    """Bytes that are worth a connection of their own: at 20 MiB/s and 50 ms a fifth of its time is lost."""
    rest: int = 6 << 20
    """Bytes that must be left of a part before half of it is given to somebody else (measured)."""
    eager: float = 0.03
    """Seconds without a first byte after which a source is far away, and company wanted anyway."""
    sample: int = 4 << 20
    """Bytes after which the speed of a connection is known."""
    sample_seconds: float = 0.1
    """Seconds after which it is known in any case."""
    enough: float = 64e6
    """Bytes per second of a connection that needs no company: hosts that hold connections back give less."""
    stuck: float = 3.0
    """Seconds without a byte after which the whole rest of a part may be taken over."""
    waste: float = 0.08
    """Share of the missing bytes that may be sent twice because a part is given away while it is on its way.
    With what retries cost that keeps an honest origin below a tenth more than the file."""

    def parts(self, size: int, allowed: int) -> int:
        """Into how many parts a file is cut at most, of the connections it is allowed."""
        return max(1, min(self.connections, allowed, size // self.least)) if size >= self.worth else 1


class Segment:
    """Bytes that one connection is to fetch: those from ``position`` up to ``end``."""

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


class Segments:
    """The missing bytes of one file: each of them free, or in one segment. Thread-safe.

    Args:
        missing: The gaps of the file, in order, each as its start and end.
        sharing: The rules.
        clock: Monotonic seconds.
    """

    def __init__(
        self, missing: Iterable[tuple[int, int]], sharing: SplitPolicy, clock: Clock = time.monotonic
    ) -> None:
        self._free = list(missing)
        self._taken: list[Segment] = []
        self._sharing = sharing
        self._spare = sharing.waste * sum(end - start for start, end in self._free)
        """Bytes that may still be sent twice."""
        self._clock = clock
        self._lock = threading.Lock()
        self._is_spread = False

    def take(self, *, is_alone: bool = False) -> Segment | None:
        """Give somebody something to do: what is free, else half of the largest part of another.

        Args:
            is_alone: Whether nobody else will come for the rest: parts cut for others are one again.

        Returns:
            A segment, to be given back with :meth:`leave`; None where nothing is worth a further connection.
        """
        with self._lock:
            if self._free:
                start, end = self._free.pop(0)
                while is_alone and self._free and self._free[0][0] == end:
                    end = self._free.pop(0)[1]
                return self._claim(start, end)
            return self._from_the_stuck() or self._from_the_largest()

    def all(self) -> Segment:
        """Give everything that is missing, where nobody is at work."""
        with self._lock:
            start, end = self._free[0][0], self._free[-1][1]
            self._free.clear()
            return self._claim(start, end)

    def go_on(self, segment: Segment, *, is_whole: bool) -> Segment | None:
        """Give whoever is through with a segment, and whose answer does not end there, the next free bytes.

        Args:
            segment: Is given back.
            is_whole: Whether the whole file comes, so that bytes may be skipped on the way to the free ones.
        """
        with self._lock:
            if segment not in self._taken:
                return None  # it is of an earlier sharing
            for index, (start, end) in enumerate(self._free):
                if start == segment.end or (is_whole and start > segment.end):
                    del self._free[index]
                    self._taken.remove(segment)
                    return self._claim(start, end)
            return None

    def advance(self, segment: Segment, count: int) -> int:
        """Note that bytes of a segment came in, before they are written.

        Returns:
            How many of them are to be written: fewer than came where the rest was given to somebody else, and
            none for a segment of an earlier sharing, whose bytes are shared out anew.
        """
        with self._lock:
            if segment not in self._taken:
                return 0
            granted = min(count, segment.left)
            segment.position += granted
            segment.moved_at = self._clock()
            segment.is_begun = True
            return granted

    def reclaim(self, segment: Segment) -> None:
        """Take back what others have not begun with: the answer to this segment brings it anyway."""
        with self._lock:
            for other in self._taken:
                if other is not segment and other.left and not other.is_begun:
                    self._give_back(other.position, other.end)
                    other.end = other.position

    def leave(self, segment: Segment) -> None:
        """Give back what is left of a segment."""
        with self._lock:
            self._taken.remove(segment)
            if segment.left:
                self._give_back(segment.position, segment.end)

    def spread(self, parts: int) -> None:
        """Cut the longest stretch into parts for as many connections. Only the first call does anything.

        Before anybody asks for it that costs nothing: each asks for its own part. Later, what is on its way
        beyond the first part is lost, and where that is too much nothing is cut.
        """
        with self._lock:
            if self._is_spread:
                return
            self._is_spread = True
            start, end = max(self._free, key=lambda free: free[1] - free[0], default=(0, 0))
            largest = max(self._taken, key=lambda segment: segment.left, default=None)
            if largest is None or largest.left <= end - start:
                self._free = sorted(
                    [*(free for free in self._free if free != (start, end)), *cut(start, end, parts)]
                )
                return
            first, *others = cut(largest.position, largest.end, parts)
            if others and self._may_cut(largest.end - first[1]):
                self._free = sorted([*self._free, *others])
                largest.end = first[1]

    def _may_cut(self, length: int) -> bool:
        """Whether so many bytes may be taken from a part that is on its way; if so, accounts for them."""
        cost = min(length, IN_FLIGHT)
        is_affordable = cost <= self._spare
        self._spare -= cost * is_affordable
        return is_affordable

    def _claim(self, start: int, end: int) -> Segment:
        segment = Segment(start, end, self._clock())
        self._taken.append(segment)
        return segment

    def _give_back(self, start: int, end: int) -> None:
        self._free = sorted([*self._free, (start, end)])

    def _from_the_stuck(self) -> Segment | None:
        now = self._clock()
        for segment in self._taken:
            if segment.left and now - segment.moved_at >= self._sharing.stuck:
                return self._cut_off(segment, segment.position)
        return None

    def _from_the_largest(self) -> Segment | None:
        largest = max(self._taken, key=lambda segment: segment.left, default=None)
        if largest is None or largest.left < self._sharing.rest or not self._may_cut(largest.left // 2):
            return None
        return self._cut_off(largest, largest.end - largest.left // 2)

    def _cut_off(self, segment: Segment, at: int) -> Segment:
        end, segment.end = segment.end, at
        return self._claim(at, end)


def cut(start: int, end: int, parts: int) -> list[tuple[int, int]]:
    """Cut a stretch into parts, each a little longer than the one before: see :data:`STAGGER`.

    Returns:
        The parts that are not empty: fewer than asked for of a very short stretch, none of an empty one.
    """
    weights = [1 + STAGGER * (index / (parts - 1) - 0.5) if parts > 1 else 1.0 for index in range(parts)]
    edges, total = [start], 0.0
    for weight in weights:
        total += weight
        edges.append(start + round((end - start) * total / sum(weights)))
    return [(edges[index], edges[index + 1]) for index in range(parts) if edges[index] < edges[index + 1]]


class SpeedProbe:
    """Whether the first connection of a file is to get company, found out from what it brings. Thread-safe.

    Args:
        sharing: The rules.
        pace: Is told as well, for the sake of further files.
        clock: Monotonic seconds.
    """

    def __init__(self, sharing: SplitPolicy, pace: Pace | None = None, clock: Clock = time.monotonic) -> None:
        self._sharing = sharing
        self._pace = pace or Pace()
        self._clock = clock
        self._asked = threading.Event()
        self._begun = threading.Event()
        self._given = threading.Event()
        self._began_at = 0.0
        self._received = 0
        self._is_wanted = False
        self._is_late = False

    def ask(self) -> None:
        """Note that the first connection asks now, and that its answer is waited for."""
        self._asked.set()

    def add(self, count: int) -> None:
        """Account for bytes of the first connection."""
        if self._given.is_set():
            return
        if not self._begun.is_set():
            self._began_at = self._clock()
            self._begun.set()
        self._received += count
        seconds = self._clock() - self._began_at
        if self._received >= self._sharing.sample or seconds >= self._sharing.sample_seconds:
            self._is_wanted = self._received < self._sharing.enough * seconds
            self._given.set()
            self._pace.tell(is_fast=not self._is_wanted)

    @property
    def is_fast(self) -> bool | None:
        """Whether the connection turned out to need no company; None while that is not known."""
        return not (self._is_wanted or self._is_late) if self._given.is_set() else None

    def wait(self) -> bool:
        """Wait until it is known, or the source is slow in answering; say whether company is wanted."""
        self._asked.wait()
        if not self._begun.wait(self._sharing.eager):
            self._is_late = True
            self._pace.tell(is_fast=False)
            return True
        self._given.wait(2 * self._sharing.sample_seconds)
        return self._is_wanted or not self._given.is_set()

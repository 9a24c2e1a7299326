"""Which bytes of a file are there, and who supplied them: a pure value that grows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from modelfetch.lazy_dataclass import dataclass


@dataclass(slots=True)
class Extent:
    """Bytes that are there: ``start`` up to and without ``end``, all from one origin."""

    start: int
    end: int
    origin: str
    """Who supplied them: ``kind host``."""


class Extents:
    """The bytes of one file that are there, in order and without overlap.

    There are about as many extents as connections and changes of source.

    Attributes:
        total: How many bytes are there.
    """

    def __init__(self) -> None:
        self.total = 0
        self._extents: list[Extent] = []

    def add(self, start: int, end: int, origin: str) -> None:
        """Note that bytes are there now.

        Raises:
            ValueError: Some of them were there before.
        """
        at = self._place(start, end)
        self.total += end - start
        before = self._extents[at - 1] if at else None
        after = self._extents[at] if at < len(self._extents) else None
        if before is not None and (before.end, before.origin) == (start, origin):
            before.end = end
            if after is not None and (after.start, after.origin) == (end, origin):
                before.end = after.end
                del self._extents[at]
        elif after is not None and (after.start, after.origin) == (end, origin):
            after.start = start
        else:
            self._extents.insert(at, Extent(start, end, origin))

    def remove(self, start: int, end: int) -> None:
        """Note that bytes are not there any more, as far as they were."""
        kept: list[Extent] = []
        for extent in self._extents:
            left = Extent(extent.start, min(extent.end, start), extent.origin)
            right = Extent(max(extent.start, end), extent.end, extent.origin)
            kept += [part for part in (left, right) if part.start < part.end]
        self._extents = kept
        self.total = sum(extent.end - extent.start for extent in kept)

    def require_missing(self, start: int, end: int) -> None:
        """Make sure that none of these bytes is there.

        Raises:
            ValueError: One is.
        """
        self._place(start, end)

    def _place(self, start: int, end: int) -> int:
        """Where in the list bytes that are missing belong."""
        at = bisect_right(self._extents, start, key=_start)
        if (at and self._extents[at - 1].end > start) or (
            at < len(self._extents) and self._extents[at].start < end
        ):
            raise ValueError(f"bytes {start} to {end} are there already, at least some of them")
        return at

    def covering(self, position: int) -> Extent | None:
        """The extent that holds the byte at a position, if it is there."""
        at = bisect_right(self._extents, position, key=_start)
        found = self._extents[at - 1] if at else None
        return found if found is not None and position < found.end else None

    @property
    def prefix_length(self) -> int:
        """How many bytes are there from the start without a gap."""
        front = 0
        for extent in self._extents:
            if extent.start != front:
                break
            front = extent.end
        return front

    @property
    def origins(self) -> frozenset[str]:
        """Who supplied any of them."""
        return frozenset(extent.origin for extent in self._extents)

    def missing(self, size: int) -> Iterator[tuple[int, int]]:
        """The gaps up to a size, in order, each as its start and end."""
        position = 0
        for extent in self._extents:
            if extent.start > position:
                yield position, extent.start
            position = extent.end
        if position < size:
            yield position, size


def _start(extent: Extent) -> int:
    return extent.start

"""Which byte ranges of a file are there, and from which source. Pure: no disk access, no locks.

Adjacent ranges from the same source are merged, so the list stays short: :class:`Extents` has about one entry
per connection and change of source. Ends are exclusive throughout.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from modelfetch.lazy_dataclass import dataclass


@dataclass(slots=True)
class Extent:
    """A byte range that is there, from ``start`` to before ``end``, all from one source."""

    start: int
    end: int
    origin: str
    """Its source: ``kind host``."""


class Extents:
    """The byte ranges of one file that are there, sorted and without overlap.

    Attributes:
        total: Number of bytes that are there.
    """

    def __init__(self) -> None:
        self.total = 0
        self._extents: list[Extent] = []

    def add(self, start: int, end: int, origin: str) -> None:
        """Add a range.

        Raises:
            ValueError: A byte of it is there already.
        """
        at = self._index_for(start, end)
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
        """Remove a range; bytes of it that are not there are ignored."""
        kept: list[Extent] = []
        for extent in self._extents:
            left = Extent(extent.start, min(extent.end, start), extent.origin)
            right = Extent(max(extent.start, end), extent.end, extent.origin)
            kept += [part for part in (left, right) if part.start < part.end]
        self._extents = kept
        self.total = sum(extent.end - extent.start for extent in kept)

    def require_missing(self, start: int, end: int) -> None:
        """Check that no byte of a range is there.

        Raises:
            ValueError: One is.
        """
        self._index_for(start, end)

    def _index_for(self, start: int, end: int) -> int:
        """Return the list index at which a missing range belongs."""
        at = bisect_right(self._extents, start, key=_start)
        if (at and self._extents[at - 1].end > start) or (
            at < len(self._extents) and self._extents[at].start < end
        ):
            raise ValueError(f"bytes {start} to {end} are there already, at least some of them")
        return at

    def __iter__(self) -> Iterator[Extent]:
        """Yield the ranges in order; they change with the next call of :meth:`add` or :meth:`remove`."""
        return iter(self._extents)

    def covering(self, position: int) -> Extent | None:
        """The extent that holds the byte at a position, if it is there."""
        at = bisect_right(self._extents, position, key=_start)
        found = self._extents[at - 1] if at else None
        return found if found is not None and position < found.end else None

    @property
    def prefix_length(self) -> int:
        """Number of bytes from offset 0 up to the first gap."""
        front = 0
        for extent in self._extents:
            if extent.start != front:
                break
            front = extent.end
        return front

    @property
    def origins(self) -> frozenset[str]:
        """The sources of all ranges."""
        return frozenset(extent.origin for extent in self._extents)

    @property
    def parts(self) -> list[tuple[int, int, str]]:
        """A copy of the ranges, in order, each as its start, end and source."""
        return [(extent.start, extent.end, extent.origin) for extent in self._extents]

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

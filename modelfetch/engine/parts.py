"""Which source supplied which bytes of a file, as a short list for events. Pure functions.

A part is a byte range with its source. The disk has one entry for each change of source; a file that many
sources share chunk by chunk has thousands. Events have at most :data:`MAX_PARTS`: beyond that, the file is
divided into as many cells, and each cell has the source that supplied most of it. An example::

    ((0, 8000000, "mirror models.example"), (8000000, 82468078, "huggingface huggingface.co"))
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelfetch.engine.events import Part
    from modelfetch.engine.rate_limit import Clock
    from modelfetch.store import Partial

MAX_PARTS: Final = 64
"""Parts of one event at most. A strip of a file on a screen shows no more, and an event stays below 4 kB."""
PAUSE_FACTOR: Final = 50
"""A list stays valid for this many times the time that it took, so at most 2 % of the time goes into lists:
one of ten thousand ranges takes milliseconds."""


def label_of(source: str, host: str) -> str:
    """Return the name of a source as journals and parts have it: ``kind host``."""
    return f"{source} {host}".strip()


def parts_of(parts: tuple[Part, ...], received: int, label: str) -> tuple[Part, ...]:
    """Return the parts that an event is about.

    Args:
        parts: The parts that it lists; none if all bytes are from its own source.
        received: Bytes that are there.
        label: Its own source; empty if it has none, and so says nothing.
    """
    return parts or (((0, received, label),) if received and label else ())


def limited(parts: Iterable[Part], size: int) -> tuple[Part, ...]:
    """Return at most :data:`MAX_PARTS` parts.

    Args:
        parts: In order and without overlap.
        size: Bytes of the file.
    """
    found = tuple(parts)
    return found if len(found) <= MAX_PARTS else tuple(_merged(_cells(found, size)))


def unless_implied(parts: tuple[Part, ...], label: str) -> tuple[Part, ...]:
    """Return the parts for an event that names this source.

    Returns:
        Empty if this source supplied all bytes that are there, and no gap is before them: the event then says
        as much without a list.
    """
    is_implied = len(parts) == 1 and parts[0][0] == 0 and parts[0][2] == label
    return () if is_implied else parts


class FileParts:
    """The parts of a file under way. Used by the thread that reports its progress.

    Args:
        partial: The file.
        clock: Monotonic seconds.
    """

    def __init__(self, partial: Partial, clock: Clock) -> None:
        self._partial = partial
        self._clock = clock
        self._parts: tuple[Part, ...] = ()
        self._due_at = -math.inf

    def now(self, label: str) -> tuple[Part, ...]:
        """Return the parts for an event that names this source."""
        began = self._clock()
        if began >= self._due_at:
            self._parts = limited(self._partial.parts, self._partial.file.size)
            self._due_at = began + PAUSE_FACTOR * (self._clock() - began)
        return unless_implied(self._parts, label)


def amounts(parts: Iterable[Part]) -> Counter[str]:
    """Count the bytes of each source."""
    counts: Counter[str] = Counter()
    for start, end, label in parts:
        counts[label] += end - start
    return counts


def _cells(parts: Iterable[Part], size: int) -> Iterator[Part]:
    """Yield one part for each cell of a file that has any bytes: as long as these, from the cell's start."""
    edges = [size * number // MAX_PARTS for number in range(MAX_PARTS + 1)]
    counts: list[Counter[str]] = [Counter() for _ in range(MAX_PARTS)]
    cell = 0
    for start, end, label in parts:
        position = start
        while position < end:
            while edges[cell + 1] <= position:
                cell += 1
            upto = min(end, edges[cell + 1])
            counts[cell][label] += upto - position
            position = upto
    for number, count in enumerate(counts):
        if count:
            yield edges[number], edges[number] + count.total(), count.most_common(1)[0][0]


def _merged(parts: Iterable[Part]) -> Iterator[Part]:
    """Join adjacent parts that have one source."""
    last: Part | None = None
    for part in parts:
        if last is not None and (last[1], last[2]) == (part[0], part[2]):
            last = (last[0], part[1], last[2])
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last

"""Picks the pieces of a file that a reader of a swarm fetches next from the other sources. Pure.

Readers split each file: each begins with its own part, and takes from the end of the others' parts when it is
done. Bytes are fetched in units of whole pieces. One request for a unit wastes nothing when the swarm brings
the next piece meanwhile, while one for the whole rest of a file would.

Example: two readers, a file of 64 pieces and units of 4. The first one fetches pieces 0 to 3, 4 to 7 and so
on, the second one 32 to 35. A reader that is done with its half fetches 60 to 63 of the other half, if no
peer has them yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelfetch.swarm.file_pieces import FilePieces
    from modelfetch.swarm.rendezvous import ReaderPart

LEAST_UNIT: Final = 1 << 20
"""Fewest bytes of a unit: at 50 ms and 20 MiB/s a request of 1 MiB takes as long as the wait for it."""
MOST_UNIT: Final = 16 << 20
"""Most bytes of a unit: what two readers may fetch both, where their parts meet."""
UNITS: Final = 64
"""Units of a file between these two bounds, so that reading twice costs at most one or two percent."""
LOOKED_AT: Final = 64
"""Pieces that are looked at together. A file of 100 GB has 24,000 of them, and nearly always the first ones
decide: looking at all of them for each request took 27 ms, during which other connections wait."""
HELPED_FROM: Final = 8
"""Pieces of a file from which on a reader helps the others as soon as it is done with its own part. The
pieces that others are fetching are fetched twice then: too large a share of a smaller file."""
HELP_SECONDS: Final = 3.0
"""Seconds after which a reader fetches the others' parts of a smaller file, too."""

Needs = Callable[[Sequence[int]], Iterable[int]]
"""Returns those of some pieces that the swarm does not have, in their order."""


def unit(span: FilePieces) -> int:
    """Return how many pieces a reader fetches with one request."""
    size = min(MOST_UNIT, max(LEAST_UNIT, span.size // UNITS))
    return max(1, size // span.piece_length)


def choose(
    free: Sequence[tuple[int, int]],
    span: FilePieces,
    part: ReaderPart,
    needs: Needs,
    waited: float,
) -> tuple[int, int] | None:
    """Choose the next bytes to fetch.

    Args:
        free: The ranges of the file that no connection fetches, in order.
        span: The pieces of the file.
        part: What this reader reads.
        needs: See :data:`Needs`.
        waited: Seconds since this machine began to read the file.

    Returns:
        Start and end, in one of the free ranges; None while the swarm is expected to bring all the rest.
    """
    own = _own(span, part)
    begin = int(part.start * len(own))
    for pieces in (own[begin:], own[:begin]):
        if found := _beginning(_needed(free, span, pieces, needs), unit(span)):
            return _range(free, span, found)
    needed = set(_needed(free, span, span.pieces, needs))
    if not needed or (len(span.pieces) < HELPED_FROM and waited < HELP_SECONDS):
        return None
    behind = max(needed) + 1
    last = [piece for piece in range(behind - unit(span), behind) if piece in needed]
    return _range(free, span, last, backward=True)


def _own(span: FilePieces, part: ReaderPart) -> range:
    """Return the pieces that a reader reads first.

    The first part of the next file belongs to the next reader: else one of them would read all small files.
    """
    place, total = (part.index - span.first) % part.count, len(span.pieces)
    return span.pieces[-(-place * total // part.count) : -(-(place + 1) * total // part.count)]


def _needed(free: Sequence[tuple[int, int]], span: FilePieces, pieces: range, needs: Needs) -> Iterator[int]:
    """Yield those of some pieces that have a free byte, and that the swarm does not have, in order."""
    at = pieces.start
    for start, end in free:
        touched = span.touched(start, end)
        inside = range(max(at, touched.start), min(touched.stop, pieces.stop))
        for some in range(0, len(inside), LOOKED_AT):
            yield from needs(inside[some : some + LOOKED_AT])
        at = max(at, touched.stop)  # the next free range may begin in the same piece


def _beginning(pieces: Iterable[int], length: int) -> list[int]:
    """Return the first piece, and those after it within so many; no more are looked at than these."""
    found: list[int] = []
    for piece in pieces:
        if found and piece >= found[0] + length:
            break
        found.append(piece)
    return found


def _range(
    free: Sequence[tuple[int, int]], span: FilePieces, pieces: Sequence[int], *, backward: bool = False
) -> tuple[int, int] | None:
    """Return the first bytes of some pieces that are free and follow one another, or the last ones."""
    found: tuple[int, int] | None = None
    for piece in reversed(pieces) if backward else pieces:
        start, end = span.range_of(piece)
        inside = [(max(start, low), min(end, high)) for low, high in free if low < end and start < high]
        for low, high in reversed(inside) if backward else inside:
            if found is None:
                found = low, high
            elif found[1] == low:
                found = found[0], high
            elif high == found[0]:
                found = low, found[1]
            else:
                return found
    return found

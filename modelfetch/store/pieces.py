"""Bytes that came in ahead of a prefix, gathered until they are worth a line in the journal."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from modelfetch.store.journal import INTERVAL, Piece


class Pieces:
    """The runs of bytes that are being written ahead. Several threads may add, each to a run of its own."""

    def __init__(self) -> None:
        self._runs: dict[int, Piece] = {}
        """By their end, where the next bytes join them."""

    def put(self, start: int, data: bytes | memoryview, origin: str) -> Piece | None:
        """Add bytes that were written.

        Returns:
            The run they belong to, when it has become long enough; the next one begins behind it.
        """
        end = start + (len(data) if isinstance(data, bytes) else data.nbytes)
        run = self._runs.pop(start, None)
        if run is not None and run.origin == origin:
            grown = Piece(run.start, end, zlib.crc32(data, run.crc), origin)
        else:
            grown = Piece(start, end, zlib.crc32(data), origin)
        if grown.end - grown.start >= INTERVAL:
            return grown
        self._runs[end] = grown
        return None

    def rest(self) -> Iterator[Piece]:
        """The runs that did not become long enough."""
        return iter(self._runs.values())

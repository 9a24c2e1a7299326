"""Beginnings of chunks: what an answer brought of a chunk whose rest did not come.

A chunk is proven when all of it is there. But an answer may end anywhere: the connection was cut, or the
server sends ranges shorter than a chunk. What came of the last chunk is kept with its source. The next answer
of this source continues behind it. Any other source sends the whole chunk, so a wrong one has one sender.

Example, with chunks of 1 MiB and a server that sends 600 kB for each request::

    request from 0          600 kB of chunk 0 are kept
    request from 600,000    chunk 0 is complete, proven and written; 151 kB of chunk 1 are kept
    request from 1,200,000  ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

MOST: Final = 16
"""Beginnings that are kept: one for each connection to a file, and some that were given to another one. Each
is shorter than a chunk, so they take 16 MiB at most, or 32 for the largest chunks there are."""


class Beginning(NamedTuple):
    """The first bytes of a chunk."""

    address: str
    """Address of the source that sent them; see :attr:`modelfetch.sources.base.Offer.address`."""
    label: str
    """Name of the source in journals: ``kind host``."""
    data: bytes


class Beginnings:
    """The beginnings of the chunks of one file, by the offset of the chunk.

    Threads may share it without a lock: each method changes the dictionary in one step, and only the
    connection whose segment begins at an offset uses the entry of that offset.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Beginning] = {}

    @property
    def total(self) -> int:
        """Bytes of all beginnings."""
        return sum(len(each.data) for each in tuple(self._kept.values()))

    def keep(self, offset: int, beginning: Beginning) -> None:
        """Keep the beginning of the chunk at an offset; of too many, the oldest ones are dropped."""
        self._kept[offset] = beginning
        for oldest in tuple(self._kept)[:-MOST]:
            self._kept.pop(oldest, None)

    def length(self, offset: int, address: str) -> int:
        """Return how many bytes a source has sent of the chunk at an offset."""
        found = self._kept.get(offset)
        return len(found.data) if found is not None and found.address == address else 0

    def take(self, offset: int, address: str) -> bytes:
        """Take out what a source has sent of the chunk at an offset; what another one sent is dropped."""
        found = self._kept.pop(offset, None)
        return found.data if found is not None and found.address == address else b""

    def drop(self, address: str) -> None:
        """Drop all that a source has sent, because it sends wrong bytes."""
        for offset, each in tuple(self._kept.items()):
            if each.address == address:
                self._kept.pop(offset, None)

    def take_all(self) -> Iterator[tuple[int, Beginning]]:
        """Take all of them out, each with its offset."""
        kept, self._kept = self._kept, {}
        yield from kept.items()

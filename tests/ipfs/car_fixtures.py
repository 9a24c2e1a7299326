"""Blocks for the tests: read from the CAR files of other implementations, or kept by multihash.

The files are outside of the repository; tests that need them are skipped where they are absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.cid import Cid

FIXTURES = Path(__file__).parents[3] / "shared/fixtures/ipfs"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the CAR files are not here")


class Walk(Protocol):
    """What reads a DAG block by block."""

    @property
    def wanted(self) -> tuple[Cid, ...]: ...

    def add(self, block: bytes) -> bool: ...


def blocks_of(data: bytes) -> list[tuple[Cid, bytes]]:
    """All blocks of a complete CAR file, in order."""
    reader = CarReader()
    blocks = list(reader.feed(data))
    reader.finish()
    return blocks


class Blocks(dict[bytes, bytes]):
    """Blocks by multihash."""

    @classmethod
    def of(cls, blocks: Iterable[tuple[Cid, bytes]]) -> Blocks:
        return cls({cid.multihash: block for cid, block in blocks})

    @classmethod
    def read(cls, name: str) -> Blocks:
        """Read a fixture, such as ``boxo/dir-special-chars.car``."""
        return cls.of(blocks_of((FIXTURES / name).read_bytes()))

    def find(self, cid: Cid) -> bytes | None:
        return self.get(cid.multihash)

    def feed(self, walk: Walk) -> int:
        """Give a walk all it wants; returns the number of blocks. Stops at a block that is missing."""
        count = 0
        while wanted := [block for cid in walk.wanted if (block := self.find(cid)) is not None]:
            for block in wanted:
                assert walk.add(block)
            count += len(wanted)
        return count


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]

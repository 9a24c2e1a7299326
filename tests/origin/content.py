"""Contents to serve: known by size, produced piece by piece from any offset, never held whole.

Generated content is one 2 MiB pool of pseudo-random bytes per seed, read from another place in the pool
for each MiB. So any two MiB differ, 300 MB cost 2 MiB of memory, and pieces are views that are sent
without being copied: the origin stays faster than what it tests.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache

PIECE = 256 * 1024
BLOCK = 1 << 20
STRIDE = 648_053  # odd, hence coprime to BLOCK: no two of the first 2**20 blocks start at the same place

Pieces = Callable[[int, int], Iterator[memoryview]]


class Content:
    """Immutable bytes of a known size.

    Attributes:
        size: Length in bytes.
    """

    def __init__(self, size: int, pieces: Pieces) -> None:
        self.size = size
        self._pieces = pieces

    @classmethod
    def of(cls, data: bytes) -> Content:
        """The bytes given."""
        return cls(len(data), lambda start, stop: _cut(memoryview(data), start, stop))

    @classmethod
    def random(cls, seed: int | str, size: int) -> Content:
        """Bytes that depend on seed only; a shorter content is a prefix of a longer one of the same seed."""
        pool = _pool(seed, size)
        return cls(size, lambda start, stop: _shuffled(pool, start, stop))

    @classmethod
    def zeros(cls, size: int) -> Content:
        """Nothing but NUL bytes."""
        zero = memoryview(bytes(min(size, PIECE)))
        return cls(size, lambda start, stop: (zero[:n] for n in _lengths(start, stop)))

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[memoryview]:
        """The bytes [start, stop) in order, in pieces of at most 256 KiB."""
        return self._pieces(start, self.size if stop is None else min(stop, self.size))

    def window(self, start: int, stop: int) -> Content:
        """The bytes [start, stop) as a content of their own."""
        stop = max(start, min(stop, self.size))
        return Content(stop - start, lambda a, b: self._pieces(start + a, start + b))

    def flipped(self, at: int, bit: int = 0) -> Content:
        """The same bytes with one bit of byte number `at` turned over."""
        return Content(self.size, lambda start, stop: _flipped(self._pieces(start, stop), at - start, bit))

    def followed_by(self, other: Content) -> Content:
        """These bytes, then those of another content."""

        def pieces(start: int, stop: int) -> Iterator[memoryview]:
            yield from self._pieces(start, min(stop, self.size))
            yield from other.pieces(max(start - self.size, 0), max(stop - self.size, 0))

        return Content(self.size + other.size, pieces)

    @property
    def data(self) -> bytes:
        """All bytes at once; for small contents."""
        return b"".join(self.pieces())

    @cached_property
    def sha256(self) -> str:
        """SHA-256, 64 hex digits; computed once."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    @property
    def cid(self) -> str:
        """The CIDv1 of the bytes as one raw block (codec 0x55, sha2-256)."""
        return cid(0x55, self.sha256)


EMPTY = Content.of(b"")


def cid(codec: int, sha256: str) -> str:
    """CIDv1 in base32 of a SHA-256 digest."""
    binary = bytes((1, codec, 0x12, 0x20)) + bytes.fromhex(sha256)
    return "b" + base64.b32encode(binary).decode().lower().rstrip("=")


def _pool(seed: int | str, size: int) -> memoryview:
    return _kept_pool(str(seed), size if size <= BLOCK else 2 * BLOCK)


@lru_cache(maxsize=16)
def _kept_pool(seed: str, length: int) -> memoryview:
    """The pool, kept: it takes up to 5 ms, and many tests in a row serve the same content."""
    return memoryview(hashlib.shake_128(seed.encode()).digest(length))


def _lengths(start: int, stop: int) -> Iterator[int]:
    return (min(PIECE, stop - at) for at in range(start, stop, PIECE))


def _cut(data: memoryview, start: int, stop: int) -> Iterator[memoryview]:
    return (data[at : min(at + PIECE, stop)] for at in range(start, stop, PIECE))


def _shuffled(pool: memoryview, start: int, stop: int) -> Iterator[memoryview]:
    while start < stop:
        block, offset = divmod(start, BLOCK)
        length = min(PIECE, stop - start, BLOCK - offset)
        at = block * STRIDE % BLOCK + offset
        yield pool[at : at + length]
        start += length


def _flipped(pieces: Iterator[memoryview], at: int, bit: int) -> Iterator[memoryview]:
    for piece in pieces:
        yield _with_flipped_bit(piece, at, bit) if 0 <= at < len(piece) else piece
        at -= len(piece)


def _with_flipped_bit(piece: memoryview, at: int, bit: int) -> memoryview:
    changed = bytearray(piece)
    changed[at] ^= 1 << bit
    return memoryview(changed)

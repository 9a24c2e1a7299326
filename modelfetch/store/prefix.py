"""How much of an interrupted download is good: its bytes read again, against its journal."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import Protocol, Self

from modelfetch.store.files import BLOCK
from modelfetch.store.journal import Checkpoint, Piece
from modelfetch.values import dataclass


class Hasher(Protocol):
    """A running SHA-256, as :mod:`hashlib` makes them."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in more bytes."""

    def copy(self) -> Self:
        """Branch off, with the same bytes taken in."""

    def hexdigest(self) -> str:
        """Give the digest of the bytes so far; more may follow."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of a file that is known to be as it was written."""

    hasher: Hasher = field(default_factory=hashlib.sha256)
    checkpoints: tuple[Checkpoint, ...] = ()
    """Those of the journal up to and with the last one that matched."""

    @property
    def length(self) -> int:
        """Bytes."""
        return self.checkpoints[-1].length if self.checkpoints else 0


def rehash(
    read: Callable[[int], bytes], checkpoints: tuple[Checkpoint, ...], cancelled: Callable[[], bool]
) -> Prefix:
    """Hash a file from its start and find the last checkpoint that its bytes agree with.

    Args:
        read: Reads on, at most the given number of bytes; empty at the end of the file.
        checkpoints: What the journal says, in growing length.
        cancelled: Asked before each block; the prefix ends early then, and nothing is lost.
    """
    hasher = hashlib.sha256()
    good = Prefix()
    length = 0
    for index, checkpoint in enumerate(checkpoints):
        for block in blocks(read, checkpoint.length - length, cancelled):
            hasher.update(block)
            length += len(block)
        if length < checkpoint.length:
            break
        if hasher.hexdigest() == checkpoint.digest:
            good = Prefix(hasher.copy(), checkpoints[: index + 1])
    return good


def good_pieces(
    read: Callable[[int, int], Iterable[bytes]], pieces: Iterable[Piece], cancelled: Callable[[], bool]
) -> Iterator[Piece]:
    """Find the pieces whose bytes agree with the journal.

    Args:
        read: Reads the bytes from one position up to another; fewer at the end of the file or when cancelled.
        pieces: What the journal says.
        cancelled: Asked before each piece; the rest counts as bad then, and nothing is lost.
    """
    for piece in pieces:
        if cancelled():
            return
        crc, length = 0, 0
        for block in read(piece.start, piece.end):
            crc, length = zlib.crc32(block, crc), length + len(block)
        if (length, crc) == (piece.end - piece.start, piece.crc):
            yield piece


def blocks(read: Callable[[int], bytes], size: int, cancelled: Callable[[], bool]) -> Iterable[bytes]:
    """Read a number of bytes, a block at a time; fewer at the end of the file or when cancelled."""
    while size and not cancelled() and (block := read(min(BLOCK, size))):
        yield block
        size -= len(block)

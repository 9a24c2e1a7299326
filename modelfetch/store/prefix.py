"""How far a file is hashed from its start on, and what earlier runs said about the bytes to come."""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol, Self

from modelfetch.lazy_dataclass import dataclass
from modelfetch.store.journal import INTERVAL, Checkpoint, Journal, Piece


class Hasher(Protocol):
    """A running SHA-256, as :mod:`hashlib` makes them."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take in more bytes."""

    def copy(self) -> Self:
        """Branch off, with the same bytes taken in."""

    def hexdigest(self) -> str:
        """Give the digest of the bytes so far; more may follow."""


class Lines(Protocol):
    """The end of a journal."""

    def append(self, statement: Checkpoint | Piece) -> None:
        """Add a line."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Bytes that are there if what a journal says is true; they are read again to find out."""

    start: int
    end: int
    statement: Checkpoint | Piece
    """What it says. A piece may begin before ``start``, where a checkpoint speaks of the same bytes."""

    @property
    def origin(self) -> str:
        """Who supplied them: ``kind host``."""
        return self.statement.origin


def claims(journal: Journal) -> Iterator[Claim]:
    """What a journal says, in order and without overlap."""
    position = 0
    for checkpoint in journal.checkpoints:
        yield Claim(position, checkpoint.length, checkpoint)
        position = checkpoint.length
    for piece in journal.pieces_after(position):
        yield Claim(max(piece.start, position), piece.end, piece)


class Prefix:
    """The hash of a file from its start on, and the lines it leaves in the journal.

    Claims are checked as their bytes come by. Where one is false the hash goes back to its beginning, and its
    bytes are as if they had never been there. Where several that are follow each other, twice as many are
    given up each time: a long stretch that a power cut took is fetched in a few requests.

    One thread at a time may hash; any may look at the length.

    Args:
        journal: Gets a line now and then.
        read: Reads bytes of the file, from one position up to another.

    Attributes:
        length: Bytes that are hashed.
    """

    def __init__(self, journal: Lines, read: Callable[[int, int], bytes]) -> None:
        self.length = 0
        self._journal = journal
        self._read = read
        self._hasher: Hasher = hashlib.sha256()
        self._checkpointed = 0
        self._origin = ""
        self._claims: deque[Claim] = deque()
        self._current: Claim | None = None
        """The claim whose bytes are coming by."""
        self._hasher_before: Hasher = self._hasher
        """As it was at its beginning."""
        self._crc = 0
        """Of what came of it, if it is a piece."""
        self._claims_to_drop = 1
        """Claims to give up with the next one that is false, itself included."""

    def expect(self, claim: Claim) -> None:
        """Check a claim when its bytes come by; it lies behind all others."""
        self._claims.append(claim)

    def skip_lines(self, length: int) -> None:
        """Write no line for less than this: the journal has them."""
        self._checkpointed = length

    @property
    def next_stop(self) -> int:
        """Where the bytes that are taken in next must end at the latest."""
        line = self._checkpointed + INTERVAL
        if not self._claims:
            return line
        claim = self._claims[0]
        return min(line, claim.start if self.length < claim.start else claim.end)

    def hexdigest(self) -> str:
        """Give the SHA-256 of what is hashed."""
        return self._hasher.hexdigest()

    def add(self, data: bytes | memoryview, origin: str) -> tuple[int, int] | None:
        """Hash the next bytes.

        Args:
            data: The bytes.
            origin: Who supplied them: ``kind host``.

        Returns:
            The start and end of bytes that are not there after all, if these showed that a claim is false.

        Raises:
            StoreError: The disk refused.
        """
        if origin != self._origin:
            self.checkpoint()  # so that it is known exactly who supplied what
        end = self.length + (len(data) if isinstance(data, bytes) else data.nbytes)
        claim = self._claim(end)
        self._hasher.update(data)
        if claim is not None and not self._is_confirmed(claim, data, end):
            self._hasher, self.length = self._hasher_before, claim.start
            return claim.start, self._drop_claims(claim)
        self.length, self._origin = end, origin
        if self.length - self._checkpointed >= INTERVAL:
            self.checkpoint()
        return None

    def checkpoint(self) -> None:
        """Have the journal say what is hashed.

        Raises:
            StoreError: The disk refused.
        """
        if self.length > self._checkpointed:
            self._journal.append(Checkpoint(self.length, self.hexdigest(), self._origin))
            self._checkpointed = self.length

    def _claim(self, end: int) -> Claim | None:
        """The claim that speaks of the bytes up to ``end``; one that speaks of more or less is forgotten."""
        claim = self._claims[0] if self._claims else None
        if claim is None or end <= claim.start:
            return None
        if self.length == claim.start:
            self._begin(claim)
        if claim is not self._current or end > claim.end:
            self._claims.popleft()  # others have written there
            return None
        return claim

    def _begin(self, claim: Claim) -> None:
        self._current, self._hasher_before = claim, self._hasher.copy()
        if isinstance(claim.statement, Piece):
            self._crc = zlib.crc32(self._read(claim.statement.start, claim.start))

    def _is_confirmed(self, claim: Claim, data: bytes | memoryview, end: int) -> bool:
        """Whether nothing speaks against a claim, now that these bytes were hashed."""
        statement = claim.statement
        if isinstance(statement, Piece):
            self._crc = zlib.crc32(data, self._crc)
        if end < claim.end:
            return True
        self._claims.popleft()
        if isinstance(statement, Piece):
            is_true = self._crc == statement.crc
        else:
            is_true = self.hexdigest() == statement.digest
        self._claims_to_drop = 1 if is_true else self._claims_to_drop
        return is_true

    def _drop_claims(self, false: Claim) -> int:
        """Forget claims right behind a false one, as many as are in doubt; where the last one ends."""
        end = false.end
        for _ in range(self._claims_to_drop - 1):
            if not self._claims or self._claims[0].start != end:
                break
            end = self._claims.popleft().end
        self._claims_to_drop *= 2
        return end

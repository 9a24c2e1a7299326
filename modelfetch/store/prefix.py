"""The running hash of a file's prefix, and the claims of earlier runs that it is checked against.

A journal's lines become claims. While the prefix is hashed, each claim is compared with the bytes it is
about; a false one makes its bytes count as missing. New checkpoints are written every
:data:`modelfetch.store.journal_format.INTERVAL` bytes, and whenever the source changes.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, Self

from modelfetch.lazy_dataclass import dataclass
from modelfetch.store.chunk_digests import ChunkHasher
from modelfetch.store.journal_format import INTERVAL, Checkpoint, Journal, Piece

if TYPE_CHECKING:
    from modelfetch.ipfs.file_tree import Built


class Hasher(Protocol):
    """A running SHA-256, as returned by :func:`hashlib.sha256` or :class:`.ChunkHasher`."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Hash more bytes."""

    def copy(self) -> Self:
        """Return a copy of the current state."""

    def hexdigest(self) -> str:
        """Return the digest of the bytes so far; more may follow."""


class Lines(Protocol):
    """A journal that lines can be appended to."""

    def append(self, statement: Checkpoint | Piece) -> None:
        """Append a line."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A range of bytes that is there if a line of a journal is true; it is read again to check that."""

    start: int
    end: int
    statement: Checkpoint | Piece
    """The line. A piece may begin before ``start``, if a checkpoint covers its first bytes."""

    @property
    def origin(self) -> str:
        """The source of the bytes: ``kind host``."""
        return self.statement.origin


def claims(journal: Journal) -> Iterator[Claim]:
    """Yield the claims of a journal, in order and without overlap."""
    position = 0
    for checkpoint in journal.checkpoints:
        yield Claim(position, checkpoint.length, checkpoint)
        position = checkpoint.length
    for piece in journal.pieces_after(position):
        yield Claim(max(piece.start, position), piece.end, piece)


class Prefix:
    """The running hash of a file's prefix, which also writes the checkpoints.

    A claim is checked when its last byte is hashed. If it is false, the hash is reset to the start of the
    claim, and its bytes count as missing. After consecutive false claims, twice as many are dropped each
    time: a long range that a power cut has lost is then fetched in a few requests, not one per claim.

    Only one thread at a time may hash; any thread may read the length.

    Args:
        journal: Receives the checkpoints.
        read: Reads bytes of the file, from a start to an end.
        hasher: Hashes the prefix; new, or nothing was hashed with it yet.

    Attributes:
        length: Bytes hashed so far.
    """

    def __init__(self, journal: Lines, read: Callable[[int, int], bytes], hasher: Hasher) -> None:
        self.length = 0
        self._journal = journal
        self._read = read
        self._hasher = hasher
        self._checkpointed = 0
        self._origin = ""
        self._claims: deque[Claim] = deque()
        self._current: Claim | None = None
        """The claim whose bytes are being hashed."""
        self._hasher_before = hasher
        """State of the hash at the start of that claim."""
        self._crc = 0
        """CRC of the claim's bytes so far, if it is a piece."""
        self._claims_to_drop = 1
        """How many claims to drop at the next false one, itself included."""

    def expect(self, claim: Claim) -> None:
        """Check a claim when its bytes are hashed; it must come after all earlier claims."""
        self._claims.append(claim)

    def skip_lines(self, length: int) -> None:
        """Write no checkpoints up to this length: the journal has them already."""
        self._checkpointed = length

    @property
    def next_stop(self) -> int:
        """The latest end for the next block: a claim or a checkpoint must not end within a block."""
        line = self._checkpointed + INTERVAL
        if not self._claims:
            return line
        claim = self._claims[0]
        return min(line, claim.start if self.length < claim.start else claim.end)

    def hexdigest(self) -> str:
        """Return the SHA-256 of the bytes hashed so far."""
        return self._hasher.hexdigest()

    def tree(self) -> Built | None:
        """Build the UnixFS tree of what is hashed; None if chunks were not hashed. No bytes may follow."""
        return self._hasher.tree() if isinstance(self._hasher, ChunkHasher) else None

    def add(self, data: bytes | memoryview, origin: str) -> tuple[int, int] | None:
        """Hash the next bytes.

        Args:
            data: The bytes.
            origin: Their source: ``kind host``.

        Returns:
            The start and end of the bytes that count as missing again, if a claim turned out to be false.

        Raises:
            StoreError: The disk refused.
        """
        if origin != self._origin:
            self.checkpoint()  # a line has one origin: a wrong byte must be blamed on the right source
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
        """Write a checkpoint of what is hashed, unless there is one.

        Raises:
            StoreError: The disk refused.
        """
        if self.length > self._checkpointed:
            self._journal.append(Checkpoint(self.length, self.hexdigest(), self._origin))
            self._checkpointed = self.length

    def _claim(self, end: int) -> Claim | None:
        """The claim that covers the bytes up to ``end``; one that they do not fit into is dropped."""
        claim = self._claims[0] if self._claims else None
        if claim is None or end <= claim.start:
            return None
        if self.length == claim.start:
            self._begin(claim)
        if claim is not self._current or end > claim.end:
            self._claims.popleft()  # the bytes were written anew, in other blocks
            return None
        return claim

    def _begin(self, claim: Claim) -> None:
        self._current, self._hasher_before = claim, self._hasher.copy()
        if isinstance(claim.statement, Piece):
            self._crc = zlib.crc32(self._read(claim.statement.start, claim.start))

    def _is_confirmed(self, claim: Claim, data: bytes | memoryview, end: int) -> bool:
        """Whether a claim is consistent with the bytes so far; it is decided with its last byte."""
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
        """Drop the claims that directly follow a false one; the end of the last one dropped."""
        end = false.end
        for _ in range(self._claims_to_drop - 1):
            if not self._claims or self._claims[0].start != end:
                break
            end = self._claims.popleft().end
        self._claims_to_drop *= 2
        return end

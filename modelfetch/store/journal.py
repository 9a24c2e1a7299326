"""The journal of a partial: what a run believed about the bytes it had written.

Pure: text to values and back. Append-only lines. The first names format, digest and size; each further one
is a checkpoint of the prefix, or a piece that came in ahead of it::

    modelfetch-journal 1 <sha256 of the whole file> <size>
    <length> <sha256 of the first length bytes> "<origin>" <crc32 of the line>
    <start>-<end> <crc32 of these bytes> "<origin>" <crc32 of the line>

Nothing here is believed for good: the next run reads the bytes again, beside its transfer, and compares them
with each line. So torn lines, holes after a power cut and foreign journals cost time, never a wrong byte, and
no order of syncs is needed. That is also why the journal itself is never synced. A piece has only a CRC: its
bytes are hashed with the whole file in the end, and a CRC takes half the time of a hash.

Bytes that came in ahead of a prefix, gathered until they are worth a line in the journal.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import FileSpec
from modelfetch.model.text import sanitise

FORMAT: Final = 1

INTERVAL: Final = 1 << 20
"""Bytes between two lines, and so the most a killed run has to fetch again from each connection."""

LIMIT: Final = 64 << 20
"""Bytes of the longest journal worth reading: a checkpoint takes some 100 bytes, so that of 600 GB."""

_HEADER: Final = re.compile(rb"modelfetch-journal ([0-9]{1,9})(?: [^\n]*)?(?:\n|\Z)")
_ABOUT: Final = re.compile(rb"modelfetch-journal [0-9]{1,9} ([0-9a-f]{64}) ([0-9]{1,19})\n")
_LINE: Final = re.compile(rb'(([0-9]{1,19}) ([0-9a-f]{64}) ("[ -~]*")) ([0-9a-f]{8})')
_PIECE: Final = re.compile(rb'(([0-9]{1,19})-([0-9]{1,19}) ([0-9a-f]{8}) ("[ -~]*")) ([0-9a-f]{8})')


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One statement about a prefix."""

    length: int
    """Bytes of the prefix."""
    digest: str
    """Its SHA-256 in hexadecimal."""
    origin: str
    """Who supplied the bytes since the checkpoint before: ``kind host``."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One statement about bytes that are not, or were not then, part of the prefix."""

    start: int
    end: int
    """Without the byte at it."""
    crc: int
    """CRC-32 of the bytes, as :func:`zlib.crc32` computes it."""
    origin: str
    """Who supplied them: ``kind host``."""


@dataclass(frozen=True, slots=True)
class Journal:
    """What could be read of a journal."""

    checkpoints: tuple[Checkpoint, ...] = ()
    """Of growing length, none beyond the file's size."""
    pieces: tuple[Piece, ...] = ()
    """In the order of their places, none beyond the file's size, no two with a byte in common."""
    end: int = 0
    """Bytes up to the end of its last whole line; 0 where it says nothing about this file."""

    @property
    def claimed(self) -> int:
        """Bytes the journal says are there."""
        prefix = self.checkpoints[-1].length if self.checkpoints else 0
        return prefix + sum(piece.end - max(piece.start, prefix) for piece in self.pieces_after(prefix))

    def pieces_after(self, length: int) -> Iterator[Piece]:
        """Those with bytes behind a prefix of this length."""
        return (piece for piece in self.pieces if piece.end > length)


def header(file: FileSpec) -> bytes:
    """Make the first line."""
    return f"modelfetch-journal {FORMAT} {file.sha256} {file.size}\n".encode("ascii")


def line(statement: Checkpoint | Piece) -> bytes:
    """Make the line of a checkpoint or a piece."""
    if isinstance(statement, Checkpoint):
        what = f"{statement.length} {statement.digest}"
    else:
        what = f"{statement.start}-{statement.end} {statement.crc:08x}"
    facts = f"{what} {_quoted(statement.origin)}".encode("ascii")
    return b"%b %08x\n" % (facts, zlib.crc32(facts))


@lru_cache
def _quoted(origin: str) -> str:
    return json.dumps(sanitise(origin))


def is_foreign(content: bytes) -> bool:
    """Whether a journal has a format this version does not know, so that it and its data are left alone."""
    found = _HEADER.match(content)
    return found is not None and int(found[1]) != FORMAT


def parse(content: bytes, file: FileSpec) -> Journal:
    """Read a journal; what is torn, damaged or about another file is as if it were not there."""
    first = header(file)
    if not content.startswith(first):
        return Journal()
    checkpoints: list[Checkpoint] = []
    pieces: list[Piece] = []
    length = 0
    for text in content[len(first) :].split(b"\n")[:-1]:
        statement = _statement(text)
        if isinstance(statement, Piece):
            pieces.append(statement)
        elif statement is not None and length < statement.length <= file.size:
            checkpoints.append(statement)
            length = statement.length
    return Journal(tuple(checkpoints), tuple(_without_overlaps(pieces, file.size)), content.rindex(b"\n") + 1)


def parse_any(content: bytes) -> Journal:
    """Read a journal about a file of which nothing else is known."""
    about = _ABOUT.match(content)
    if about is None:
        return Journal()
    return parse(content, FileSpec("", int(about[2]), about[1].decode("ascii")))


def _statement(text: bytes) -> Checkpoint | Piece | None:
    match = _LINE.fullmatch(text) or _PIECE.fullmatch(text)
    if match is None or zlib.crc32(match[1]) != int(match[match.re.groups], 16):
        return None
    try:
        origin = json.loads(match[match.re.groups - 1])
    except ValueError:
        return None
    if match.re is _PIECE:
        return Piece(int(match[2]), int(match[3]), int(match[4], 16), origin)
    return Checkpoint(int(match[2]), match[3].decode("ascii"), origin)


def _without_overlaps(pieces: list[Piece], size: int) -> Iterator[Piece]:
    """Those within the file that do not overlap, in the order of their places."""
    position = 0
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if position <= piece.start < piece.end <= size:
            yield piece
            position = piece.end


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

"""The journal of a partial: which bytes a run wrote, with checksums. Pure: text to values and back.

Lines are only appended. The first one gives format, digest and size. Each further line is a checkpoint of the
prefix, or a piece that was written behind a gap::

    modelfetch-journal 1 <sha256 of the whole file> <size>
    <length> <sha256 of the first length bytes> "<origin>" <crc32 of the line>
    <start>-<end> <crc32 of these bytes> "<origin>" <crc32 of the line>

Every line is only a claim: the next run reads the bytes again, during its transfer, and compares them with
the line. So torn lines, holes after a power cut and journals of other files cost time, but never yield wrong
bytes. For the same reason the journal is never synced, and its order relative to the data does not matter. A
piece has only a CRC, which takes half the time of a hash: its bytes are hashed with the whole file later.

:class:`Pieces` collects bytes behind a gap until there are enough for a line.
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
from modelfetch.model.text import sanitize

FORMAT: Final = 1

INTERVAL: Final = 1 << 20
"""Bytes between two lines, and so the most that is fetched again per connection after a killed run."""

LIMIT: Final = 64 << 20
"""Most bytes read of a journal. A checkpoint takes some 100 bytes, so this is enough for a file of 600 GB."""

_HEADER: Final = re.compile(rb"modelfetch-journal ([0-9]{1,9})(?: [^\n]*)?(?:\n|\Z)")
_ABOUT: Final = re.compile(rb"modelfetch-journal [0-9]{1,9} ([0-9a-f]{64}) ([0-9]{1,19})\n")
_LINE: Final = re.compile(rb'(([0-9]{1,19}) ([0-9a-f]{64}) ("[ -~]*")) ([0-9a-f]{8})')
_PIECE: Final = re.compile(rb'(([0-9]{1,19})-([0-9]{1,19}) ([0-9a-f]{8}) ("[ -~]*")) ([0-9a-f]{8})')


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A claim about a prefix."""

    length: int
    """Bytes of the prefix."""
    digest: str
    """Its SHA-256 in hexadecimal."""
    origin: str
    """The source of the bytes since the previous checkpoint: ``kind host``."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A claim about bytes that were not part of the prefix when the line was written."""

    start: int
    end: int
    """Exclusive."""
    crc: int
    """CRC-32 of the bytes, as :func:`zlib.crc32` computes it."""
    origin: str
    """Their source: ``kind host``."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The valid lines of a journal."""

    checkpoints: tuple[Checkpoint, ...] = ()
    """Of increasing length, none beyond the file's size."""
    pieces: tuple[Piece, ...] = ()
    """Sorted by start, none beyond the file's size, without overlap."""
    end: int = 0
    """Length of the journal in bytes up to its last complete line; 0 if it is about another file."""

    @property
    def claimed(self) -> int:
        """The number of bytes the journal claims."""
        prefix = self.checkpoints[-1].length if self.checkpoints else 0
        return prefix + sum(piece.end - max(piece.start, prefix) for piece in self.pieces_after(prefix))

    def pieces_after(self, length: int) -> Iterator[Piece]:
        """The pieces that reach beyond a prefix of this length."""
        return (piece for piece in self.pieces if piece.end > length)


def header(file: FileSpec) -> bytes:
    """Format the first line."""
    return f"modelfetch-journal {FORMAT} {file.sha256} {file.size}\n".encode("ascii")


def line(statement: Checkpoint | Piece) -> bytes:
    """Format the line of a checkpoint or a piece."""
    if isinstance(statement, Checkpoint):
        what = f"{statement.length} {statement.digest}"
    else:
        what = f"{statement.start}-{statement.end} {statement.crc:08x}"
    facts = f"{what} {_quoted(statement.origin)}".encode("ascii")
    return b"%b %08x\n" % (facts, zlib.crc32(facts))


@lru_cache
def _quoted(origin: str) -> str:
    return json.dumps(sanitize(origin))


def is_foreign(content: bytes) -> bool:
    """Whether a journal has a format unknown to this version; it and its data must then not be changed."""
    found = _HEADER.match(content)
    return found is not None and int(found[1]) != FORMAT


def parse(content: bytes, file: FileSpec) -> Journal:
    """Parse a journal; lines that are torn or damaged, and journals of other files, are ignored."""
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
    """Parse a journal for whatever file its first line names."""
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
    """Yield the pieces within the file by start, leaving out those that overlap an earlier one."""
    position = 0
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if position <= piece.start < piece.end <= size:
            yield piece
            position = piece.end


class Pieces:
    """Runs of bytes written behind a gap. Several threads may add bytes, each to a run of its own."""

    def __init__(self) -> None:
        self._runs: dict[int, Piece] = {}
        """By their end, where the next write of the same connection continues them."""

    def put(self, start: int, data: bytes | memoryview, origin: str) -> Piece | None:
        """Add bytes that were written.

        Returns:
            The run they belong to, if it has reached :data:`INTERVAL`; later bytes begin a new run.
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

    def unfinished(self) -> Iterator[Piece]:
        """The runs shorter than :data:`INTERVAL`, for the lines written on close."""
        return iter(self._runs.values())

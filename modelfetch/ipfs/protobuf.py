"""The rules of the protobuf wire format that dag-pb nodes and UnixFS messages need.

A message is a sequence of fields, each a key and a value; the key is a varint of field number and wire type.
In ``12 03 61 62 63``, the key ``12`` is field 2 with wire type 2, followed by a length and three bytes.
Whether a field may be repeated, and what happens to unknown ones, is for the reader of the message to decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from modelfetch.ipfs import varint
from modelfetch.ipfs.errors import MalformedError

# Wire types (protobuf encoding specification); 3 and 4 are groups, which are obsolete.
VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

_FIXED: Final = {FIXED64: 8, FIXED32: 4}
_NUMBER_LIMIT: Final = 2**29 - 1
"""Largest field number (protobuf encoding specification)."""


def read_fields(message: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Read the fields of a message in order, without interpreting them.

    Yields:
        Field number, wire type and value: bytes with ``BYTES``, with the others a number of up to 64 bits.

    Raises:
        MalformedError: The message is truncated, or a number or a wire type is not allowed. The types 3 and 4
            (groups) are obsolete, and 6 and 7 do not exist.
    """
    position, end = 0, len(message)
    while position < end:
        key = message[position]
        position += 1
        if key >= 0x80:
            key, position = varint.read_uint64(message, position - 1)
        number, wire = key >> 3, key & 7
        if not 0 < number <= _NUMBER_LIMIT:
            raise MalformedError(f"field number {number} is not allowed")
        value: int | bytes
        if wire == BYTES:
            value, position = _read_bytes(message, position)
        elif wire == VARINT:
            value, position = varint.read_uint64(message, position)
        else:
            value, position = _read_fixed(message, position, wire)
        yield number, wire, value


def _read_bytes(message: bytes, position: int) -> tuple[bytes, int]:
    # Nearly all lengths have one byte; the call would double the time that a node takes.
    if position < len(message) and message[position] < 0x80:
        length, start = message[position], position + 1
    else:
        length, start = varint.read_uint64(message, position)
    stop = start + length
    if stop > len(message):
        raise MalformedError(f"a field of {length} bytes is truncated to {len(message) - start}")
    return message[start:stop], stop


def _read_fixed(message: bytes, position: int, wire: int) -> tuple[int, int]:
    width = _FIXED.get(wire)
    if width is None:
        raise MalformedError(f"wire type {wire} is not allowed")
    stop = position + width
    if stop > len(message):
        raise MalformedError(f"a field of {width} bytes is truncated to {len(message) - position}")
    return int.from_bytes(message[position:stop], "little"), stop


def bytes_field(number: int, value: bytes) -> bytes:
    """Encode a field of bytes, a text or a nested message."""
    return varint.encode(number << 3 | BYTES) + varint.encode(len(value)) + value


def varint_field(number: int, value: int) -> bytes:
    """Encode a field that is a number."""
    return varint.encode(number << 3 | VARINT) + varint.encode(value)

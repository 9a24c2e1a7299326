"""Unsigned varints: numbers of variable length, in CIDs, CAR files and protobuf messages.

Seven bits per byte, the lowest first; every byte but the last has its high bit set. 300 is ``ac 02``.

CIDs and CAR files use the multiformats variant: at most nine bytes, and only the shortest form is valid, so
that a CID has one binary form. Protobuf has numbers of 64 bits, which take up to ten bytes, and its readers
accept longer forms than necessary.
"""

from __future__ import annotations

from typing import Final

from modelfetch.ipfs.errors import MalformedError

LIMIT: Final = 9
"""Longest varint of a CID or CAR file, in bytes (multiformats unsigned-varint)."""
UINT64_LIMIT: Final = 10
"""Longest varint of a protobuf message, in bytes: 64 bits by seven, rounded up."""


def encode(value: int) -> bytes:
    """Encode a number that is not negative, in the shortest form."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read(data: bytes, position: int = 0) -> tuple[int, int]:
    """Decode a varint of a CID or CAR file.

    Args:
        data: Bytes that contain the varint; others may follow.
        position: Index of its first byte.

    Returns:
        The number, and the index of the byte after it.

    Raises:
        MalformedError: The data ends inside the varint, or it is too long or not in its shortest form.
    """
    value, end = _read(data, position, LIMIT)
    if end - position > 1 and data[end - 1] == 0:
        raise MalformedError("varint is not in its shortest form")
    return value, end


def read_uint64(data: bytes, position: int = 0) -> tuple[int, int]:
    """Decode a varint of a protobuf message; like :func:`read`, but for its limit and longer forms.

    Raises:
        MalformedError: The data ends inside the varint, or the number exceeds 64 bits.
    """
    value, end = _read(data, position, UINT64_LIMIT)
    if value >> 64:
        raise MalformedError("varint exceeds 64 bits")
    return value, end


def _read(data: bytes, position: int, limit: int) -> tuple[int, int]:
    value = shift = 0
    for byte in data[position : position + limit]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise MalformedError("ends inside a varint" if shift < limit * 7 else "varint is too long")

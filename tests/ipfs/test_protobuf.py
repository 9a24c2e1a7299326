"""The wire format: every type, and every way to be cut short or out of bounds."""

import random

import pytest

from modelfetch.ipfs import protobuf
from modelfetch.ipfs.errors import MalformedError


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("", []),
        ("0801", [(1, 0, 1)]),
        ("12036162630800", [(2, 2, b"abc"), (1, 0, 0)]),
        ("1200", [(2, 2, b"")]),
        ("128001" + "61" * 128, [(2, 2, b"a" * 128)]),
        ("128100" + "61", [(2, 2, b"a")]),
        ("0d01000000", [(1, 5, 1)]),
        ("09ffffffffffffffff", [(1, 1, 2**64 - 1)]),
        ("08ffffffffffffffffff01", [(1, 0, 2**64 - 1)]),
        ("820100", [(16, 2, b"")]),
        ("f8ffffff0f00", [(2**29 - 1, 0, 0)]),
    ],
)
def test_fields_are_read_in_order(message: str, fields: list[tuple[int, int, int | bytes]]) -> None:
    assert list(protobuf.read_fields(bytes.fromhex(message))) == fields


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("08", "ends inside a varint"),
        ("0880", "ends inside a varint"),
        ("80", "ends inside a varint"),
        ("08" + "ff" * 9 + "02", "exceeds 64 bits"),
        ("08" + "80" * 10 + "00", "too long"),
        ("12", "ends inside a varint"),
        ("1203" + "6162", "3 bytes is truncated to 2"),
        ("12ffffffffffffffffff01", "18446744073709551615 bytes is truncated to 0"),
        ("0d010000", "4 bytes is truncated to 3"),
        ("09", "8 bytes is truncated to 0"),
        ("0b", "wire type 3"),
        ("0c", "wire type 4"),
        ("0e", "wire type 6"),
        ("0f", "wire type 7"),
        ("0001", "field number 0"),
        ("80808080" + "1000", "field number 536870912"),
    ],
)
def test_anything_else_is_refused(message: str, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        list(protobuf.read_fields(bytes.fromhex(message)))


def test_fields_are_written() -> None:
    assert protobuf.bytes_field(2, b"abc") == b"\x12\x03abc"
    assert protobuf.varint_field(3, 300) == b"\x18\xac\x02"
    assert protobuf.bytes_field(16, b"") == b"\x82\x01\x00"


def test_random_bytes_are_read_or_refused() -> None:
    chance = random.Random(13)
    for _ in range(3000):
        message = chance.randbytes(chance.randrange(40))
        try:
            fields = list(protobuf.read_fields(message))
        except MalformedError:
            continue
        assert sum(len(value) for _, _, value in fields if isinstance(value, bytes)) <= len(message)

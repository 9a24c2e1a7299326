"""Varints: both limits, the shortest form, and truncation at every byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.ipfs import varint
from modelfetch.ipfs.errors import MalformedError


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("01", 1),
        ("7f", 127),
        ("8001", 128),
        ("ff01", 255),
        ("ac02", 300),
        ("808001", 16384),
        ("ffffffffffffffff7f", 2**63 - 1),
    ],
)
def test_known_numbers_are_read_and_written(data: str, value: int) -> None:
    block = bytes.fromhex(data)
    assert varint.encode(value) == block
    assert varint.read(block) == (value, len(block))
    assert varint.read_uint64(block) == (value, len(block))
    assert varint.read(b"\xff" + block + b"\xff", 1) == (value, 1 + len(block))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "ends inside"),
        ("80", "ends inside"),
        ("ffff", "ends inside"),
        ("8000", "shortest form"),
        ("81808000", "shortest form"),
        ("ff" * 9, "too long"),
        ("ff" * 9 + "01", "too long"),
        ("80" * 9 + "01", "too long"),
    ],
)
def test_others_are_refused(data: str, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        varint.read(bytes.fromhex(data))


@pytest.mark.parametrize(("data", "value"), [("8000", 0), ("ff" * 9 + "01", 2**64 - 1), ("80" * 9 + "00", 0)])
def test_a_protobuf_message_may_use_longer_forms_and_64_bits(data: str, value: int) -> None:
    assert varint.read_uint64(bytes.fromhex(data)) == (value, len(data) // 2)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "ends inside"),
        ("ff" * 9, "ends inside"),
        ("ff" * 9 + "02", "exceeds 64 bits"),
        ("80" * 9 + "7f", "exceeds 64 bits"),
        ("80" * 10 + "01", "too long"),
    ],
)
def test_a_protobuf_message_has_limits_too(data: str, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        varint.read_uint64(bytes.fromhex(data))


@pytest.mark.slow
@given(st.integers(0, 2**63 - 1))
def test_what_is_written_is_read_back(value: int) -> None:
    data = varint.encode(value)
    assert varint.read(data) == varint.read_uint64(data) == (value, len(data))

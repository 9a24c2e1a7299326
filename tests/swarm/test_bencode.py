"""Bencode: one encoding for each value, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.swarm.bencode import Value, decode, encode

VALUES = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_was_written_is_read(value: Value) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=40) | st.text("dlie:0123456789-a", max_size=30).map(str.encode))
def test_what_is_read_has_one_encoding(data: bytes) -> None:
    try:
        value = decode(data)
    except ValueError:
        return
    assert encode(value) == data


def test_texts_and_keys_are_written_as_utf8_in_the_order_of_bytes() -> None:
    assert encode({"b": 1, "ä": 2, "a": ["x", -3, 0]}) == b"d1:al1:xi-3ei0ee1:bi1e2:\xc3\xa4i2ee"


@pytest.mark.parametrize("value", [True, None, 1.5, object(), {"a": False}])
def test_other_types_cannot_be_written(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i",
        b"ie",
        b"i-e",
        b"i-0e",
        b"i01e",
        b"i+1e",
        b"i 1e",
        b"i1",
        b"i" + b"9" * 20 + b"e",
        b"i" + b"9" * 1_000_000 + b"e",
        b"01:a",
        b"2:a",
        b"-1:a",
        b"1a",
        b"l",
        b"li1e",
        b"d",
        b"d1:a",
        b"d1:ae",
        b"di1ei2ee",
        b"d1:bi1e1:ai2ee",
        b"d1:ai1e1:ai2ee",
        b"i1ei2e",
        b"x",
        b"9999999999999999999:a",
        b"l" * 1000,
        b"d1:a" * 1000,
        pytest.param(b"l" + b"i1e" * 1_000_001 + b"e", marks=pytest.mark.slow),  # takes a second
    ],
    ids=lambda data: repr(data[:20]),
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="at byte"):
        decode(data)

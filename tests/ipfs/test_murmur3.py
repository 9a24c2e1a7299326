"""The hash of names: vectors of the specification, every length of the tail, and its spread."""

import pytest

from modelfetch.ipfs.murmur3 import murmur3_x64_64


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "0000000000000000"),
        ("a", "85555565f6597889"),
        ("1.txt", "07c182825cb447e1"),
        ("470.txt", "006e88df5847e67c"),
        ("742.txt", "00ff87d129ae5428"),
        ("abcdefghijklmnop", "c4ca3ca3224cb723"),
        ("model-00001-of-00004.safetensors", "ac2866098a0bb100"),
    ],
)
def test_vectors(name: str, expected: str) -> None:
    assert f"{murmur3_x64_64(name.encode()):016x}" == expected


def test_every_byte_counts_at_every_length() -> None:
    """Lengths 0 to 33: no tail, tails on both sides of 8 bytes, and two whole blocks."""
    data = bytes(range(1, 34))
    seen = {murmur3_x64_64(data[:length]) for length in range(34)}
    changed = {
        murmur3_x64_64(data[:index] + b"\xff" + data[index + 1 : length])
        for length in range(1, 34)
        for index in range(length)
    }
    assert len(seen) == 34
    assert len(changed) == 33 * 34 // 2
    assert all(0 <= value < 1 << 64 for value in seen | changed)


def test_trailing_zero_bytes_count() -> None:
    assert len({murmur3_x64_64(b"a" + bytes(count)) for count in range(32)}) == 32

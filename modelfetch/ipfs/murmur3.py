"""The MurmurHash3 variant that distributes the names of a large IPFS directory over its shards.

It is the x64 variant with 128 bits and seed 0, of which only the first half is used (multihash code 0x22,
``murmur3-x64-64``). It is not a cryptographic hash and nothing is verified with it: it only says in which
shard a name has to be looked up, and shards are verified by SHA-256.

For example, the hash of ``470.txt`` is 0x006e88df5847e67c: with 256 slots to a shard, the name is in slot
0x00 of the root, and in slot 0x6e of the shard below it.
"""

from __future__ import annotations

from struct import iter_unpack
from typing import Final

HASH_BITS: Final = 64
"""Bits of the hash."""

_MASK: Final = (1 << 64) - 1

# Constants of the algorithm (MurmurHash3_x64_128 of the public-domain reference by Austin Appleby).
_C1: Final = 0x87C37B91114253D5
_C2: Final = 0x4CF5AD432745937F
_BLOCK: Final = 16
"""Bytes that are mixed at a time: two numbers of 64 bits."""


def murmur3_x64_64(data: bytes) -> int:
    """Hash bytes.

    Args:
        data: A name of a directory entry, in UTF-8.

    Returns:
        The first 64 bits of the 128-bit hash, as a number; its most significant bits choose the first slot.
    """
    whole = len(data) - len(data) % _BLOCK
    h1 = h2 = 0
    for k1, k2 in iter_unpack("<QQ", data[:whole]):
        h1 ^= _mix1(k1)
        h1 = (_rotate(h1, 27) + h2) * 5 + 0x52DCE729 & _MASK
        h2 ^= _mix2(k2)
        h2 = (_rotate(h2, 31) + h1) * 5 + 0x38495AB5 & _MASK
    # Zero padding does not change the result, because the mix of zero is zero.
    h1 ^= _mix1(int.from_bytes(data[whole : whole + 8], "little"))
    h2 ^= _mix2(int.from_bytes(data[whole + 8 :], "little"))
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = h1 + h2 & _MASK
    h2 = h1 + h2 & _MASK
    return _final(h1) + _final(h2) & _MASK


def _rotate(value: int, bits: int) -> int:
    """Rotate 64 bits to the left."""
    return (value << bits | value >> (64 - bits)) & _MASK


def _mix1(value: int) -> int:
    return _rotate(value * _C1 & _MASK, 31) * _C2 & _MASK


def _mix2(value: int) -> int:
    return _rotate(value * _C2 & _MASK, 33) * _C1 & _MASK


def _final(value: int) -> int:
    """Spread each bit of the input over all bits of the result."""
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _MASK
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return value ^ value >> 33

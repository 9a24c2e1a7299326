"""Content identifiers (CIDs): parsing, canonical text, and the digest inside.

Formats: multiformats ``cid``, ``multibase``, ``multihash`` and ``unsigned-varint``. Only what can name a file
or a directory is accepted: the codecs raw and dag-pb, the hashes sha2-256 and identity; everything else is
refused by name. Texts are read strictly, so that one CID in one base has exactly one spelling.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from modelfetch.lazy_dataclass import dataclass

RAW: Final = 0x55
DAG_PB: Final = 0x70
SHA2_256: Final = 0x12
IDENTITY: Final = 0x00

TEXT_LIMIT: Final = 512
"""Longest text read, in characters: an identity CID of 128 bytes takes 267 in hexadecimal."""
IDENTITY_LIMIT: Final = 128
"""Longest digest of the identity hash, in bytes (IPIP-512)."""
_VARINT_LIMIT: Final = 9
"""Longest varint, in bytes (multiformats unsigned-varint)."""

_CODECS: Final = {RAW, DAG_PB}
_HASHES: Final = {SHA2_256, IDENTITY}
_NAMES: Final = {
    0x51: "cbor",
    0x71: "dag-cbor",
    0x72: "libp2p-key",
    0x0129: "dag-json",
    0x0200: "json",
    0x13: "sha2-512",
    0x1E: "blake3",
    0x22: "murmur3-x64-64",
    0xB220: "blake2b-256",
}

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier.

    Two CIDs of different version name the same block when their hash and digest agree; compare ``to_v1()``.
    """

    version: int
    """0 or 1."""
    codec: int
    """How the block is to be read: ``RAW`` or ``DAG_PB``; always ``DAG_PB`` in version 0."""
    hash_code: int
    """``SHA2_256`` or ``IDENTITY``."""
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read a CID of version 0 (``Qm...``) or 1 (multibase ``b B z f F k``).

        Raises:
            ValueError: The text is not a CID, or one that cannot name a file.
        """
        if len(text) > TEXT_LIMIT:
            raise ValueError(f"a CID has at most {TEXT_LIMIT} characters")
        if not text.isascii():
            raise ValueError("a CID has only ASCII characters")
        if len(text) == 46 and text.startswith("Qm"):
            digest = _multihash(_decode_digits(text, _BASE58))[1]
            return cls(0, DAG_PB, SHA2_256, digest)
        return _from_binary(_decode(text))

    @property
    def text(self) -> str:
        """The canonical text: base 58 in version 0, lower-case base 32 in version 1."""
        multihash = _varint(self.hash_code) + _varint(len(self.digest)) + self.digest
        if self.version == 0:
            return _encode_digits(multihash, _BASE58)
        return "b" + _encode_base32(_varint(1) + _varint(self.codec) + multihash)

    def to_v1(self) -> Cid:
        """Name the same block in version 1, as gateways on subdomains and most tools want it."""
        return replace(self, version=1)


def raw_sha256(cid: Cid) -> str | None:
    """Give the SHA-256 of the whole file in hexadecimal, if the CID holds it: a raw block under sha2-256.

    The CID of any larger file names the root of its tree, whose hash is not the hash of the file.
    """
    return cid.digest.hex() if (cid.codec, cid.hash_code) == (RAW, SHA2_256) else None


def _from_binary(data: bytes) -> Cid:
    version, rest = _read_varint(data)
    if version != 1:
        raise ValueError("a CID under a multibase prefix must be of version 1")
    codec, rest = _read_varint(rest)
    if codec not in _CODECS:
        raise ValueError(f"codec {_name(codec)} does not hold files")
    return Cid(1, codec, *_multihash(rest))


def _multihash(data: bytes) -> tuple[int, bytes]:
    """Split a multihash into its code and its digest; nothing may follow."""
    code, rest = _read_varint(data)
    length, digest = _read_varint(rest)
    if code not in _HASHES:
        raise ValueError(f"hash {_name(code)} is not supported")
    if len(digest) != length:
        raise ValueError(f"digest of {len(digest)} bytes where {length} are announced")
    if code == SHA2_256 and length != 32:
        raise ValueError("sha2-256 digest must have 32 bytes")
    if code == IDENTITY and length > IDENTITY_LIMIT:
        raise ValueError(f"identity digest must have at most {IDENTITY_LIMIT} bytes")
    return code, digest


def _name(code: int) -> str:
    return _NAMES.get(code, f"0x{code:x}")


def _varint(value: int) -> bytes:
    """Write an unsigned varint: seven bits a byte, the low group first, the high bit on all but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes) -> tuple[int, bytes]:
    """Read a varint off the front; only its shortest form is valid."""
    value = 0
    for index, byte in enumerate(data[:_VARINT_LIMIT]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if byte == 0 and index > 0:
                raise ValueError("varint is not in its shortest form")
            return value, data[index + 1 :]
    raise ValueError("ends inside a varint" if len(data) < _VARINT_LIMIT else "varint is too long")


def _decode(text: str) -> bytes:
    decode = _MULTIBASE.get(text[:1])
    if decode is None:
        raise ValueError("is not a CID: it starts neither with Qm nor with one of b B z f F k")
    return decode(text[1:])


def _decode_base32(text: str) -> bytes:
    """Decode RFC 4648 base 32 in lower case, without padding; unused bits must be zero."""
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        data = b""
    if _encode_base32(data) != text:
        raise ValueError("is not valid base 32")
    return data


def _encode_base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _decode_base16(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if data.hex() != text:
        raise ValueError("is not valid base 16")
    return data


def _upper(decode: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Make the decoder of an upper-case base from the one of its lower-case twin."""

    def decode_upper(text: str) -> bytes:
        if text != text.upper():
            raise ValueError("mixes upper and lower case")
        return decode(text.lower())

    return decode_upper


def _decode_digits(text: str, alphabet: str) -> bytes:
    """Decode a base that is not a power of two: one large number, each leading zero digit a zero byte."""
    value = 0
    for character in text:
        digit = alphabet.find(character)
        if digit < 0:
            raise ValueError(f"is not valid base {len(alphabet)}")
        value = value * len(alphabet) + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")


def _encode_digits(data: bytes, alphabet: str) -> str:
    value = int.from_bytes(data, "big")
    digits = []
    while value:
        value, digit = divmod(value, len(alphabet))
        digits.append(alphabet[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return alphabet[0] * zeros + "".join(reversed(digits))


_MULTIBASE: Final[dict[str, Callable[[str], bytes]]] = {
    "b": _decode_base32,
    "B": _upper(_decode_base32),
    "f": _decode_base16,
    "F": _upper(_decode_base16),
    "z": lambda text: _decode_digits(text, _BASE58),
    "k": lambda text: _decode_digits(text, _BASE36),
}
"""Decoders by multibase prefix."""

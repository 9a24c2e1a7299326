"""Content identifiers (CIDs): parsing, canonical text, and the digest inside.

Formats: multiformats ``cid``, ``multibase``, ``multihash`` and ``unsigned-varint``. Accepted are CIDs that
can identify a file or a directory: the codecs raw and dag-pb, the hashes sha2-256 and identity. Errors name
any other codec or hash. Parsing is strict, so that a CID has exactly one spelling in each base. Layout of
version 1::

    b                                    multibase prefix of base 32, in the text only
    01 55                                version 1, codec raw
    12 20 <32 bytes>                     multihash: sha2-256, length 32, digest
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from modelfetch.lazy_dataclass import dataclass, replace

# Codes of the multicodec table.
RAW: Final = 0x55
DAG_PB: Final = 0x70
SHA2_256: Final = 0x12
IDENTITY: Final = 0x00

TEXT_LIMIT: Final = 512
"""Longest accepted text in characters: an identity CID of 128 bytes has 267 in hexadecimal."""
IDENTITY_LIMIT: Final = 128
"""Longest accepted digest of the identity hash, in bytes (IPIP-512)."""
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

    CIDs of different versions identify the same block if hash and digest are equal; compare ``to_v1()``.
    """

    version: int
    """0 or 1."""
    codec: int
    """Encoding of the block: ``RAW`` or ``DAG_PB``; always ``DAG_PB`` in version 0."""
    hash_code: int
    """``SHA2_256`` or ``IDENTITY``."""
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Parse a CID of version 0 (``Qm...``) or 1 (with the multibase prefix ``b B z f F k``).

        Raises:
            ValueError: The text is not a CID, or its codec or hash is not supported.
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
        """The CID of the same block in version 1, which gateways on subdomains and most tools require."""
        return replace(self, version=1)


def raw_sha256(cid: Cid) -> str | None:
    """The SHA-256 of the whole file in hexadecimal, if the CID contains it; else None.

    It does if it is that of a raw block with sha2-256. Larger files are split into a tree of blocks, and
    their CID contains the hash of its root, not of the file.
    """
    return cid.digest.hex() if (cid.codec, cid.hash_code) == (RAW, SHA2_256) else None


def _from_binary(data: bytes) -> Cid:
    version, rest = _read_varint(data)
    if version != 1:
        raise ValueError("a CID under a multibase prefix must be of version 1")
    codec, rest = _read_varint(rest)
    if codec not in _CODECS:
        raise ValueError(f"codec {_name(codec)} does not describe files")
    return Cid(1, codec, *_multihash(rest))


def _multihash(data: bytes) -> tuple[int, bytes]:
    """Split a multihash into code and digest; no bytes may follow."""
    code, rest = _read_varint(data)
    length, digest = _read_varint(rest)
    if code not in _HASHES:
        raise ValueError(f"hash {_name(code)} is not supported")
    if len(digest) != length:
        raise ValueError(f"digest has {len(digest)} bytes instead of the stated {length}")
    if code == SHA2_256 and length != 32:
        raise ValueError("sha2-256 digest must have 32 bytes")
    if code == IDENTITY and length > IDENTITY_LIMIT:
        raise ValueError(f"identity digest must have at most {IDENTITY_LIMIT} bytes")
    return code, digest


def _name(code: int) -> str:
    return _NAMES.get(code, f"0x{code:x}")


def _varint(value: int) -> bytes:
    """Encode an unsigned varint: seven bits per byte, lowest first; the last has no high bit."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes) -> tuple[int, bytes]:
    """Decode a varint at the beginning; returns it and the rest. Only the shortest form is valid."""
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
    """Decode base 32 (RFC 4648) in lower case without padding; unused bits must be zero."""
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        data = b""
    # Encoding again rejects upper case, and unused bits that are set, which b32decode ignores.
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
    if data.hex() != text:  # bytes.fromhex tolerates upper case and spaces
        raise ValueError("is not valid base 16")
    return data


def _upper(decode: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Make a decoder for an upper-case base from that of the lower-case one."""

    def decode_upper(text: str) -> bytes:
        if text != text.upper():
            raise ValueError("mixes upper and lower case")
        return decode(text.lower())

    return decode_upper


def _decode_digits(text: str, alphabet: str) -> bytes:
    """Decode a base that is not a power of two: one large number; each leading zero digit is a zero byte."""
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
"""Decoders by multibase prefix; each takes the text after it."""

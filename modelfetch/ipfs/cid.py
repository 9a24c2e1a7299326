"""Content identifiers (CIDs): parsing, canonical text, and the digest inside.

Formats: multiformats ``cid``, ``multibase``, ``multihash`` and ``unsigned-varint``. Accepted are CIDs that
can identify a file or a directory: the codecs raw and dag-pb, the hashes sha2-256 and identity. Errors name
any other codec or hash. Parsing is strict, so that a CID has exactly one spelling in each base. Layout of
version 1::

    b                                    multibase prefix of base 32, in the text only
    01 55                                version 1, codec raw
    12 20 <32 bytes>                     multihash: sha2-256, length 32, digest

Version 0 is a multihash alone. Blocks are found by multihash, never by CID: CIDs of both versions and of any
codec can identify the same block.

Directories and CAR files can contain CIDs of any codec and hash. :meth:`Cid.read` therefore accepts all that
are well-formed, and :attr:`Cid.refusal` says why a block cannot be used.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from modelfetch.ipfs import varint
from modelfetch.ipfs.errors import MalformedError
from modelfetch.lazy_dataclass import dataclass, replace

# Codes of the multicodec table.
RAW: Final = 0x55
DAG_PB: Final = 0x70
SHA2_256: Final = 0x12
IDENTITY: Final = 0x00

Buffer = bytes | bytearray | memoryview
"""Bytes that are hashed and not kept."""

TEXT_LIMIT: Final = 512
"""Longest accepted text in characters: an identity CID of 128 bytes has 267 in hexadecimal."""
IDENTITY_LIMIT: Final = 128
"""Longest accepted digest of the identity hash, in bytes (IPIP-512)."""
DIGEST_LIMIT: Final = 128
"""Longest digest of any other hash, in bytes; sha2-512 has 64."""

_CODECS: Final = {RAW, DAG_PB}
_HASHES: Final = {SHA2_256, IDENTITY}
_SHA2_256_PREFIX: Final = bytes((SHA2_256, 32))
_PREFIXES: Final = {bytes((1, codec)) + _SHA2_256_PREFIX: codec for codec in (RAW, DAG_PB)}
"""What precedes the digest in nearly all CIDs; a lookup here is faster than reading four varints."""
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
    """Number of the hash function, such as ``SHA2_256`` or ``IDENTITY``."""
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Parse a CID of version 0 (``Qm...``) or 1 (with the multibase prefix ``b B z f F k``).

        Raises:
            MalformedError: The text is not a CID, or its codec or hash is not supported.
        """
        if len(text) > TEXT_LIMIT:
            raise MalformedError(f"a CID has at most {TEXT_LIMIT} characters")
        if not text.isascii():
            raise MalformedError("a CID has only ASCII characters")
        if len(text) == 46 and text.startswith("Qm"):
            data = _decode_digits(text, _BASE58)
            if len(data) != 34 or not data.startswith(_SHA2_256_PREFIX):
                raise MalformedError("is not a CID of version 0: those contain a sha2-256 digest of 32 bytes")
            return cls(0, DAG_PB, SHA2_256, data[2:])
        data = _decode(text)
        if data.startswith(_SHA2_256_PREFIX):
            raise MalformedError("a CID under a multibase prefix must be of version 1")
        return cls.from_binary(data)

    @classmethod
    def from_binary(cls, data: bytes) -> Cid:
        """Parse the binary form of a CID that can identify a file or directory; no bytes may follow.

        Raises:
            MalformedError: The bytes are not one CID, or its codec or hash is not supported.
        """
        cid, end = cls.read(data)
        if cid.refusal:
            raise MalformedError(cid.refusal)
        if end != len(data):
            raise MalformedError("other bytes follow the digest of a CID")
        return cid

    @classmethod
    def read(cls, data: bytes, position: int = 0) -> tuple[Cid, int]:
        """Read the binary form of a CID of any codec and hash; other bytes may follow.

        Returns:
            The CID, and the index of the byte after it.

        Raises:
            MalformedError: The bytes are not a CID. Those of sha2-256 must have a digest of 32 bytes.
        """
        start = position + 4
        codec = _PREFIXES.get(data[position:start])
        if codec is not None and len(data) >= start + 32:
            return cls(1, codec, SHA2_256, data[start : start + 32]), start + 32
        if data.startswith(_SHA2_256_PREFIX, position):
            _, digest, end = _read_multihash(data, position)
            return cls(0, DAG_PB, SHA2_256, digest), end
        return cls._read_version_1(data, position)

    @classmethod
    def _read_version_1(cls, data: bytes, position: int) -> tuple[Cid, int]:
        version, position = varint.read(data, position)
        if version != 1:
            raise MalformedError(f"a CID must be of version 0 or 1, not {version}")
        codec, position = varint.read(data, position)
        hash_code, digest, position = _read_multihash(data, position)
        return cls(1, codec, hash_code, digest), position

    @property
    def text(self) -> str:
        """The canonical text: base 58 in version 0, lower-case base 32 in version 1."""
        if self.version == 0:
            return _encode_digits(self.binary, _BASE58)
        return "b" + _encode_base32(self.binary)

    @property
    def binary(self) -> bytes:
        """The binary form, as links and CAR files contain it."""
        if self.version == 0:
            return self.multihash
        return b"\x01" + varint.encode(self.codec) + self.multihash

    @property
    def multihash(self) -> bytes:
        """Hash, length and digest: what identifies the block, whatever version or codec the CID has."""
        if self.hash_code == SHA2_256:
            return _SHA2_256_PREFIX + self.digest
        return varint.encode(self.hash_code) + varint.encode(len(self.digest)) + self.digest

    @property
    def refusal(self) -> str:
        """Why the block can be neither a file nor a directory, or cannot be verified; empty if it can."""
        if self.codec not in _CODECS:
            return f"codec {_name(self.codec)} does not describe files"
        if self.hash_code not in _HASHES:
            return f"hash {_name(self.hash_code)} is not supported"
        return ""

    def to_v1(self) -> Cid:
        """The CID of the same block in version 1, which gateways on subdomains and most tools require."""
        return replace(self, version=1)

    def matches(self, block: bytes) -> bool:
        """Whether these are the bytes of the block. Never true for a hash that is not supported."""
        if self.hash_code == SHA2_256:
            return sha256(block).digest() == self.digest
        return self.hash_code == IDENTITY and block == self.digest


def cid_of(block: bytes, codec: int, version: int = 1) -> Cid:
    """Compute the CID of a block with sha2-256. Version 0 is for dag-pb alone."""
    return Cid(version, codec, SHA2_256, sha256(block).digest())


def raw_sha256(cid: Cid) -> str | None:
    """The SHA-256 of the whole file in hexadecimal, if the CID contains it; else None.

    It does if it is that of a raw block with sha2-256. Larger files are split into a tree of blocks, and
    their CID contains the hash of its root, not of the file.
    """
    return cid.digest.hex() if (cid.codec, cid.hash_code) == (RAW, SHA2_256) else None


def _read_multihash(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Read a multihash; returns hash code, digest and the index of the byte after it."""
    code, position = varint.read(data, position)
    length, position = varint.read(data, position)
    if code == SHA2_256 and length != 32:
        raise MalformedError("sha2-256 digest must have 32 bytes")
    if code == IDENTITY and length > IDENTITY_LIMIT:
        raise MalformedError(f"identity digest must have at most {IDENTITY_LIMIT} bytes")
    if length > DIGEST_LIMIT:
        raise MalformedError(f"digest must have at most {DIGEST_LIMIT} bytes")
    digest = bytes(data[position : position + length])
    if len(digest) != length:
        raise MalformedError(f"digest has {len(digest)} bytes instead of the stated {length}")
    return code, digest, position + length


def _name(code: int) -> str:
    return _NAMES.get(code, f"0x{code:x}")


def _decode(text: str) -> bytes:
    decode = _MULTIBASE.get(text[:1])
    if decode is None:
        raise MalformedError("is not a CID: it starts neither with Qm nor with one of b B z f F k")
    return decode(text[1:])


def _decode_base32(text: str) -> bytes:
    """Decode base 32 (RFC 4648) in lower case without padding; unused bits must be zero."""
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        data = b""
    # Encoding again rejects upper case, and unused bits that are set, which b32decode ignores.
    if _encode_base32(data) != text:
        raise MalformedError("is not valid base 32")
    return data


def _encode_base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _decode_base16(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if data.hex() != text:  # bytes.fromhex tolerates upper case and spaces
        raise MalformedError("is not valid base 16")
    return data


def _upper(decode: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Make a decoder for an upper-case base from that of the lower-case one."""

    def decode_upper(text: str) -> bytes:
        if text != text.upper():
            raise MalformedError("mixes upper and lower case")
        return decode(text.lower())

    return decode_upper


def _decode_digits(text: str, alphabet: str) -> bytes:
    """Decode a base that is not a power of two: one large number; each leading zero digit is a zero byte."""
    value = 0
    for character in text:
        digit = alphabet.find(character)
        if digit < 0:
            raise MalformedError(f"is not valid base {len(alphabet)}")
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

"""CAR files of version 1 (CARv1): blocks with their CIDs, one after the other, as gateways stream them.

Pure: :class:`CarReader` takes bytes as they arrive, in pieces of any size, and returns the blocks. Only the
framing is parsed before anything is verified; each block is hashed before it is returned. The reader keeps at
most one incomplete section in memory.

- The roots in the header are ignored: gateways differ in what they write there.
- A clean end proves nothing: incomplete files end cleanly too. The caller counts the blocks it wanted.
- Sections with a codec or hash that does not describe files are skipped and counted.
- CARv2 and every other version are rejected.

Layout, with lengths as varints::

    3a a2 65 "roots" 81 d82a 5825 00 <CID of 36 bytes> 67 "version" 01    length, header in DAG-CBOR
    a4 80 40 <CID of 36 bytes> <block of 1 MiB>                           length, section
    ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from modelfetch.ipfs import varint
from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.errors import MalformedError

HEADER_LIMIT: Final = 64 * 1024
"""Longest accepted header in bytes; with one root it has 58."""
BLOCK_LIMIT: Final = 2 * 1024 * 1024
"""Longest accepted block in bytes (trustless gateway specification, block limits)."""
_CID_LIMIT: Final = 200
"""Bytes reserved for the CID of a section: an identity CID with 128 bytes has 133."""
SECTION_LIMIT: Final = BLOCK_LIMIT + _CID_LIMIT
"""Longest accepted section in bytes, without its length."""

_ROOT_OFFSET: Final = 14
"""Bytes before the root in a header with one root with a SHA-256; see the layout above."""
_VERSION_KEY: Final = b"\x67version"
"""The key ``version`` in DAG-CBOR; the number after it is one byte."""


class WrongBlockError(MalformedError):
    """A block does not match its CID, although the framing of the file is right."""


class CarReader:
    """Reads the blocks of a CARv1 file from bytes as they arrive.

    Example::

        reader = CarReader()
        for piece in response:
            for cid, block in reader.feed(piece):
                ...
        reader.finish()
    """

    def __init__(self, section_limit: int = SECTION_LIMIT) -> None:
        self.skipped = 0
        """Sections whose codec or hash is not supported; their blocks were not verified."""
        self._section_limit = section_limit
        self._buffer = bytearray()
        self._position = 0
        """Bytes consumed, for messages: the buffer begins there."""
        self._has_header = False

    def feed(self, data: bytes) -> Iterator[tuple[Cid, bytes]]:
        """Add bytes, and return the blocks that are complete now, each verified against its CID.

        Blocks that are not taken from the iterator are returned by the next call.

        Raises:
            MalformedError: While iterating: the framing is invalid, a limit is exceeded, or a block does not
                match its CID. The reader cannot continue after that.
        """
        self._buffer += data
        return self._blocks()

    def finish(self) -> None:
        """Report that no bytes follow, after all blocks were taken from :meth:`feed`.

        Raises:
            MalformedError: The file ends inside the header or a section.
        """
        if not self._has_header:
            raise MalformedError("CAR file ends inside its header")
        if self._buffer:
            raise MalformedError(f"CAR file ends inside the section at byte {self._position}")

    def _blocks(self) -> Iterator[tuple[Cid, bytes]]:
        while (bounds := self._next_item()) is not None:
            start, end = bounds
            if self._has_header:
                found = self._read_section(start, end)
            else:
                found = None
                _check_header(bytes(self._buffer[start:end]))
                self._has_header = True
            # Only now, after the checks: an error is raised again if the caller continues.
            del self._buffer[:end]
            self._position += end
            if found is not None:
                yield found

    def _next_item(self) -> tuple[int, int] | None:
        """Find the header or section at the beginning of the buffer; None if it is not complete yet."""
        prefix = bytes(self._buffer[: varint.LIMIT])
        if len(prefix) < varint.LIMIT and all(byte >= 0x80 for byte in prefix):
            return None
        what = f"section at byte {self._position}" if self._has_header else "header"
        try:
            length, start = varint.read(prefix)
        except MalformedError as error:
            raise MalformedError(f"length of the {what} of the CAR file: {error}") from None
        # The limit applies as soon as the length is known: nothing longer is collected in memory.
        limit = self._section_limit if self._has_header else HEADER_LIMIT
        if not 0 < length <= limit:
            raise MalformedError(f"{what} of the CAR file has {length} bytes; allowed are 1 to {limit}")
        end = start + length
        return (start, end) if len(self._buffer) >= end else None

    def _read_section(self, start: int, end: int) -> tuple[Cid, bytes] | None:
        """Verify a complete section; None if its codec or hash is not supported."""
        head = bytes(self._buffer[start : min(end, start + _CID_LIMIT)])
        try:
            cid, length = Cid.read(head)
        except MalformedError as error:
            raise MalformedError(f"section at byte {self._position} of the CAR file: {error}") from None
        if cid.refusal:
            self.skipped += 1
            return None
        with memoryview(self._buffer) as view:
            block = bytes(view[start + length : end])
        if not cid.matches(block):
            raise WrongBlockError(f"block at byte {self._position} of the CAR file does not match {cid.text}")
        return cid, block


def read_blocks(content: bytes) -> dict[bytes, bytes]:
    """Read a complete CAR file that is in memory.

    Returns:
        Its blocks by multihash, each verified.

    Raises:
        MalformedError: As for :class:`CarReader`, or the file ends inside the header or a section.
    """
    reader = CarReader()
    blocks = {cid.multihash: block for cid, block in reader.feed(content)}
    reader.finish()
    return blocks


def root_of(content: bytes) -> Cid | None:
    """Return the root of a CAR file whose header is as :func:`header` makes it for a root with a SHA-256.

    None for any other header: other writers may list several roots, or none.
    """
    try:
        root, _ = Cid.read(content, _ROOT_OFFSET)
    except MalformedError:
        return None
    return root if content.startswith(header(root)) else None


def header(root: Cid) -> bytes:
    """The beginning of a CARv1 file with one root, including its length."""
    link = b"\0" + root.binary  # DAG-CBOR: a CID is tag 42 with a zero byte in front
    fields = b"\xa2\x65roots\x81\xd8\x2a" + _byte_string_head(len(link)) + link + _VERSION_KEY + b"\x01"
    return varint.encode(len(fields)) + fields


def section_head(cid: Cid, size: int) -> bytes:
    """What precedes a block of ``size`` bytes: the length of the section, and the CID."""
    return varint.encode(len(cid.binary) + size) + cid.binary


def section(cid: Cid, block: bytes) -> bytes:
    """A block as a section of a CARv1 file, including its length."""
    return section_head(cid, len(block)) + block


def _check_header(fields: bytes) -> None:
    """Check that the header is that of version 1; nothing else of it matters."""
    # No CBOR decoder is needed: keys are sorted by length, so the version comes last, and a CARv2 header has
    # nothing else. Roots that contain the same bytes can only let a foreign header pass, which is harmless.
    if fields[:1] not in {b"\xa1", b"\xa2"} or _VERSION_KEY not in fields:
        raise MalformedError("not a CAR file: its header does not state a version")
    if _VERSION_KEY + b"\x01" not in fields:
        version = fields[fields.index(_VERSION_KEY) + len(_VERSION_KEY) :][:1].hex() or "?"
        raise MalformedError(f"CAR file of version {version.lstrip('0') or '0'}; only version 1 is supported")


def _byte_string_head(length: int) -> bytes:
    """The head of a byte string in CBOR, for lengths below 64 KiB."""
    if length < 24:
        return bytes([0x40 | length])
    return bytes([0x58, length]) if length < 256 else b"\x59" + length.to_bytes(2, "big")

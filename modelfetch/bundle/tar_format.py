"""Writing of an uncompressed tar whose bytes follow from its members alone. Pure.

::

    header(name, size)  data  padding      # for each member
    end                                    # two zero blocks

All metadata is fixed: mode 0644, user, group and time 0, no names. Headers are USTAR (POSIX.1-2017, pax,
ustar interchange format). Its field for the size ends at 8 GiB - 1; a larger size is written in base-256, as
GNU tar does: some readers look only at the 512 bytes before the data, where PAX would have the size 0.
"""

from __future__ import annotations

from typing import Final

from modelfetch.bundle.verifier import BLOCK

END: Final = bytes(2 * BLOCK)
"""The end of an archive."""
USTAR_LIMIT: Final = 8**11
"""First size that does not fit into the eleven octal digits of the field."""
_MODE: Final = 0o644


def header(name: str, size: int) -> bytes:
    """Make the header of a regular member.

    Args:
        name: Its name, in ASCII; at most 100 characters.
        size: Its size in bytes.
    """
    raw = name.encode("ascii")
    assert len(raw) <= 100, "longer names need a second part"
    is_large = size >= USTAR_LIMIT
    block = bytearray(BLOCK)
    block[: len(raw)] = raw
    block[100:108] = b"%07o\0" % _MODE
    block[108:116] = block[116:124] = b"%07o\0" % 0
    block[124:136] = b"\x80" + size.to_bytes(11, "big") if is_large else b"%011o\0" % size
    block[136:148] = b"%011o\0" % 0
    block[156:157] = b"0"
    # Base-256 is an extension of GNU tar, whose magic says so; USTAR has another one and a version.
    block[257:265] = b"ustar  \0" if is_large else b"ustar\x0000"
    # The checksum counts its own field as eight spaces.
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * ord(" "))
    return bytes(block)


def padding(size: int) -> bytes:
    """Return the zero bytes that follow the data of a member."""
    return bytes(-size % BLOCK)


def padded(size: int) -> int:
    """Return the bytes that a member of this size takes in the archive, with its header."""
    return BLOCK + size + -size % BLOCK

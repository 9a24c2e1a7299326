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

from modelfetch.bundle.verifier import BLOCK, END_SIZE, build_header

END: Final = bytes(END_SIZE)
"""The end of an archive."""


def header(name: str, size: int) -> bytes:
    """Make the header of a regular member.

    Args:
        name: Its name, in ASCII; at most 100 characters.
        size: Its size in bytes.
    """
    assert name.isascii()
    assert len(name) <= 100, "longer names need a second part"
    return build_header(name, size)


def padding(size: int) -> bytes:
    """Return the zero bytes that follow the data of a member."""
    return bytes(-size % BLOCK)


def padded(size: int) -> int:
    """Return the bytes that a member of this size takes in the archive, with its header."""
    return BLOCK + size + -size % BLOCK

"""Asks the file system which bytes of a file are shared with clones of it (Btrfs, XFS).

Removing such a file frees nothing. A clone has an inode of its own and one link, so only the file system
knows. Linux answers by ``FS_IOC_FIEMAP`` (Documentation/filesystems/fiemap.rst): a header of 32 bytes, then
56 bytes for each extent::

    start length flags mapped count reserved | logical physical length - - flags - - -
"""

from __future__ import annotations

import struct
import sys
from typing import Final

if sys.platform != "win32":
    import fcntl

ASKED_FROM: Final = 64 << 10
"""Size in bytes from which a file that is removed is asked for shared extents: opening many small ones takes
longer than removing them, and they are no part of the answer that a person sees."""
_FIEMAP: Final = 0xC020660B
"""``_IOWR('f', 11, struct fiemap)`` of linux/fs.h."""
_HEADER: Final = struct.Struct("=QQLLLL")
_EXTENT: Final = struct.Struct("=QQQQQLLLL")
_COUNT: Final = 128
"""Extents in one answer."""
_CALLS: Final = 1000
"""Most calls for one file: 128,000 extents. More are counted as not shared."""
_LAST: Final = 0x1
_SHARED: Final = 0x2000
_MOST: Final = 2**64 - 1


def shared_extents(fd: int) -> tuple[int, int]:
    """Return how many bytes of an open file are shared, and where on the disk the first shared one is.

    Returns:
        Zeros where the system does not say.
    """
    total = place = start = 0
    if not sys.platform.startswith("linux"):
        return 0, 0
    for _ in range(_CALLS):
        room = bytearray(_HEADER.pack(start, _MOST - start, 0, 0, _COUNT, 0) + bytes(_COUNT * _EXTENT.size))
        try:
            fcntl.ioctl(fd, _FIEMAP, room)
        except OSError:
            return 0, 0
        mapped = min(_HEADER.unpack_from(room)[3], _COUNT)
        flags = _LAST
        for number in range(mapped):
            entry = _EXTENT.unpack_from(room, _HEADER.size + number * _EXTENT.size)
            logical, physical, length, flags = entry[0], entry[1], entry[2], entry[5]
            start = logical + length
            if flags & _SHARED:
                place = place or physical
                total += length
        if flags & _LAST:
            break
    return total, place

"""Reads a range of an open file as far as it can be read, and finds the ranges that were never written.

For callers that send or compare what they read, and treat a file that is too short and a disk that fails in
the same way: the bytes they need are not there::

    data = read_up_to(fd, offset, size)
    if len(data) < size: ...
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from modelfetch.store.syscalls import read_at


def read_up_to(fd: int, offset: int, count: int) -> bytes:
    """Read bytes at an offset; fewer only at the end of the file, or where the disk fails.

    Args:
        fd: Of a file that is open for reading. Its own position does not matter, so threads may share it.
        offset: Of the first byte.
        count: Bytes to read.
    """
    room = bytearray(count)
    got = 0
    # A system call may return fewer bytes than were asked for, as on network file systems.
    with suppress(OSError), memoryview(room) as view:
        while got < count and (more := read_at(fd, view[got:], offset + got)):
            got += more
    return bytes(room[:got])


def holes(fd: int, start: int, end: int, most: int) -> list[tuple[int, int]]:
    """Return the ranges of an open file that were never written, as far as the file system tells.

    A hole begins and ends at a block of the file system, so some bytes beside it may be missing, too.

    Args:
        fd: Of a file that is open for reading. Its position is moved.
        start: Where to look from.
        end: Where to look to; what lies behind the end of the file is a hole.
        most: Most ranges to return, at least 1; all that follows the start of the last one is then in it.

    Returns:
        Start and end of each, in order. Where the system does not tell (Windows), all of it is one.
    """
    found: list[tuple[int, int]] = []
    if sys.platform == "win32":
        return [(start, end)]
    hole = data = start
    with suppress(OSError):  # ENXIO: no data follows (lseek(2))
        while len(found) < most:
            hole = data
            hole = os.lseek(fd, data, os.SEEK_HOLE)
            if hole >= end:
                return found
            data = os.lseek(fd, hole, os.SEEK_DATA)
            found.append((hole, min(data, end)))
        hole, _ = found.pop()
    return [*found, (hole, end)] if hole < end else found

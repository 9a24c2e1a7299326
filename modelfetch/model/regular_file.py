"""Files that come with somebody else's repository: a link in it may lead to anything on this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

_FLAGS: Final = os.O_RDONLY | (
    getattr(os, "O_NONBLOCK", 0)  # never wait for the other end of a pipe, a terminal or the kernel's log
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def read_regular(path: Path, most: int, check: Callable[[os.stat_result], None] = lambda _: None) -> bytes:
    """Read the beginning of a regular file without ever waiting for it; links are followed.

    Args:
        path: The file.
        most: Bytes to read at most; a file of the kernel may be endless, whatever its size says.
        check: Looks at the open file before it is read, as the name may lead elsewhere by then; raises.

    Raises:
        OSError: It cannot be read now.
        ValueError: It is no regular file.
    """
    fd = os.open(path, _FLAGS)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is not a regular file")
        check(found)
        content = bytearray()
        while len(content) < most and (block := os.read(fd, most - len(content))):
            content += block
        return bytes(content)
    finally:
        os.close(fd)

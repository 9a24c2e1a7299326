"""Reading files of other people and programs, without blocking.

A repository from elsewhere may contain a link to anything on this machine: a pipe, a terminal, or a file of
the kernel without an end. In a cache that others write to, a file that was found may be one by the time it is
opened. Only regular files are read, and those of a project only up to a limit.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

_FLAGS: Final = os.O_RDONLY | (
    getattr(os, "O_NONBLOCK", 0)  # opening a pipe, a terminal or the kernel's log must not block
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def read_regular(path: Path, most: int, check: Callable[[os.stat_result], None] = lambda _: None) -> bytes:
    """Read the start of a regular file without blocking; links are followed.

    Args:
        path: The file.
        most: Most bytes to read; a file of the kernel may be endless, whatever size it reports.
        check: Called with the status of the open file before it is read, and raises to reject it. The status
            of the path would not do, since the path may be replaced in between.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a regular file.
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


def hint_for(error: OSError) -> str:
    """What to do about a file or directory that cannot be read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "Check the path."
    return "Check its owner and mode."


def open_regular(path: Path) -> io.FileIO:
    """Open a regular file for reading, without a buffer and without blocking; links are followed.

    Raises:
        OSError: The file cannot be opened, or is not a regular file.
    """
    fd = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return io.FileIO(fd, "rb")
    except BaseException:
        os.close(fd)
        raise

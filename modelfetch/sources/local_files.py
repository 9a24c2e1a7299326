"""A file on this disk as an offer of a source, and the stream that reads it.

Both follow the protocols of :mod:`modelfetch.sources.base`. The engine asks for the class
:class:`LocalOffer`, so that a run with ``--force`` reads no file of this disk.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from modelfetch.errors import Fault, SourceError
from modelfetch.model.regular_file import open_regular
from modelfetch.model.source_kinds import SourceKind

READ_SIZE: Final = 1024 * 1024
"""Bytes per read. Hashing is equally fast from 16 KiB on; larger reads save system calls."""


class LocalOffer:
    """A file on this disk.

    Args:
        path: Path of the file.
    """

    kind = SourceKind.LOCAL

    def __init__(self, path: Path) -> None:
        self.host = str(path.parent)
        self.address = str(path)
        self.path = path

    def is_ruled_out(self) -> bool:
        """Whether the file is known to have other bytes; may read small files to find out.

        Raises:
            Cancelled: The run was cancelled.
        """
        return False

    def open(
        self,
        offset: int,
        end: int | None = None,
        first_byte: float | None = None,  # noqa: ARG002
    ) -> DiskStream:
        """Open the file at ``offset``; read to ``end`` if that is given."""
        return LocalStream(self.path, offset, end)


class DiskStream(ABC):
    """Bytes on this disk, in a file of their own or in another one."""

    ranged = True

    start: int
    """Position of the first byte."""

    @abstractmethod
    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes up to the end of the file or part.

        Raises:
            SourceError: The file cannot be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


class LocalStream(DiskStream):
    """Bytes of a file on this disk.

    Args:
        path: Path of the file.
        start: Position of the first byte.
        end: End of the part, exclusive; None for the rest of the file.

    Raises:
        SourceError: The file cannot be opened.
    """

    def __init__(self, path: Path, start: int, end: int | None = None) -> None:
        self.start = start
        self._left = math.inf if end is None else end - start
        try:
            self._file = open_regular(path)  # reads are large: no buffer needed
            self._file.seek(start)
        except OSError as error:
            raise _unreadable(error) from error

    def fileno(self) -> int:
        """Return the descriptor of the file, for cloning it."""
        return self._file.fileno()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes up to the end of the file or part.

        Raises:
            SourceError: The file cannot be read.
        """
        while piece := self._read(int(min(READ_SIZE, self._left))):
            self._left -= len(piece)
            yield piece

    def _read(self, most: int) -> bytes:
        try:
            return self._file.read(most)
        except OSError as error:
            raise _unreadable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _unreadable(error: OSError) -> SourceError:
    return SourceError(Fault.NOT_FOUND, f"cannot be read: {(error.strerror or 'unknown').lower()}")

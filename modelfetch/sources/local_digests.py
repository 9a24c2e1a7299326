"""Digests of files on this disk: each file is hashed at most once, and what was hashed is remembered.

A file whose name does not tell its SHA-256 is proposed by its size alone. It is hashed before it is used as a
source, because copying it first would take longer, and would put the bytes of every other file of that size
into quarantine. A remembered digest only proposes too: the bytes that a source delivers are hashed anyway.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.sources.local_files import READ_SIZE, DiskStream, LocalOffer

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec

_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Opening a pipe that took the place of a file must not block."""


RULED_OUT_AT_ONCE: Final = 4 << 20
"""Largest file in bytes whose candidates are hashed before it is asked for: 32 of them take 0.1 seconds."""


class KnownDigests(Protocol):
    """Remembers digests of files between runs. Thread-safe; it never raises."""

    def get(self, path: Path, found: os.stat_result) -> str | None:
        """Return the SHA-256 of a file whose size, time and inode are those of when it was hashed."""

    def put(self, path: Path, found: os.stat_result, sha256: str) -> None:
        """Remember the SHA-256 of a file."""


class NoDigests:
    """Remembers nothing."""

    def get(self, path: Path, found: os.stat_result) -> str | None:  # noqa: ARG002
        """Know no digest."""
        return None

    def put(self, path: Path, found: os.stat_result, sha256: str) -> None:
        """Forget the digest."""


class LocalDigests:
    """The digests of files on this disk, in one run. Thread-safe.

    Args:
        known: Remembers digests between runs.
        cancel: Ends hashing.
    """

    def __init__(self, known: KnownDigests, cancel: Cancellation) -> None:
        self._known = known
        self._cancel = cancel
        self._computed: dict[tuple[int, ...], str] = {}
        self._lock = threading.Lock()
        self._turns: dict[tuple[int, ...], threading.Lock] = {}
        """A lock for each file, so that two threads do not hash the same file at the same time."""

    def known(self, path: Path, found: os.stat_result) -> str | None:
        """Return the SHA-256 of a file if it was hashed before; None if it is not known."""
        with self._lock:
            computed = self._computed.get(_key(found))
        return computed or self._known.get(path, found)

    def compute(self, path: Path) -> str | None:
        """Return the SHA-256 of a file; None if it cannot be read or changes meanwhile.

        Raises:
            Cancelled: The run was cancelled.
        """
        try:
            found = path.stat()
        except (OSError, ValueError):
            return None
        with self._lock:
            turn = self._turns.setdefault(_key(found), threading.Lock())
        with turn:
            return self.known(path, found) or self._hash(path, found)

    def _hash(self, path: Path, found: os.stat_result) -> str | None:
        try:
            sha256 = self._read(path, found)
        except OSError:
            return None
        if sha256 is not None:
            with self._lock:
                self._computed[_key(found)] = sha256
            self._known.put(path, found, sha256)
        return sha256

    def _read(self, path: Path, found: os.stat_result) -> str | None:
        fd = os.open(path, _FLAGS | getattr(os, "O_BINARY", 0))
        try:
            opened = os.fstat(fd)
            if not stat.S_ISREG(opened.st_mode) or _key(opened) != _key(found):
                return None
            hasher, left = hashlib.sha256(), found.st_size
            while left > 0 and (piece := os.read(fd, READ_SIZE)):
                self._cancel.raise_if_cancelled()
                hasher.update(piece)
                left -= len(piece)
            # A file that was written to meanwhile has another time now: its digest would be of a mixture.
            return hasher.hexdigest() if not left and _key(os.fstat(fd)) == _key(found) else None
        finally:
            os.close(fd)


def _key(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class SearchOffer(LocalOffer):
    """Files of the right size below one directory, whose SHA-256 is not known yet.

    They are hashed one after the other when the offer is opened, and the first one that has the pinned bytes
    is read.

    Args:
        root: The directory.
        paths: The files, the most likely one first.
        file: The pinned file.
        digests: Computes and remembers digests.
    """

    def __init__(self, root: Path, paths: Sequence[Path], file: FileSpec, digests: LocalDigests) -> None:
        super().__init__(paths[0])
        self.host = str(root)
        self.address = f"{paths[0]} (by size)"
        self._paths = paths
        self._file = file
        self._digests = digests

    def is_ruled_out(self) -> bool:
        """Whether none of the files has the pinned bytes; found out now if they are small.

        Many small files have a size by chance. Trying each as a source would report as many failures, and
        would keep their files out of batches. Large files are hashed when they are opened, with progress.
        """
        return self._file.size <= RULED_OUT_AT_ONCE and self._find() is None

    def _find(self) -> Path | None:
        """Return the file with the pinned bytes; hashes files until it is found."""
        sha256 = self._file.sha256
        return next((path for path in self._paths if self._digests.compute(path) == sha256), None)

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> DiskStream:
        """Find the file with the pinned bytes, and open it.

        Raises:
            SourceError: None of the files has them.
            Cancelled: The run was cancelled.
        """
        path = self._find()
        if path is not None:
            self.path = path
            return super().open(offset, end, first_byte)
        count = len(self._paths)
        files = "the file" if count == 1 else f"each of the {count} files"
        raise SourceError(Fault.NOT_FOUND, f"{files} of this size has other bytes")

"""This disk: the same bytes in another model, or in the cache of the Hugging Face libraries."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.sources.base import LOCAL, Offer
from modelfetch.sources.huggingface import cache_folder

READ_SIZE = 1024 * 1024
"""Bytes per read; any size from 16 KiB on hashes equally fast, larger ones save system calls."""

Finder = Callable[[Manifest, FileSpec], Iterable[Path]]
"""Where files with these bytes might lie. Existence and content are checked by the offer and the hash."""


class LocalSource:
    """Files that should have the pinned bytes already."""

    kind = LOCAL

    def __init__(self, finders: Sequence[Finder]) -> None:
        self._finders = finders

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer per existing file of the right size, each inode once."""
        found: dict[tuple[int, int], Offer] = {}
        for finder in self._finders:
            for path in finder(manifest, file):
                look = _regular(path)
                if look is not None and look.st_size == file.size:
                    found.setdefault((look.st_dev, look.st_ino), LocalOffer(path))
        return list(found.values())


def _regular(path: Path) -> os.stat_result | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - three lookups for each of thousands of files
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def in_huggingface_cache(cache: Path) -> Finder:
    """Find files in a Hugging Face hub cache: large ones by digest, others at the pinned revision."""

    def find(manifest: Manifest, file: FileSpec) -> Iterator[Path]:
        repo = manifest.huggingface
        if repo is None:
            return
        folder = cache / cache_folder(repo)
        yield folder / "blobs" / file.sha256
        yield folder / "snapshots" / repo.revision / (file.huggingface_path or file.path)

    return find


class LocalOffer:
    """A file on this disk."""

    kind = LOCAL

    def __init__(self, path: Path) -> None:
        self.host = str(path.parent)
        self.address = str(path)
        self.path = path

    def open(
        self,
        offset: int,
        end: int | None = None,
        first_byte: float | None = None,  # noqa: ARG002
    ) -> LocalStream:
        """Read the file from ``offset`` on, to ``end`` where that is given."""
        return LocalStream(self.path, offset, end)


class LocalStream:
    """Bytes of a file on this disk."""

    ranged = True

    def __init__(self, path: Path, start: int, end: int | None = None) -> None:
        self.start = start
        self._left = math.inf if end is None else end - start
        try:
            self._file = path.open("rb", buffering=0)
            self._file.seek(start)
        except OSError as error:
            raise _unreadable(error) from error

    def __iter__(self) -> Iterator[bytes]:
        """Yield the rest of the file, or of the part."""
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

"""Files on this disk: the same bytes in another model, or in the cache of the Hugging Face libraries.

Nothing is trusted here either: the content of a file is verified like a download, as it may have been
changed.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.source_kinds import SourceKind
from modelfetch.sources.base import Offer, RegisteredSource, SourceContext
from modelfetch.sources.huggingface import cache_folder

if TYPE_CHECKING:
    from modelfetch.store import Store

READ_SIZE = 1024 * 1024
"""Bytes per read. Hashing is equally fast from 16 KiB on; larger reads save system calls."""

Finder = Callable[[Manifest, FileSpec], Iterable[Path]]
"""Returns paths where a file may be. Its existence and content are checked afterwards."""


class LocalSource(RegisteredSource):
    """Existing files that may have the pinned bytes.

    Args:
        finders: Functions that return paths for a file.
    """

    kind = SourceKind.LOCAL

    def __init__(self, finders: Sequence[Finder]) -> None:
        self._finders = finders

    @classmethod
    def from_context(cls, context: SourceContext) -> LocalSource:
        """Search this cache and that of the Hugging Face libraries."""
        return cls([in_store(context.store), in_huggingface_cache(context.loaded.hf_cache)])

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer per existing file of the right size; hard links to one inode count once."""
        found: dict[tuple[int, int], Offer] = {}
        for finder in self._finders:
            for path in finder(manifest, file):
                status = _regular(path)
                if status is not None and status.st_size == file.size:
                    found.setdefault((status.st_dev, status.st_ino), LocalOffer(path))
        return list(found.values())


def _regular(path: Path) -> os.stat_result | None:
    """The status of a regular file, links followed; None for anything else."""
    try:
        found = os.stat(path)  # noqa: PTH116 - faster than Path.stat, for thousands of files
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def in_store(store: Store) -> Finder:
    """Make a finder for placed models in this cache, whose blob may have been lost."""

    @cache  # once a run: reading all receipts for each file would take longer than fetching small files
    def placed() -> dict[str, list[Path]]:
        return store.placed()

    def find(manifest: Manifest, file: FileSpec) -> Iterator[Path]:
        yield store.directory(manifest) / file.path
        yield from placed().get(file.sha256, ())

    return find


def in_huggingface_cache(directory: Path) -> Finder:
    """Make a finder for the cache of the Hugging Face libraries.

    Large files are stored there under their SHA-256 in ``blobs``; small ones are found by the pinned
    revision.

    Args:
        directory: The directory ``hub`` of the cache.
    """

    def find(manifest: Manifest, file: FileSpec) -> Iterator[Path]:
        repo = manifest.huggingface
        if repo is None:
            return
        folder = directory / cache_folder(repo)
        yield folder / "blobs" / file.sha256
        yield folder / "snapshots" / repo.revision / (file.huggingface_path or file.path)

    return find


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

    def open(
        self,
        offset: int,
        end: int | None = None,
        first_byte: float | None = None,  # noqa: ARG002
    ) -> LocalStream:
        """Open the file at ``offset``; read to ``end`` if that is given."""
        return LocalStream(self.path, offset, end)


class LocalStream:
    """Bytes of a file on this disk.

    Args:
        path: Path of the file.
        start: Position of the first byte.
        end: End of the part, exclusive; None for the rest of the file.

    Raises:
        SourceError: The file cannot be opened.
    """

    ranged = True

    def __init__(self, path: Path, start: int, end: int | None = None) -> None:
        self.start = start
        self._left = math.inf if end is None else end - start
        try:
            self._file = path.open("rb", buffering=0)  # reads are large: no buffer needed
            self._file.seek(start)
        except OSError as error:
            raise _unreadable(error) from error

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

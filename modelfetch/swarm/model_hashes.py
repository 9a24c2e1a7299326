"""Computes the torrent of a model from its files, and checks on the way that they are those pinned.

Each file is read once. Its whole SHA-256 is computed by the thread that reads, the hashes of its pieces by
others. The number of pieces in memory is bounded.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.errors import IntegrityError, StoreError
from modelfetch.model.regular_file import hint_for, open_regular
from modelfetch.model.text import sanitize
from modelfetch.swarm.merkle import FileHashes, hash_pieces, piece_hash
from modelfetch.swarm.metainfo import Metainfo, build, piece_length, torrent_name

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest

Progress = Callable[[str, int, int], None]
"""Called with the path of a file, the bytes of it that were read so far, and its size."""

_THREADS: Final = 4
"""One reader does not keep more busy."""
_AHEAD: Final = 8
"""Pieces in memory, of at most 4 MiB each."""


def hash_model(manifest: Manifest, places: Mapping[str, Path], show: Progress = lambda *_: None) -> Metainfo:
    """Read all files of a model, and make its torrent.

    Args:
        manifest: The model.
        places: Where the bytes of each file are, by its path in the model.
        show: Called while a file is read.

    Raises:
        IntegrityError: A file does not have the bytes that are pinned.
        StoreError: A file cannot be read.
    """
    length = piece_length(manifest.size)
    by_digest: dict[str, FileHashes] = {}
    with _Pool(length) as pool:
        for file in manifest.files:
            if file.sha256 not in by_digest:
                by_digest[file.sha256] = _hash(file, places[file.path], length, pool, show)
    return build(
        torrent_name(manifest), {file.path: by_digest[file.sha256] for file in manifest.files}, length
    )


class _Pool:
    """Threads that compute hashes of pieces."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._executor = ThreadPoolExecutor(_THREADS, "pieces")
        self._room = threading.Semaphore(_AHEAD)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def run(self, data: bytes) -> Callable[[], bytes]:
        """Start to compute the hash of a piece; waits while many are in memory."""
        self._room.acquire()
        try:
            return self._executor.submit(self._hash, data).result
        except RuntimeError:  # the system allows no more threads
            digest = self._hash(data)
            return lambda: digest

    def _hash(self, data: bytes) -> bytes:
        try:
            return piece_hash(data, self._length)
        finally:
            self._room.release()


def _hash(file: FileSpec, place: Path, length: int, pool: _Pool, show: Progress) -> FileHashes:
    whole = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        done = 0
        for data in _read(place, length):
            done += len(data)
            if done > file.size:  # at once, and not at the end: the file may be far larger
                raise _damaged(file, place)
            whole.update(data)
            show(file.path, done, file.size)
            yield data

    found = hash_pieces(pieces(), length, pool.run)
    if not file.is_pinned(whole.hexdigest(), found.size):
        raise _damaged(file, place)
    return found


def _read(place: Path, length: int) -> Iterator[bytes]:
    try:
        with open_regular(place) as opened:
            while True:
                piece = bytearray()
                while len(piece) < length and (part := opened.read(length - len(piece))):
                    piece += part
                if not piece:
                    return
                yield bytes(piece)
    except OSError as error:
        where = sanitize(str(place))
        raise StoreError(f"cannot read {where}: {error.strerror}", hint=hint_for(error)) from error


def _damaged(file: FileSpec, place: Path) -> IntegrityError:
    return IntegrityError(
        f"{sanitize(str(place))} does not have the bytes that the manifest pins for {sanitize(file.path)}",
        hint="`modelfetch verify --repair` repairs it.",
    )

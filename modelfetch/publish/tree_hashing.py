"""Hashes files into UnixFS trees, with the chunks hashed in threads.

One thread reads a file in order. The chunks are hashed by a pool of threads, since :mod:`hashlib` releases
the interpreter lock; meanwhile the reading thread computes the SHA-256 of the whole file, if that is wanted.
The number of chunks under way is bounded, so that a file of any size needs the same memory::

    with HashingPool() as pool:
        hashed = hash_file(path, UNIXFS_V1_2025, pool)
        hashed.tree.root                       # the CID
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from modelfetch import threads
from modelfetch.errors import StoreError
from modelfetch.ipfs.file_tree import Built, FileTree, leaf_digest
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.regular_file import hint_for, open_regular
from modelfetch.model.text import quote

if TYPE_CHECKING:
    from modelfetch.ipfs.profiles import Profile

BLOCK: Final = 1 << 20
"""Bytes that are read at a time: one chunk of the profile ``unixfs-v1-2025``."""
THREADS: Final = min(4, os.cpu_count() or 1)
"""Threads that hash chunks. One reader does not keep more busy: it copies about 8 GB/s from the page cache,
and a thread hashes about 2 GB/s."""
_AHEAD: Final = 4
"""Chunks that may wait or be under way for each thread, so that none waits for the reader."""

Progress = Callable[[int], None]
"""Gets the bytes of a file that were read so far."""


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file that was read to its end."""

    tree: Built
    sha256: str
    """SHA-256 of the whole file in hexadecimal; empty if it was not wanted."""


class _Job:
    """A chunk, and its digest as soon as it is there."""

    __slots__ = ("_digest", "_done", "_error", "chunk", "profile")

    def __init__(self, chunk: bytes | memoryview, profile: Profile) -> None:
        self.chunk = chunk
        self.profile = profile
        self._digest = b""
        self._error: BaseException | None = None
        self._done = threading.Event()

    def run(self) -> None:
        """Hash the chunk; an error is raised where the digest is wanted, never in the pool."""
        try:
            self._digest = leaf_digest(self.chunk, self.profile)
        except BaseException as error:  # reported by digest()
            self._error = error
        self._done.set()

    def digest(self) -> bytes:
        """Wait for the digest."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._digest


class HashingPool:
    """Threads that hash chunks of any number of files. They are started when the first chunk comes.

    Args:
        most: Number of threads.
    """

    def __init__(self, most: int = THREADS) -> None:
        self.most: Final = most
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._running = 0
        self._is_started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _each in range(self._running):
            self._jobs.put(None)

    def submit(self, chunk: bytes | memoryview, profile: Profile) -> _Job:
        """Hash a chunk, in a thread if the system allows one."""
        job = _Job(chunk, profile)
        self._start()
        if self._running:
            self._jobs.put(job)
        else:
            job.run()
        return job

    def _start(self) -> None:
        with self._lock:
            if self._is_started:
                return
            self._is_started = True
            for number in range(self.most):
                self._running += threads.start(self._work, f"chunks-{number}") is not None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()


def hash_file(
    path: Path,
    profile: Profile,
    pool: HashingPool,
    *,
    whole: bool = False,
    progress: Progress = lambda _: None,
) -> HashedFile:
    """Hash a regular file; links are followed.

    Args:
        path: The file.
        profile: How it becomes a tree.
        pool: Hashes the chunks.
        whole: Whether to compute the SHA-256 of the whole file, too.
        progress: Called after each block.

    Raises:
        StoreError: The file cannot be read, or changed meanwhile.
    """
    return hash_pieces(read_file(path), profile, pool, whole=whole, progress=progress)


def hash_pieces(
    pieces: Iterable[bytes],
    profile: Profile,
    pool: HashingPool,
    *,
    whole: bool = False,
    progress: Progress = lambda _: None,
) -> HashedFile:
    """Hash a file that is read elsewhere; see :func:`hash_file`.

    Args:
        pieces: Its bytes in order, in pieces of any size. They are kept until they were hashed: a view of a
            buffer that is used again would not do.
        profile: How it becomes a tree.
        pool: Hashes the chunks.
        whole: Whether to compute the SHA-256 of the whole file, too.
        progress: Called after each piece.
    """
    tree = FileTree(profile)
    waiting: deque[_Job] = deque()
    hasher = hashlib.sha256()
    received = 0

    def counted() -> Iterator[bytes]:
        nonlocal received
        for piece in pieces:
            yield piece
            # Control returns here when the chunks of the piece were submitted: both are hashed at once.
            if whole:
                hasher.update(piece)
            received += len(piece)
            progress(received)

    for chunk in _chunks(counted(), profile.chunk_size):
        waiting.append(pool.submit(chunk, profile))
        if len(waiting) > _AHEAD * pool.most:
            _add(tree, waiting.popleft())
    for job in waiting:
        _add(tree, job)
    return HashedFile(tree.finish(), hasher.hexdigest() if whole else "")


def _add(tree: FileTree, job: _Job) -> None:
    tree.add_leaf(job.digest(), len(job.chunk))


def _chunks(pieces: Iterable[bytes], size: int) -> Iterator[bytes | memoryview]:
    """Cut bytes into chunks of one size; the last one may be shorter. Nothing is copied if they fit."""
    held = bytearray()
    for piece in pieces:
        view = memoryview(piece)
        if held:
            taken = view[: size - len(held)]
            held += taken
            view = view[len(taken) :]
            if len(held) < size:
                continue
            yield bytes(held)
            held.clear()
        while len(view) >= size:
            yield view[:size]
            view = view[size:]
        held += view
    if held:
        yield bytes(held)


def read_file(path: Path) -> Iterator[bytes]:
    """Yield the blocks of a regular file.

    Raises:
        StoreError: The file cannot be read, or its size or time of modification changed meanwhile: then the
            tree would be that of a file that never existed.
    """
    try:
        with open_regular(path) as opened:
            before = os.fstat(opened.fileno())
            while block := opened.read(BLOCK):
                yield block
            after = os.fstat(opened.fileno())
    except OSError as error:
        raise unreadable(path, error) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise StoreError(f"{quote(str(path), 200)} changed while it was read", hint="Run the command again.")


def unreadable(path: Path, error: OSError) -> StoreError:
    """Make the error for a path that cannot be read."""
    return StoreError(
        f"cannot read {quote(str(path), 200)}: {(error.strerror or 'unknown error').lower()}",
        hint=hint_for(error),
    )

"""How a store hashes: what is hashed, and by which threads.

Threads hash the bytes that their writers could not hash: those out of order, or of an earlier run.

:mod:`hashlib` releases the interpreter lock, so a thread that hashes during the transfer adds no time. A file
is hashed by one thread at a time, in order. There are two threads, so that two files are hashed at once.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from modelfetch import threads
from modelfetch.store.chunk_digests import CHUNK, ChunkHasher, HashingShare
from modelfetch.store.files import BLOCK

if TYPE_CHECKING:
    from modelfetch.settings.values import ChunkMapMode
    from modelfetch.store.prefix import Hasher

THREADS: Final = min(2, os.cpu_count() or 1)
"""Number of hashing threads."""
IDLE_SECONDS: Final = 1.0
"""Seconds a thread waits for work before it ends."""


class Follower(Protocol):
    """A file whose written bytes can be hashed block by block."""

    def hash_on(self, buffer: memoryview) -> bool:
        """Hash the next block of bytes that are there.

        Args:
            buffer: A buffer to read into.

        Returns:
            Whether there is more to hash. If not, the file must be passed to :meth:`Hashing.follow` again.
        """


class Hashing:
    """The hashing of one store. Its threads start on demand, and end after :data:`IDLE_SECONDS` without work.

    Args:
        most: Number of threads, instead of :data:`THREADS`; with 0 the writers hash.
        chunk_maps: The setting ``cache.chunk_maps``, which decides whether chunks are hashed too.
    """

    def __init__(self, most: int | None = None, chunk_maps: ChunkMapMode = "never") -> None:
        self._most = THREADS if most is None else most
        self._chunk_maps = chunk_maps
        self._share = HashingShare()
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Follower] = queue.SimpleQueue()
        self._running = 0

    @property
    def has_threads(self) -> bool:
        """Whether there are threads at all."""
        return self._most > 0

    def new_hasher(self, size: int | None) -> Hasher:
        """Return the hasher for a file of a size in bytes, if that is known; see :class:`.ChunkHasher`."""
        if self._chunk_maps == "never" or (size is not None and size <= CHUNK):
            return hashlib.sha256()
        return ChunkHasher(self._share if self._chunk_maps == "auto" else None)

    def follow(self, follower: Follower) -> None:
        """Queue a file; a thread hashes the bytes of it that are there."""
        self._waiting.put(follower)
        with self._lock:
            if self._running == self._most:
                return
            self._running += 1
        if threads.start(self._work, "hashing") is None:
            self._hash_here()

    def _hash_here(self) -> None:
        """Hash the queued files in this thread, because no thread could be started and none is running."""
        with self._lock:
            self._running -= 1
            if self._running:
                return
        buffer = memoryview(bytearray(BLOCK))
        with suppress(queue.Empty):
            while True:
                follower = self._waiting.get_nowait()
                if follower.hash_on(buffer):
                    self._waiting.put(follower)

    def _work(self) -> None:
        buffer = memoryview(bytearray(BLOCK))
        while True:
            try:
                follower = self._waiting.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                if self._is_over():
                    return
                continue
            if follower.hash_on(buffer):
                self._waiting.put(follower)  # at the end of the queue, so that all files advance

    def _is_over(self) -> bool:
        with self._lock:
            if not self._waiting.empty():
                return False
            self._running -= 1
            return True

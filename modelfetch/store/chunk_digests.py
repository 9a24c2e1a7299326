"""Takes the SHA-256 of each chunk of a file along with that of the file, where this costs no time.

The chunk digests are a second SHA-256 of every byte. While the network is the bottleneck the processor waits
anyway; where hashing takes much of the time, they would make the fetch longer. So the mode ``auto`` measures
which part of the time of a run is spent on the hashes of whole files, and gives the chunks up when that is
too much. A file whose chunks were given up has no chunk map until ``verify``, which reads all of it anyway.

:class:`ChunkHasher` takes the place of :func:`hashlib.sha256` in :class:`modelfetch.store.prefix.Prefix`.
When a claim of a journal is false, the prefix continues with a copy from the beginning of the claim: so the
chunk digests go back together with the hash of the file.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelfetch.ipfs.file_tree import Built

CHUNK: Final = 1 << 20
"""Bytes of a chunk: ``chunk_size`` of the profile ``unixfs-v1-2025``, without loading it."""
MOST_SHARE: Final = 0.08
"""Largest part of the time that the hashes of whole files may take for chunks to be hashed too. A processor
with SHA instructions (2 GB/s) takes 0.06 on a link of 1 Gb/s. Over loopback, where hashing is the limit, 0.3
to 1 (of several threads) was measured; the first MiB were at 0.1 to 0.2, as the program was starting."""
LEAST_BYTES: Final = 4 << 20
"""Bytes that must be hashed before the share counts: the first reads of a connection come in bursts. To hash
the chunks of so many bytes takes 2 ms."""
LONGEST_PAUSE: Final = 1.0
"""Longest time without hashing that counts, in seconds. A run that waited a minute for a lock could otherwise
spend seconds on hashing before the share shows it."""
_DIGEST_SIZE: Final = 32


class HashingShare:
    """Which part of the time of a run is spent on the hashes of whole files. Thread-safe.

    Files that are fetched at the same time share the processors, so they share this measurement too.

    Args:
        clock: Returns seconds; replaced by tests, as the next one.
        cpu_clock: Returns the seconds that this thread was running. A thread that has to wait for a processor
            in the middle of a hash would otherwise seem to hash all that time.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self.cpu_clock: Final = cpu_clock
        self._clock = clock
        self._lock = threading.Lock()
        self._hashed = 0
        self._spent = 0.0
        self._elapsed = 0.0
        self._latest: float | None = None
        """The end of the latest hashing."""

    def note(self, spent: float, size: int) -> None:
        """Add the hashing of some bytes of a file, which has just ended, with its seconds."""
        with self._lock:
            now = self._clock()
            began = now - spent if self._latest is None else self._latest
            self._elapsed += min(now - began, LONGEST_PAUSE)
            self._latest = now
            self._spent += spent
            self._hashed += size

    @property
    def is_high(self) -> bool:
        """Whether hashing takes so much of the time that it must not take longer."""
        with self._lock:
            return self._hashed >= LEAST_BYTES and self._spent > MOST_SHARE * self._elapsed


class ChunkHasher:
    """A running SHA-256 of a file that also has those of its complete chunks, unless they are given up.

    Like any hasher it is used by one thread at a time.

    Args:
        share: Decides when the chunks are given up; None for never.
    """

    def __init__(self, share: HashingShare | None) -> None:
        self._share = share
        self._takes_chunks = share is None or not share.is_high
        self._whole = hashlib.sha256()
        self._chunk = hashlib.sha256()
        """Of the bytes of the current chunk."""
        self._filled = 0
        """Bytes of the current chunk."""
        self._count = 0
        """Number of complete chunks."""
        self._digests = bytearray()
        """Their digests; copies share it, and behind the first ``_count`` may have those of other bytes."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Hash the next bytes."""
        if self._share is None:
            self._whole.update(data)
        else:
            began = self._share.cpu_clock()
            self._whole.update(data)
            self._share.note(self._share.cpu_clock() - began, len(data))
        if self._takes_chunks:
            self._add_to_chunks(memoryview(data))

    def hexdigest(self) -> str:
        """Return the SHA-256 of the file so far."""
        return self._whole.hexdigest()

    def copy(self) -> ChunkHasher:
        """Return a copy; only one of the two may get more bytes."""
        # A copy is made for each MiB of an interrupted download: copying all digests would take seconds.
        copied = object.__new__(ChunkHasher)
        copied.__dict__.update(self.__dict__)
        copied._whole, copied._chunk = self._whole.copy(), self._chunk.copy()
        return copied

    def tree(self) -> Built | None:
        """Build the UnixFS tree of the file, whose bytes have all been hashed; None if chunks were given up.

        Nothing may be hashed after that.
        """
        if not self._takes_chunks:
            return None
        from modelfetch.ipfs.file_tree import FileTree
        from modelfetch.ipfs.profiles import UNIXFS_V1_2025

        tree = FileTree(UNIXFS_V1_2025)
        for start in range(0, self._count * _DIGEST_SIZE, _DIGEST_SIZE):
            tree.add_leaf(bytes(self._digests[start : start + _DIGEST_SIZE]), CHUNK)
        if self._filled:
            tree.add_leaf(self._chunk.digest(), self._filled)
        return tree.finish()

    def _add_to_chunks(self, data: memoryview) -> None:
        while self._takes_chunks and data:
            part = data[: CHUNK - self._filled]
            self._chunk.update(part)
            self._filled += len(part)
            data = data[len(part) :]
            if self._filled == CHUNK:
                self._complete(self._chunk.digest())

    def _complete(self, digest: bytes) -> None:
        self._digests[self._count * _DIGEST_SIZE :] = digest
        self._count, self._filled = self._count + 1, 0
        self._chunk = hashlib.sha256()
        self._takes_chunks = self._share is None or not self._share.is_high

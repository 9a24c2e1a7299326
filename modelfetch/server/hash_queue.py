"""Hashes the files of the cache that no receipt lists, one after the other, and says how far it is with each.

Small files have a queue of their own, as each of them takes milliseconds.

The files of a model that another process is fetching have no receipt before the last one is there. Hashing
one takes seconds or minutes, and peers that ask for it meanwhile wait only for what makes progress. So a file
has progress also while those before it in the queue are hashed: the share of its wait that is over, in bytes
of the file. Example, for files of 4 and 2 GB that were asked for at the same time, after 3 GB::

    first     {"received": 3000000000, "size": 4000000000}
    second    {"received": 1000000000, "size": 2000000000}      3 of 6 GB are hashed
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from modelfetch.server.error_responses import Refusal
from modelfetch.server.pull_results import copy_of
from modelfetch.server.share_outlet import submit
from modelfetch.share.shared_cache import SMALL_BYTES
from modelfetch.store.in_progress import InProgress

if TYPE_CHECKING:
    from modelfetch.share.shared_cache import SharedFile


class Hashing(Protocol):
    """What hashes a file: see :meth:`modelfetch.share.shared_cache.SharedCache.find`."""

    def find(self, sha256: str, report: Callable[[int], None]) -> SharedFile | None:
        """Find the verified file of a digest; reports the bytes that were hashed so far."""


class HashQueue:
    """The files that are hashed for clients. Used by the event loop only.

    Args:
        hashing: Hashes one file, in a thread.
        clock: Monotonic seconds.
    """

    def __init__(self, hashing: Hashing, clock: Callable[[], float] = time.monotonic) -> None:
        self._hashing = hashing
        self._clock = clock
        # One thread each: hashing is for files that no receipt lists, and clients must not cause much of it.
        self._pool = ThreadPoolExecutor(1, "share-hash")
        self._small_pool = ThreadPoolExecutor(1, "share-hash-small")
        self._files: dict[str, _QueuedFile] = {}
        """By digest, in the order in which they are hashed by each of the two."""

    def close(self) -> None:
        """Hash no further file."""
        for pool in (self._pool, self._small_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    async def find(self, sha256: str, size: int) -> SharedFile | None:
        """Find the verified file of a digest by hashing it; all requests for one wait for the same result.

        Args:
            sha256: The digest.
            size: Bytes of the file that is to be hashed.

        Raises:
            Refusal: 503 without threads; 500 if the cache cannot be read at the moment; one for each request.
        """
        file = self._files.get(sha256) or self._begin(sha256, size)
        try:
            return await asyncio.shield(file.result)  # the end of one request does not end it for the others
        except Refusal as refusal:
            raise copy_of(refusal) from None

    def progress(self, sha256: str) -> InProgress | None:
        """Return how far a file is; None if it is not in the queue. It never goes back."""
        wanted = self._files.get(sha256)
        if wanted is None:
            return None
        left = 0
        for file in self._queue(wanted.size):
            left += file.left
            if file is wanted:
                break
        over = wanted.size * (wanted.bytes_to_hash - left) // max(1, wanted.bytes_to_hash)
        return InProgress(over, wanted.size, max(0.0, self._clock() - wanted.began))

    def _queue(self, size: int) -> list[_QueuedFile]:
        """Return the files in the queue of a file of some size."""
        return [file for file in self._files.values() if _is_small(file.size) == _is_small(size)]

    def _begin(self, sha256: str, size: int) -> _QueuedFile:
        before = sum(file.left for file in self._queue(size))
        file = _QueuedFile(size, before + size, self._clock())
        pool = self._small_pool if _is_small(size) else self._pool
        file.result = asyncio.wrap_future(submit(pool, self._hashing.find, sha256, file.note))
        self._files[sha256] = file
        file.result.add_done_callback(lambda _: self._files.pop(sha256, None))
        return file


def _is_small(size: int) -> bool:
    return size <= SMALL_BYTES


class _QueuedFile:
    """A file that is hashed, or is to be.

    Args:
        size: Its bytes.
        bytes_to_hash: The same, and those of the files before it, when it was asked for.
        began: Clock seconds at that time.
    """

    result: asyncio.Future[SharedFile | None]

    def __init__(self, size: int, bytes_to_hash: int, began: float) -> None:
        self.size = size
        self.bytes_to_hash = bytes_to_hash
        self.began = began
        self.left = size

    def note(self, hashed: int) -> None:
        """Note how many bytes were hashed; called by the thread that does so.

        Of two files that may have the digest both are hashed, and the file may grow.
        """
        self.left = min(self.left, max(0, self.size - hashed))

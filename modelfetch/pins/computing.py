"""Computes the digests of many files at the same time, since most of them are small and far away.

A Hugging Face repository has a dozen small files of which no digest is stated; one after the other, each
costs a round trip. The threads are daemons and are not waited for after an error or Ctrl-C: closing the
connections of the run ends what they do, and the cache removes what they leave.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.threads import start

if TYPE_CHECKING:
    from modelfetch.pins.digests import Digests
    from modelfetch.store.intake import FileDigest
    from modelfetch.upstreams.base import Upstream, UpstreamFile

WORKERS: Final = 4
"""Files that are read at the same time, as for downloads (``network.files``)."""


def compute_all(
    files: Sequence[UpstreamFile], upstream: Upstream, digests: Digests, workers: int = WORKERS
) -> list[FileDigest]:
    """Compute the digests of files, in their order.

    Raises:
        ModelfetchError: The first failure; see :meth:`.Digests.compute`.
    """
    if len(files) < 2 or workers < 2:
        return [digests.compute(upstream, file) for file in files]
    return _Workers(files, upstream, digests).run(workers)


class _Workers:
    """Threads that share a list of files."""

    def __init__(self, files: Sequence[UpstreamFile], upstream: Upstream, digests: Digests) -> None:
        self._files = files
        self._upstream = upstream
        self._digests = digests
        self._next = iter(range(len(files)))
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._results: queue.SimpleQueue[tuple[int, FileDigest | BaseException]] = queue.SimpleQueue()

    def run(self, workers: int) -> list[FileDigest]:
        """Compute everything, or raise the first failure."""
        threads = [start(self._work, f"digest-{number}") for number in range(min(workers, len(self._files)))]
        if not any(threads):  # the system allows no more threads
            self._work()
        found: dict[int, FileDigest] = {}
        try:
            while len(found) < len(self._files):
                index, result = self._results.get()
                if isinstance(result, BaseException):
                    raise result
                found[index] = result
        finally:
            self._stopped.set()
        return [found[index] for index in range(len(self._files))]

    def _work(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                index = next(self._next, None)
            if index is None:
                return
            try:
                self._results.put((index, self._digests.compute(self._upstream, self._files[index])))
            except BaseException as error:  # reported by run()
                self._results.put((index, error))
                return

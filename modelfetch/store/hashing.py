"""Threads that hash what other threads write.

A hash takes as long as all the rest of a download together, and :mod:`hashlib` works without the interpreter
lock: beside the transfer it costs no time of its own. Two threads, because two files can be hashed at once
(402 against 480 ms for 14 files on two processors); a single file is hashed by one, in order.
"""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from typing import Final, Protocol

from modelfetch import threads
from modelfetch.store.files import BLOCK

THREADS: Final = min(2, os.cpu_count() or 1)
"""Threads that hash at the same time."""
PROCESSORS: Final = os.cpu_count() or 1
"""With as many files under way none is free for a thread that hashes: whoever writes does it then. Over TLS,
where reading alone keeps a processor busy, 14 files took a sixth less time on two; without TLS, as long."""
IDLE_SECONDS: Final = 1.0
"""How long a thread waits for work before it ends."""


class Follower(Protocol):
    """Something that can be hashed a bit at a time."""

    def hash_on(self, buffer: memoryview) -> bool:
        """Hash the next bytes that are there.

        Args:
            buffer: Room to read into.

        Returns:
            Whether it may be called again at once; if not, it must be followed anew.
        """


class Hashing:
    """The threads of one store; they start with the first work, and end when there is none.

    Args:
        most: How many, instead of the usual number; with 0 whoever writes hashes.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = THREADS if most is None else most
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Follower] = queue.SimpleQueue()
        self._running = 0
        self._files = 0

    def begin(self) -> None:
        """Note that a file is under way."""
        with self._lock:
            self._files += 1

    def end(self) -> None:
        """Note that one is not any more."""
        with self._lock:
            self._files -= 1

    @property
    def is_crowded(self) -> bool:
        """Whether there is a file for each processor."""
        return self._files >= PROCESSORS

    @property
    def has_threads(self) -> bool:
        """Whether there are threads at all."""
        return self._most > 0

    def follow(self, follower: Follower) -> None:
        """Have something hashed as far as it is there, soon."""
        self._waiting.put(follower)
        with self._lock:
            if self._running == self._most:
                return
            self._running += 1
        if threads.start(self._work, "hashing") is None:
            self._hash_here()

    def _hash_here(self) -> None:
        """Hash in the calling thread what nobody else will, since the system has no thread to give."""
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
                self._waiting.put(follower)  # behind the others: every file gets on

    def _is_over(self) -> bool:
        with self._lock:
            if not self._waiting.empty():
                return False
            self._running -= 1
            return True

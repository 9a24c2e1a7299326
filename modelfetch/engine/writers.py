"""The threads that write to a file, and how one of them keeps the others out.

Many may write at the same time, each to its own range. What takes bytes away, or replaces all of them, waits
until none is writing and lets none begin::

    with writers:               # any number of threads
        partial.put(at, data)
    with writers.exclusive():   # alone
        partial.restart()
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final


class Writers:
    """The threads that write to one file; a context manager for each of their writes.

    Attributes:
        lock: Held by :meth:`exclusive`, and for moments else; also for what the caller counts about writes.
    """

    def __init__(self) -> None:
        self.lock: Final = threading.Lock()
        self._ended = threading.Condition(self.lock)
        self._count = 0

    def __enter__(self) -> None:
        with self.lock:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self._count -= 1
            self._ended.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Wait for all writes under way, and keep others from beginning until the end of the block."""
        with self.lock:
            self._ended.wait_for(lambda: not self._count)
            yield

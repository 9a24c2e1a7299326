"""The log of a job: what happened, in order, for any number of followers at once.

A follower is a position in the log and nothing more: it reads on from the last number it saw. So a slow one
costs no memory and holds up nobody; what it can miss is progress, of which only the latest is kept.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from heapq import merge
from operator import attrgetter
from typing import Final

from modelfetch.engine.events import Progress
from modelfetch.lazy_dataclass import dataclass

RING: Final = 256
"""Progress entries kept. Each is absolute, so a newer one makes up for any that fell out."""
FOLLOWERS: Final = 64
"""Followers of one job: far more tabs and terminals than a person has, far fewer than hurt."""

_number = attrgetter("n")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a job, ready to be sent."""

    n: int
    """Number of the event in its run."""
    kind: str
    data: str
    """The record's JSON, in one line."""

    @property
    def is_replaceable(self) -> bool:
        """Whether a later entry makes up for a lost one."""
        return self.kind == Progress.kind


class Crowded(Exception):  # noqa: N818 - a fact about the log, made an answer by its caller
    """As many follow this log as may."""


class Log:
    """The entries of one job. Written by one thread, read by any number.

    Attributes:
        marker: How its stream ends (``[DONE]``, ...), once nothing will be added any more; None before.
    """

    def __init__(self, entries: Iterable[Entry] = (), marker: str | None = None) -> None:
        self.marker = marker
        self._facts: list[Entry] = []
        self._progress: deque[Entry] = deque(maxlen=RING)
        self._lock = threading.Lock()
        self._followers: set[Callable[[], None]] = set()
        for entry in entries:
            self.append(entry)

    @property
    def last(self) -> int | None:
        """Number of the newest entry; None when there is none."""
        with self._lock:
            newest = [entries[-1].n for entries in (self._facts, self._progress) if entries]
        return max(newest, default=None)

    def append(self, entry: Entry) -> None:
        """Add an entry; its number is larger than those before it."""
        with self._lock:
            (self._progress if entry.is_replaceable else self._facts).append(entry)
        self._wake()

    def end(self, marker: str) -> None:
        """Say that nothing follows."""
        self.marker = marker
        self._wake()

    def after(self, n: int, limit: int) -> list[Entry]:
        """Give the first ``limit`` entries behind number ``n`` that are still kept."""
        with self._lock:
            start = bisect_right(self._facts, n, key=_number)
            facts = self._facts[start : start + limit]
            progress = list(self._newer(n))
        return list(merge(facts, reversed(progress), key=_number))[:limit]

    def _newer(self, n: int) -> Iterator[Entry]:
        """Give the progress behind a number, the newest first."""
        for entry in reversed(self._progress):
            if entry.n <= n:
                return
            yield entry

    @contextmanager
    def following(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have ``wake`` called, on any thread, after each change; it must be quick.

        Raises:
            Crowded: As many follow as may.
        """
        with self._lock:
            if len(self._followers) >= FOLLOWERS:
                raise Crowded
            self._followers.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._followers.discard(wake)

    def _wake(self) -> None:
        with self._lock:
            followers = tuple(self._followers)
        for wake in followers:
            wake()

"""The log of a job: its events in order, readable by any number of followers at once.

A follower is only a position in the log: it reads the entries above the last number it saw. So a slow
follower uses no memory and delays no other one. All events are kept except progress, of which only the latest
are: each progress event has absolute numbers, so a later one replaces those that were dropped.
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

MAX_PROGRESS: Final = 256
"""Progress entries kept; older ones are dropped."""
MAX_FOLLOWERS: Final = 64
"""Followers of one job: more browser tabs and terminals than a person uses, few enough to wake on each
entry."""

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


class TooManyFollowers(Exception):  # noqa: N818 - the stream turns it into a response with status 429
    """The limit of followers of one log is reached."""


class Log:
    """The entries of one job. One thread appends to it, any number of threads read it.

    Attributes:
        marker: The last line of its stream (``[DONE]``, ...), set once no entry will be added; None before.
    """

    def __init__(self, entries: Iterable[Entry] = (), marker: str | None = None) -> None:
        self.marker = marker
        # Two sequences, each sorted by number: permanent entries are found by bisection, and dropping old
        # progress never moves them.
        self._permanent: list[Entry] = []
        self._progress: deque[Entry] = deque(maxlen=MAX_PROGRESS)
        self._lock = threading.Lock()
        self._followers: set[Callable[[], None]] = set()
        for entry in entries:
            self.append(entry)

    @property
    def last(self) -> int | None:
        """Number of the newest entry; None when there is none."""
        with self._lock:
            newest = [entries[-1].n for entries in (self._permanent, self._progress) if entries]
        return max(newest, default=None)

    def append(self, entry: Entry) -> None:
        """Add an entry; its number must be larger than all before it."""
        with self._lock:
            (self._progress if entry.is_replaceable else self._permanent).append(entry)
        self._notify()

    def end(self, marker: str) -> None:
        """Set the end marker; no entry may be added afterwards."""
        self.marker = marker
        self._notify()

    def after(self, n: int, limit: int) -> list[Entry]:
        """Return the first ``limit`` entries with a number above ``n`` that are still kept."""
        with self._lock:
            start = bisect_right(self._permanent, n, key=_number)
            permanent = self._permanent[start : start + limit]
            progress = list(self._newer_progress(n))
        return list(merge(permanent, reversed(progress), key=_number))[:limit]

    def _newer_progress(self, n: int) -> Iterator[Entry]:
        """Iterate over progress with a number above ``n``, newest first; most followers need few."""
        for entry in reversed(self._progress):
            if entry.n <= n:
                return
            yield entry

    @contextmanager
    def subscribe(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call ``wake`` on any thread after each change; it must return fast, as the run waits for it.

        Raises:
            TooManyFollowers: The limit of followers is reached.
        """
        with self._lock:
            if len(self._followers) >= MAX_FOLLOWERS:
                raise TooManyFollowers
            self._followers.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._followers.discard(wake)

    def _notify(self) -> None:
        with self._lock:
            followers = tuple(self._followers)
        # Called without the lock: a follower may read the log, or unsubscribe, at once.
        for wake in followers:
            wake()

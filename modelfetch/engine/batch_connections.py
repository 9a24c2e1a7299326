"""The number of connections of a batch of small files: as many as answers prove to be useful.

A server may have few threads, and each of them serves one connection for as long as that is kept alive.
Further connections are accepted there but not answered, and the files requested over them wait until another
connection is idle. So a batch starts with a few connections, adds some for each one that was answered, and
closes those that get no answer while others do.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

WAIT_OF_ONE: Final = 0.0008
"""Seconds of wait that are worth one thread more: about twice the processor time of a file. Measured: over
loopback four threads are slower than one; with answers after 50 ms, 64 are best."""
MOST: Final = 64
"""The most threads, and so connections, of a batch; more gain nothing measurable and load the server."""
PER_FILE: Final = 16
"""Connections of a batch for each file that may be in work at the same time (``network.files``)."""
IN_MEMORY: Final = 16 * 1024 * 1024
"""The most bytes of unverified files in memory: there are fewer threads where files are larger."""
FIRST: Final = 8
"""Connections that need no proof: about as many as the thread pools of small servers have."""
GROWTH: Final = 8
"""Further connections for each one that was answered. With 8, the 64 that answers of 50 ms call for are open
after one round trip; with 4 it takes two, which cost a batch of 2,000 files a twentieth of its time."""
PATIENCE_SECONDS: Final = 1.0
"""Seconds that a new connection may wait for its first answer while others get theirs. A server that accepts
it and has no thread for it does not answer before another connection is closed."""
PATIENCE_WAITS: Final = 10
"""The same as a multiple of the usual wait for an answer, for slow servers."""
LOOK_SECONDS: Final = 0.25
"""Seconds between two checks whether the run was cancelled."""


def threads_for(wait: float, most: int) -> int:
    """The number of files to fetch at the same time.

    Args:
        wait: Seconds that one answer takes.
        most: The upper bound.
    """
    return min(most, max(1, math.ceil(wait / WAIT_OF_ONE)))


def most_threads(files: int) -> int:
    """The most threads of a batch; one for a run that was asked to fetch one file at a time."""
    return 1 if files == 1 else min(MOST, PER_FILE * files)


def fitting(sizes: Sequence[int]) -> int:
    """The number of files that may be in memory at the same time, whichever these are; at least one.

    Args:
        sizes: In bytes, the largest first.
    """
    return max(1, sum(1 for _ in takewhile(lambda total: total <= IN_MEMORY, accumulate(sizes))))


def patience(wait: float) -> float:
    """Seconds to wait for the first answer over a new connection.

    Args:
        wait: Seconds that an answer usually takes.
    """
    return max(PATIENCE_SECONDS, PATIENCE_WAITS * wait)


class BatchConnections:
    """Decides when each connection of a batch may start, and when one has to end. Thread-safe.

    Args:
        cancel: Cancels waiting connections.
    """

    def __init__(self, cancel: Cancellation) -> None:
        self._cancel = cancel
        self._changed = threading.Condition()
        self._allowed = FIRST
        self._answered = 0
        self._working = 0
        self._may_grow = True
        self._is_over = False

    def enter(self, number: int) -> bool:
        """Wait until a connection may start.

        Args:
            number: The number of connections that start before it.

        Returns:
            True when it may start; False when no work is left.

        Raises:
            Cancelled: The run was cancelled.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: self._is_over or number < self._allowed, LOOK_SECONDS):
                self._cancel.raise_if_cancelled()
            self._working += not self._is_over
            return not self._is_over

    def check_cancelled(self) -> None:
        """Raise when the work was cancelled.

        Raises:
            Cancelled: It was.
        """
        self._cancel.raise_if_cancelled()

    def note_answer(self) -> None:
        """Note the first answer over a connection: further connections are useful too."""
        with self._changed:
            self._answered += 1
            if self._may_grow:
                self._allowed = max(self._allowed, GROWTH * self._answered)
            self._changed.notify_all()

    def note_silence(self) -> bool:
        """Note that a new connection got no answer while others did: no further ones start.

        Returns:
            Whether this one must end, and has left with that. False for the last one, or nothing would be
            left to do the work.
        """
        with self._changed:
            self._may_grow = False
            has_others = self._working > 1
            self._working -= has_others  # now: several may be silent at the same time
            return has_others

    def leave(self, *, is_over: bool) -> None:
        """Note that a connection ended, unless :meth:`note_silence` told it to.

        Args:
            is_over: Whether it found no work left, so that no other needs to start.
        """
        with self._changed:
            self._working -= 1
            self._is_over = self._is_over or is_over
            self._changed.notify_all()

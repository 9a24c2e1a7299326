"""How many connections a batch of small files has: as many as answers prove to be of use.

A server may have few threads, each of them held by a connection for as long as that is kept alive. More
connections than threads are not refused there, but not answered either, and the files that are asked for over
them wait for those that are done to fall idle.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

FIRST: Final = 8
"""Connections that need no proof; the pools of small servers have about as many threads."""
GROWTH: Final = 8
"""Connections for each one that was answered. So 64, which 50 ms for an answer call for, are there after one
round; with 4, two of them cost a batch of 2,000 files a twentieth of its time."""
PATIENCE_SECONDS: Final = 1.0
"""How long a new connection may wait for its first answer while others get theirs: a server that accepts it
and has nobody to serve it will not answer before another one is closed."""
PATIENCE_WAITS: Final = 10
"""The same in answers, for those that take long."""
LOOK_SECONDS: Final = 0.25
"""Between two looks at whether the run was cancelled."""


def patience(wait: float) -> float:
    """Seconds for the first answer over a new connection.

    Args:
        wait: Seconds that an answer takes.
    """
    return max(PATIENCE_SECONDS, PATIENCE_WAITS * wait)


class BatchConnections:
    """Lets lanes begin one after the other. Thread-safe.

    Args:
        cancel: Ends the waiting.
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
        """Wait for the turn of a lane.

        Args:
            number: How many others come first.

        Returns:
            Whether it may begin; False when there is no work any more.

        Raises:
            Cancelled: The run was cancelled.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: self._is_over or number < self._allowed, LOOK_SECONDS):
                self._cancel.raise_if_cancelled()
            self._working += not self._is_over
            return not self._is_over

    def note_answer(self) -> None:
        """A lane got its first answer: that proves some more of them to be of use."""
        with self._changed:
            self._answered += 1
            if self._may_grow:
                self._allowed = max(self._allowed, GROWTH * self._answered)
            self._changed.notify_all()

    def note_silence(self) -> bool:
        """A new connection is not answered, while others are: no more of them, and this one is too many.

        Returns:
            Whether the lane is to end, because others are there to do its work.
        """
        with self._changed:
            self._may_grow = False
            return self._working > 1

    def leave(self, *, is_over: bool) -> None:
        """Note that a lane ended.

        Args:
            is_over: Whether it found nothing to do any more, so that nobody else needs to begin.
        """
        with self._changed:
            self._working -= 1
            self._is_over = self._is_over or is_over
            self._changed.notify_all()

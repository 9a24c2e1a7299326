"""Work in a thread that ends after a time limit, or when the server stops.

For requests to a hub, which may be slow. Both ends cancel the work, which then raises
:class:`modelfetch.cancel.Cancelled`, or the error of a connection that was cut::

    with work.running() as cancel:
        resolve(reference, cancel)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from modelfetch.cancel import Cancellation
from modelfetch.threads import start


class TimedWork:
    """One piece of work at a time, and what ends it. :meth:`stop` may be called by any thread.

    Args:
        seconds: Time limit of each piece of work.

    Attributes:
        seconds: As given.
        is_stopping: Whether the server stops.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_stopping = False
        self._cancel: Cancellation | None = None

    def stop(self) -> None:
        """End the work in progress, and all that begins later."""
        self.is_stopping = True
        if (cancel := self._cancel) is not None:
            cancel.cancel()

    @contextmanager
    def running(self) -> Iterator[Cancellation]:
        """Begin the work; gives what cancels it, until the end of the block.

        Where the system allows no more threads there is no time limit but those of each request.
        """
        cancel = self._cancel = Cancellation()
        if self.is_stopping:  # checked after it is set, so that a stop() in between is not missed
            cancel.cancel()
        is_over = threading.Event()

        def limit() -> None:
            if not is_over.wait(self.seconds):
                cancel.cancel()

        start(limit, "time-limit")
        try:
            yield cancel
        finally:
            is_over.set()
            self._cancel = None

"""Gives pieces that came from the sources to the engine of the swarm, in a thread of its own.

A piece is read again from the partial, or from the blob after the file was committed. Between the two, and
while the engine is behind, it waits here; so neither a connection nor the end of a file waits for the swarm.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelfetch.engine.swarm_fill import SwarmFile

RETRY_SECONDS: Final = 0.1
"""Seconds until a piece is tried again that could not be read: its file is being committed."""
COMMIT_SECONDS: Final = 10.0
"""Longest time for that: a commit syncs a large file for some seconds. The pieces of one that failed must not
hold up those of other files for longer."""


class Feeder:
    """The queue of pieces.

    Args:
        give: Gives a piece to the engine: infohash, number, bytes. May block.
        clock: Monotonic seconds.
    """

    def __init__(self, give: Callable[[str, int, bytes], None], clock: Callable[[], float]) -> None:
        self._give = give
        self._clock = clock
        self._queue: queue.SimpleQueue[tuple[SwarmFile, int, float | None] | None] = queue.SimpleQueue()
        self._is_stopped = False

    def put(self, file: SwarmFile, piece: int) -> None:
        """Have a piece given to the engine."""
        self._queue.put((file, piece, None))

    def stop(self) -> None:
        """End :meth:`run`, whatever is still in the queue."""
        self._is_stopped = True
        self._queue.put(None)

    def run(self) -> None:
        """Give pieces until :meth:`stop`."""
        while self.feed_next():
            pass

    def feed_next(self, *, is_blocking: bool = True) -> bool:
        """Give one piece to the engine.

        Args:
            is_blocking: Whether to wait until there is one.

        Returns:
            Whether there was one.
        """
        try:
            item = self._queue.get(block=is_blocking)
        except queue.Empty:
            return False
        if item is None or self._is_stopped:
            return False
        file, piece, given_up_at = item
        if file.model.is_finished(piece) or file.model.is_gone or file.is_abandoned:
            return True
        data = file.read(piece)
        now = self._clock()
        if data is not None:
            self._give(file.model.infohash, piece, data)
        elif given_up_at is None or now < given_up_at:
            time.sleep(RETRY_SECONDS * is_blocking)
            self._queue.put((file, piece, given_up_at or now + COMMIT_SECONDS))
        return True

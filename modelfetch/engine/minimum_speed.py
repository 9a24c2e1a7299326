"""The minimum speed of a source over several answers.

:mod:`modelfetch.net.time_limits` measures the speed of each answer while it is read. :class:`MinimumSpeed`
adds up the answers of one attempt: a source that sends many short answers of a few bytes each is slow too.
"""

from __future__ import annotations

import time

from modelfetch.errors import Fault, SourceError
from modelfetch.net.time_limits import Clock


class MinimumSpeed:
    """Ends an attempt at a source that is too slow over all of its answers.

    The speed of each answer is checked while it is read. This check is for sources that give many short
    answers with a few bytes each.

    Args:
        minimum: Bytes per second.
        window: Seconds over which the speed is measured.
        clock: Monotonic seconds.
    """

    def __init__(self, minimum: float, window: float, clock: Clock = time.monotonic) -> None:
        self._minimum = minimum
        self._window = window
        self._clock = clock
        self._began_at = clock()
        self._before = 0

    def check(self, received: int) -> None:
        """Check the speed since the last window ended.

        Args:
            received: Bytes of all answers so far.

        Raises:
            SourceError: The speed is too low.
        """
        seconds, count = self._clock() - self._began_at, received - self._before
        if seconds < self._window:
            return
        if count < self._minimum * seconds:
            raise SourceError(Fault.STALL, f"too slow: {count} bytes in {seconds:.0f} s")
        self._began_at, self._before = self._clock(), received

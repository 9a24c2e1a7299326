"""Measures whether one connection to a source is fast enough, or a file needs parallel ones.

The first connection of a file counts what it receives; the threads of the parallel ones wait for the result.
Example: with the default policy, a source that sends 4 MiB in 0.2 s is slow (20 MB/s), and parallel
connections start.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelfetch.engine.rate_limit import Clock
    from modelfetch.engine.segments import SplitPolicy


class SpeedProbe:
    """Finds out whether a file needs parallel connections, from what its first one receives. Thread-safe.

    Only the first connection calls :meth:`ask` and :meth:`add`; the threads of parallel connections block in
    :meth:`wait`. The events order the rest: every field is written before the event that announces it.

    Args:
        policy: The rules.
        clock: Monotonic seconds.
    """

    def __init__(self, policy: SplitPolicy, clock: Clock = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._max_delay = policy.max_delay
        self._asked = threading.Event()
        self._begun = threading.Event()
        self._measured = threading.Event()
        self._began_at = 0.0
        self._received = 0
        self._is_slow = False
        self._is_late = False

    def ask(self, *, over_tls: bool = False) -> None:
        """Note that the first connection sends its request now; the wait for its first byte begins."""
        self._max_delay = self._policy.max_delay * (1.5 if over_tls else 1.0)
        self._asked.set()

    def add(self, count: int) -> None:
        """Count bytes that the first connection received."""
        if self._measured.is_set():
            return
        if not self._begun.is_set():
            self._began_at = self._clock()
            self._begun.set()
        self._received += count
        seconds = self._clock() - self._began_at
        if self._received >= self._policy.sample or seconds >= self._policy.sample_seconds:
            self._is_slow = self._received < self._policy.fast_speed * seconds
            self._measured.set()

    @property
    def is_fast(self) -> bool | None:
        """Whether the first connection turned out to be enough; None while that is not known."""
        return not (self._is_slow or self._is_late) if self._measured.is_set() else None

    def wait(self) -> bool:
        """Block until the speed is known, or the source is late with its first byte.

        Returns:
            Whether parallel connections are of use.
        """
        self._asked.wait()
        if not self._begun.wait(self._max_delay):
            self._is_late = True
            return True
        # Bytes that stop coming give no further call of add(), so the wait is limited.
        self._measured.wait(2 * self._policy.sample_seconds)
        return self._is_slow or not self._measured.is_set()

"""How many files to fetch at the same time: two on a link that they fill, more where each leaves room.

A run starts :data:`FEW` files. Further ones wait until the first connections have measured their speed: they
stay back while these are fast, and start as soon as one is slow, waits or fails. Without a measurement they
start after :data:`DOUBT_SECONDS`.
"""

from __future__ import annotations

import threading
from typing import Final

FEW: Final = 2
"""Files that fill a fast link. There each further one costs an eighth more processor time (measured with 14
files over loopback), and gains nothing."""
LARGE: Final = 16 << 20
"""Size in bytes from which on a file takes long enough for its speed to be measured."""
DOUBT_SECONDS: Final = 0.3
"""Seconds that further files wait while no speed has been measured."""


class Pace:
    """Holds further files back for as long as the first ones fill the link. Thread-safe.

    It needs no lock: one flag is set once and never cleared, the other is a single assignment.
    """

    def __init__(self) -> None:
        self._is_released = threading.Event()
        self._is_fast = False

    def note_speed(self, *, is_fast: bool) -> None:
        """Note the measured speed of a connection; a slow one releases all waiting files."""
        self._is_fast = is_fast
        if not is_fast:
            self._is_released.set()

    def release(self) -> None:
        """Let all waiting files start: a file waits or fails, so the link has room, or the run ends."""
        self._is_released.set()

    def wait(self) -> None:
        """Block until a further file may start."""
        # A fast link may still be released later, so the wait goes on, in intervals, while it is fast.
        while not self._is_released.wait(DOUBT_SECONDS) and self._is_fast:
            pass

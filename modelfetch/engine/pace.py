"""How many files to fetch at the same time: two on a link that they fill, more where each leaves room."""

from __future__ import annotations

import threading
from typing import Final

FEW: Final = 2
"""Files that fill a fast link. There each further one costs an eighth more processor time (measured with 14
files over loopback), and gains nothing."""
LARGE: Final = 16 << 20
"""Bytes from which on a file lasts long enough to find out."""
DOUBT_SECONDS: Final = 0.3
"""How long further files wait where nothing was found out."""


class Pace:
    """Holds further files back for as long as the first ones fill the link. Thread-safe."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self._is_fast = False

    def tell(self, *, is_fast: bool) -> None:
        """Say what a connection turned out to be like."""
        self._is_fast = is_fast
        if not is_fast:
            self._opened.set()

    def let_go(self) -> None:
        """Hold nobody back any more: somebody waits or fails, or all is over."""
        self._opened.set()

    def wait(self) -> None:
        """Wait for the turn of a further file."""
        while not self._opened.wait(DOUBT_SECONDS) and self._is_fast:
            pass

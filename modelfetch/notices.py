"""What a person should know that comes up beside a run and is no fact about a model or a file.

The stream of events has no kind for it: programs that follow a run have no use for a word to a person. Who
shows a run to people asks here with each event, and once at its end.
"""

from __future__ import annotations

import threading
from typing import Final

MOST: Final = 20
"""Notices that are kept; a cache that is full of planted links fills no terminal."""


class Notices:
    """Lines for people, each told once. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, bool] = {}
        """Whether each was given to somebody."""
        self._has_fresh = False

    def add(self, line: str) -> None:
        """Keep a line, unless it is there already or there are too many."""
        with self._lock:
            if len(self._lines) < MOST:
                self._has_fresh |= not self._lines.setdefault(line, False)

    def take(self) -> list[str]:
        """Give what was not taken yet; a line that comes again is not given again."""
        if not self._has_fresh:  # asked with every event of a run
            return []
        with self._lock:
            self._has_fresh = False
            fresh = [line for line, is_taken in self._lines.items() if not is_taken]
            self._lines |= dict.fromkeys(fresh, True)
        return fresh

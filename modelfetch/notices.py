"""Messages for the user that come up during a run and are no facts about a model or a file.

An example is a file in the cache that modelfetch did not write and does not touch. Events have no type for
such messages: they are for people, and programs that follow a run have no use for them. Reporters for people
take new notices with each event and once more at the end of a run.
"""

from __future__ import annotations

import threading
from typing import Final

MOST: Final = 20
"""Most notices that are kept, so that a cache full of bad links does not flood the terminal."""


class Notices:
    """Notices, each of which is shown once. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, bool] = {}
        """Notices, and whether each was taken."""
        self._has_fresh = False

    def add(self, line: str) -> None:
        """Add a notice, unless it was added before or there are too many."""
        with self._lock:
            if len(self._lines) < MOST:
                self._has_fresh |= not self._lines.setdefault(line, False)

    def take(self) -> list[str]:
        """Return the notices that were not taken before; equal ones are returned once."""
        if not self._has_fresh:  # without the lock, as this is called with every event of a run
            return []
        with self._lock:
            self._has_fresh = False
            fresh = [line for line, is_taken in self._lines.items() if not is_taken]
            self._lines |= dict.fromkeys(fresh, True)
        return fresh

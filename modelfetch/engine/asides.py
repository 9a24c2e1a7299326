"""What a person should know that comes up during a run and is no fact about a model or a file.

The stream has no kind of event for it: programs that follow a run have no use for a word to a person. Whoever
tells a run to people asks here with each event.
"""

from __future__ import annotations

from collections import deque


class Asides:
    """Words on their way from the threads that fetch to the one that tells."""

    def __init__(self) -> None:
        self._words: deque[str] = deque()

    def add(self, text: str) -> None:
        """Leave a sentence; from any thread."""
        self._words.append(text)

    def take(self) -> list[str]:
        """Take what was left since the last time."""
        return [self._words.popleft() for _ in range(len(self._words))]

"""The requests of a batch that are under way, for the thread that follows the run.

A thread that fetches a small file yields no event before the whole answer is there. It registers its request
here instead, under model and path, and counts the bytes. From that the thread that follows the run reports
progress when an answer takes long (:mod:`modelfetch.engine.progress`).
"""

from __future__ import annotations

from modelfetch.lazy_dataclass import dataclass


@dataclass(slots=True)
class Request:
    """A request for one small file. Written by the thread that fetches it, but for one field."""

    model: str
    file: str
    source: str
    host: str
    size: int
    began: float
    """Time of the request, in clock seconds."""
    received: int = 0
    """Bytes of the answer so far."""
    is_announced: bool = False
    """Whether the start of the file was reported. Set by the thread that follows the run."""

    def count(self, count: int) -> None:
        """Count received bytes; an answer that is requested again does not count beyond the size."""
        self.received = min(self.size, self.received + count)


Requests = dict[tuple[str, str], Request]
"""The requests under way, by model and path. Entries may change at any time."""

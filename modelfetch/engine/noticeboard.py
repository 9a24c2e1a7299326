"""What those who wait for our locks may read: how far we are with each model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from modelfetch.engine.events import Event, FileCommitted, Planned, Progress
from modelfetch.store import Lock
from modelfetch.values import dataclass

EVERY_SECONDS = 1.0
"""Between two notes on one model: each is a small file replaced, and readers look no more often."""


@dataclass(slots=True)
class _Notice:
    lock: Lock
    size: int = 0
    received: dict[str, int] = field(default_factory=dict)
    """Bytes held of each file, by path."""
    written: float = float("-inf")


class Noticeboard:
    """Writes the progress of models into the notes of their locks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._notices: dict[str, _Notice] = {}

    def hold(self, model: str, lock: Lock) -> None:
        """Remember the lock of a model, which is held as long as its events are heard."""
        self._notices[model] = _Notice(lock)

    def heard(self, event: Event) -> None:
        """Take note of one event of the run."""
        notice = self._notices.get(getattr(event, "model", ""))
        if notice is not None:
            _apply(event, notice)
            self._write(notice)

    def _write(self, notice: _Notice) -> None:
        now = self._clock()
        if now - notice.written >= EVERY_SECONDS:
            notice.written = now
            notice.lock.note(sum(notice.received.values()), notice.size)


def _apply(event: Event, notice: _Notice) -> None:
    """Most events say nothing about bytes."""
    match event:
        case Planned():
            notice.size += event.size
            notice.received |= {file.file: file.held for file in event.files}
        case Progress():
            notice.received[event.file] = event.received
        case FileCommitted():
            notice.received[event.file] = event.size
        case _:
            pass

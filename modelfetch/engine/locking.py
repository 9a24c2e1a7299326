"""Waiting for another process, telling who it is.

What those who wait for our locks may read: how far we are with each model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from typing import TYPE_CHECKING

from modelfetch.engine.events import Event, FileCommitted, LockWaiting, Planned, Progress
from modelfetch.errors import LockTimeoutError
from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.store import Lock

POLL_SECONDS = 0.1
"""Between two tries: short against a download, cheap against a processor."""
TELL_SECONDS = 5.0
"""Between two events about the same wait: the longest silence a follower should see."""
NEWS_SECONDS = 1.0
"""Between two events when the holder got on meanwhile: as often as it says how far it is."""


def acquire(lock: Lock, runtime: Runtime, model: str, file: str = "") -> Iterator[LockWaiting]:
    """Take a lock, waiting for its holder as long as the run allows.

    Raises:
        LockTimeoutError: ``--lock-timeout`` passed.
        DeadlineError: ``--timeout`` passed.
        Cancelled: The run was cancelled.
    """
    started, what = runtime.clock(), f"{model}: {file}" if file else model
    lock.who = runtime.name
    told: LockWaiting | None = None
    while not lock.try_acquire():
        runtime.pace.release()
        waited = runtime.clock() - started
        if runtime.lock_timeout is not None and waited >= runtime.lock_timeout:
            raise _timeout(lock, what, waited)
        seen = LockWaiting(model, file, lock.holder(), waited, *lock.progress())
        if told is None or _is_due(seen, told):
            told = seen
            yield seen
        runtime.check_deadline(f"{what}, held by {seen.holder}")
        runtime.cancel.sleep(POLL_SECONDS)


def _is_due(seen: LockWaiting, told: LockWaiting) -> bool:
    silence = NEWS_SECONDS if seen.received != told.received else TELL_SECONDS
    return seen.waited - told.waited >= silence


def _timeout(lock: Lock, what: str, waited: float) -> LockTimeoutError:
    return LockTimeoutError(
        f"{what} is held by {lock.holder()}; gave up after {waited:.1f} s",
        hint="Wait for it to end, end it, or allow more --lock-timeout.",
    )


EVERY_SECONDS = 1.0
"""Between two notes on one model: each is a small file replaced, and readers look no more often."""


@dataclass(slots=True)
class _Notice:
    lock: Lock
    size: int = 0
    received: dict[str, int] = field(default_factory=dict)
    """Bytes held of each file, by path."""
    written: float = float("-inf")


class LockNotes:
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

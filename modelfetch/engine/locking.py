"""Wait for a lock that another process holds, and report who holds it and how far that process is.

While a run waits it yields ``lock_waiting`` events: after two and then every five seconds, or every second
while the holder makes progress. While a run holds the lock of a model, it writes its own progress into the
note of that lock, where waiting processes read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from modelfetch.engine.events import Event, FileCommitted, LockWaiting, Planned, Progress
from modelfetch.errors import LockTimeoutError
from modelfetch.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from modelfetch.engine.runtime import Runtime
    from modelfetch.store import Lock

POLL_SECONDS = 0.1
"""Seconds between two attempts: short compared to a download, and cheap for the processor."""
FIRST_SECONDS = 2.0
"""Seconds until the first wait is reported again: reporters for logs hold back what is shorter than this."""
REPORT_SECONDS = 5.0
"""Seconds between two events about the same wait: the longest silence that a follower should see."""
PROGRESS_SECONDS = 1.0
"""The same while the holder makes progress: as often as it writes its note (:data:`EVERY_SECONDS`)."""


def acquire(lock: Lock, runtime: Runtime, model: str, file: str = "") -> Iterator[LockWaiting]:
    """Acquire a lock, waiting for its holder for as long as the run allows.

    Args:
        lock: The lock.
        runtime: Of the run.
        model: The model that the lock is for, as the events name it.
        file: The file that it is for; empty for the lock of a model.

    Raises:
        LockTimeoutError: ``--lock-timeout`` passed.
        DeadlineError: ``--timeout`` passed.
        Cancelled: The run was cancelled.
    """
    started, what = runtime.clock(), f"{model}: {file}" if file else model
    lock.who = runtime.name
    reported: LockWaiting | None = None
    while not lock.try_acquire():
        waited = runtime.clock() - started
        if runtime.lock_timeout is not None and waited >= runtime.lock_timeout:
            raise _timeout(lock, what, waited)
        waiting = LockWaiting(model, file, lock.holder(), waited, *lock.progress())
        if reported is None or _is_due(waiting, reported):
            reported = waiting
            yield waiting
        runtime.check_deadline(f"{what}, held by {waiting.holder}")
        runtime.cancel.sleep(POLL_SECONDS)


def _is_due(waiting: LockWaiting, reported: LockWaiting) -> bool:
    if waiting.received != reported.received:
        silence = PROGRESS_SECONDS
    else:
        silence = FIRST_SECONDS if reported.waited < FIRST_SECONDS else REPORT_SECONDS
    return waiting.waited - reported.waited >= silence


def _timeout(lock: Lock, what: str, waited: float) -> LockTimeoutError:
    return LockTimeoutError(
        f"{what} is held by {lock.holder()}; gave up after {waited:.1f} s",
        hint="Wait for it to end, end it, or allow more --lock-timeout.",
    )


EVERY_SECONDS = 1.0
"""Seconds between two notes on one model: each replaces a small file, and waiting processes read no more
often."""


@dataclass(slots=True)
class _Held:
    """A lock that this run holds, and the progress to write into its note."""

    lock: Lock
    size: int = 0
    received: dict[str, int] = field(default_factory=dict)
    """Bytes of each file on disk, by path."""
    written: float = float("-inf")


class LockNotes:
    """Writes the progress of models into the notes of their locks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}

    def add(self, model: str, lock: Lock) -> None:
        """Add the lock of a model; the run holds it until its last event."""
        self._held[model] = _Held(lock)

    def apply(self, event: Event) -> None:
        """Apply one event of the run; every second it writes the note of the model's lock."""
        held = self._held.get(getattr(event, "model", ""))
        if held is not None:
            _apply(event, held)
            self._write(held)

    def _write(self, held: _Held) -> None:
        now = self._clock()
        if now - held.written >= EVERY_SECONDS:
            held.written = now
            held.lock.note(sum(held.received.values()), held.size)


def _apply(event: Event, held: _Held) -> None:
    match event:
        case Planned():
            held.size += event.size  # added up: several versions of a model share its lock
            held.received |= {file.file: file.held for file in event.files}
        case Progress():
            held.received[event.file] = event.received
        case FileCommitted():
            held.received[event.file] = event.size
        case _:  # no other event reports bytes
            pass

"""Waiting for another process, telling who it is."""

from __future__ import annotations

from collections.abc import Iterator

from modelfetch.engine.events import LockWaiting
from modelfetch.engine.runtime import Runtime
from modelfetch.errors import LockTimeoutError
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
        runtime.pace.let_go()
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

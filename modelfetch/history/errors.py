"""Exceptions of the history file, and retrying while another process has it locked.

:class:`Damaged` means that the file must be replaced, :class:`Unavailable` that it cannot be used now;
:func:`translated` turns every exception of sqlite3 into one of them by its result code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from modelfetch.model.text import sanitize

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

MAX_PAUSE_SECONDS: Final = 0.02
"""Longest pause between two attempts to get the lock. Pauses are short and random, so that none of fifty
writers starves: SQLite's own pauses grow to a tenth of a second, in which all others get the lock first."""
QUEUE_FACTOR: Final = 12
"""Longest total wait as a multiple of the wait without progress: a queue that moves is worth waiting for."""

# Primary result codes, https://www.sqlite.org/rescode.html
_BUSY: Final = frozenset({5, 6, 15})  # BUSY, LOCKED, PROTOCOL
_DAMAGED: Final = frozenset({1, 11, 18, 20, 24, 26})  # ERROR, CORRUPT, TOOBIG, MISMATCH, FORMAT, NOTADB
_REASONS: Final = {
    3: "permission is denied",
    7: "there is no memory left",
    8: "it is read-only",
    10: "the disk cannot be read or written",
    13: "the disk is full",
    14: "it cannot be opened",
    23: "permission is denied",
}


class Damaged(Exception):  # noqa: N818 - a state of the file, answered by moving it aside
    """The file is damaged, or another program wrote it."""


class Unavailable(Exception):  # noqa: N818 - a state of the file, answered by going on without it
    """The file cannot be used now.

    Attributes:
        reason: Why, for the user; empty if no notice is needed.
        is_transient: Whether a retry may succeed.
    """

    def __init__(self, reason: str, *, is_transient: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_transient = is_transient


class TooSlow(Unavailable):
    """A statement reached its time limit; a retry would take the same time again."""

    def __init__(self) -> None:
        super().__init__("it takes too long to read")


@contextmanager
def translated() -> Iterator[None]:
    """Translate exceptions of sqlite3 in a block."""
    try:
        import sqlite3
    except ImportError:
        raise Unavailable("this Python has no SQLite") from None
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error) from error


def _translate(error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the Python module, not by SQLite: text that is not UTF-8
        return Damaged(sanitize(str(error)))
    primary = code & 0xFF  # extended codes keep the primary one in the low byte
    if primary in _BUSY:
        return Unavailable("another process has it locked", is_transient=True)
    if primary in _DAMAGED:
        return Damaged(sanitize(str(error)))
    return Unavailable(_REASONS.get(primary, sanitize(str(error))))


def retry_while_locked(
    act: Callable[[], T],
    wait: float,
    log_state: Callable[[], object],
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Call a function again while another process has the file locked.

    Args:
        act: The function.
        wait: Seconds to wait while no other process writes; each write of another process extends the wait,
            up to ``wait * QUEUE_FACTOR`` in total.
        log_state: Returns a value that changes whenever a process writes.
        clock: Monotonic seconds.

    Raises:
        Unavailable: The file stayed locked, or cannot be used for another reason.
    """
    began = clock()
    seen, until = log_state(), began + wait
    while True:
        try:
            return act()
        except Unavailable as error:
            now, sign = clock(), log_state()
            if sign != seen:
                seen, until = sign, min(now + wait, began + wait * QUEUE_FACTOR)
            if not error.is_transient or now >= until:
                raise
        import random  # here, as other processes seldom hold the lock

        time.sleep(random.uniform(0.001, MAX_PAUSE_SECONDS))  # noqa: S311 - no secret

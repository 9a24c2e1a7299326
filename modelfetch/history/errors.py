"""What may be wrong with the file, as two exceptions, and the patience with those who have it locked."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from modelfetch.model.text import sanitise

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

PAUSE_SECONDS: Final = 0.02
"""Longest wait between two tries to get the lock. Short and random, so that among fifty writers none starves:
SQLite's own wait grows to a tenth of a second, in which every other writer gets its turn."""
QUEUE: Final = 12
"""How many times as long is waited for a queue that moves as for one that stands still."""

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
    """The file is not, or no longer, one of ours."""


class Unavailable(Exception):  # noqa: N818 - a state of the file, answered by going on without it
    """The file cannot be used now.

    Attributes:
        reason: Why, for a person; empty where that goes without saying.
        is_transient: Whether it may work in a moment.
    """

    def __init__(self, reason: str, *, is_transient: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_transient = is_transient


class Endless(Unavailable):
    """What was asked of the file did not come to its end; asking again would cost the same time again."""

    def __init__(self) -> None:
        super().__init__("it takes too long to read")


@contextmanager
def translated() -> Iterator[None]:
    """The one place where exceptions of sqlite3 become ours."""
    try:
        import sqlite3
    except ImportError:
        raise Unavailable("this Python has no SQLite") from None
    try:
        yield
    except sqlite3.Error as error:
        raise _judged(error) from error


def _judged(error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the module itself: text that is not UTF-8
        return Damaged(sanitise(str(error)))
    primary = code & 0xFF
    if primary in _BUSY:
        return Unavailable("another process has it locked", is_transient=True)
    if primary in _DAMAGED:
        return Damaged(sanitise(str(error)))
    return Unavailable(_REASONS.get(primary, sanitise(str(error))))


def patiently(
    act: Callable[[], T],
    wait: float,
    sign_of_life: Callable[[], object],
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Try again while somebody else has the lock.

    Args:
        act: What to try.
        wait: Seconds without a sign of life after which to give up; a queue that moves is worth more.
        sign_of_life: Something that changes whenever a holder of the lock gets on.
        clock: Monotonic seconds.
    """
    began = clock()
    seen, until = sign_of_life(), began + wait
    while True:
        try:
            return act()
        except Unavailable as error:
            now, sign = clock(), sign_of_life()
            if sign != seen:
                seen, until = sign, min(now + wait, began + wait * QUEUE)
            if not error.is_transient or now >= until:
                raise
        time.sleep(random.uniform(0.001, PAUSE_SECONDS))  # noqa: S311 - no secret, only disorder

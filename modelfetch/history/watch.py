"""An end to every statement: a database is input, and what one asks of it may never end.

A view may count to infinity, and so may an ordinary table whose pages point at each other. SQLite asks a
handler every few thousand steps whether to go on (https://www.sqlite.org/c3ref/progress_handler.html).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from modelfetch.history.trouble import Endless, Unavailable

if TYPE_CHECKING:
    import sqlite3

STEPS: Final = 10_000
"""Instructions of SQLite's machine between two looks at the clock: about a millisecond."""
LEAST_SECONDS: Final = 1.0
"""What statements may take at least, however short the patience with locks: a slow disk is no attack."""
WAITS: Final = 2.0
"""How many times as long as a lock is waited for the statements of one use may take."""


def allowed(wait: float) -> float:
    """Seconds that the statements of one use of the file may take, where a lock is waited for so long."""
    return max(LEAST_SECONDS, WAITS * wait)


class Watch:
    """Ends the statements of one use when their time is up, the run is cancelled, or a signal came.

    Args:
        seconds: What they may take together.
        is_cancelled: Whether their result is wanted no more.
    """

    def __init__(self, seconds: float, is_cancelled: Callable[[], bool]) -> None:
        self._until = time.monotonic() + seconds
        self._is_cancelled = is_cancelled
        self._interrupt: BaseException | None = None

    @contextmanager
    def over(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Watch over the statements of a block.

        Raises:
            Endless: Their time was up.
            Unavailable: They were cancelled.
            KeyboardInterrupt: A signal came meanwhile; it is the one that its handler raised.
        """
        import sqlite3

        connection.set_progress_handler(partial(next, self._verdicts()), STEPS)
        try:
            yield
        except sqlite3.Error:
            if self._interrupt is not None:
                raise self._interrupt from None
            if self._is_cancelled():
                raise Unavailable("") from None
            if time.monotonic() >= self._until:
                raise Endless from None
            raise
        finally:
            connection.set_progress_handler(None, 0)

    def _verdicts(self) -> Generator[bool, None, None]:
        """Say each time whether to stop.

        A generator and no function: a signal's handler runs where this one goes on, inside of the ``try``.
        What a function raises on its way in is swallowed by sqlite3, and with it a Ctrl-C.
        """
        while True:
            try:
                yield self._interrupt is not None or self._is_cancelled() or time.monotonic() >= self._until
            except GeneratorExit:
                raise
            except BaseException as interrupt:
                self._interrupt = interrupt

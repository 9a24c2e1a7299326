"""Verbose output: lines on stderr about requests and decisions, for ``-v`` and ``-vv``.

:data:`active` is None unless verbose output was requested, so that a place that reports something costs one
comparison otherwise::

    if tracing.active is not None:
        tracing.active.say("retry: ...")

Every line passes the mask of the trace, which removes secrets and control characters. Lines go to stderr;
while bars are drawn there, they are printed above them (:meth:`Trace.redirect`). The standard library's
``logging`` is not used: its import would delay the start of a run, also of one that reports nothing.
"""

from __future__ import annotations

import sys
import threading
import time

TYPE_CHECKING = False  # importing typing here would delay the quick paths
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Mask(Protocol):
        """Makes text safe to show."""

        def add(self, secret: str) -> None:
            """Remove a secret from all text from now on."""

        def mask(self, text: str) -> str:
            """Return a text without secrets and control characters, on a single line."""


EXCHANGES = 1
"""Level of ``-v``: a line for each HTTP exchange, and for each decision to retry."""
DETAILS = 2
"""Level of ``-vv``: also look-ups, connections, proxies, TLS, header fields, settings and the cache."""


class Trace:
    """Prints lines. May be used by several threads.

    Attributes:
        level: :data:`EXCHANGES` or :data:`DETAILS`.

    Args:
        level: See above.
        mask: Removes secrets and control characters from each line.
        write: Prints a line; None for stderr.
        clock: Returns monotonic seconds; each line begins with those since the start.
    """

    def __init__(
        self,
        level: int,
        mask: Mask,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.level = level
        self._mask = mask
        self._write = write or _print
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()

    @property
    def is_detailed(self) -> bool:
        """Whether details are printed too."""
        return self.level >= DETAILS

    def say(self, text: str) -> None:
        """Print a line."""
        masked = self._mask.mask(text)
        # Under the lock, so that times are in order, and no replaced writer prints a line.
        with self._lock:
            self._write(f"[{self._clock() - self._started:8.3f}] {masked}")

    def detail(self, text: str) -> None:
        """Print a line if details were requested."""
        if self.is_detailed:
            self.say(text)

    def hide(self, secret: str) -> None:
        """Mask a secret in every line from now on, wherever a server may repeat it."""
        self._mask.add(secret)

    def redirect(self, write: Callable[[str], None] | None) -> None:
        """Print further lines in another way, such as above a live display; None for stderr again."""
        with self._lock:
            self._write = write or _print


active: Trace | None = None
"""The trace of this process; None if no verbose output was requested."""


def _print(line: str) -> None:
    if sys.stderr is None:  # started without one
        return
    try:
        sys.stderr.write(f"{line}\n")  # one call, so that lines of other threads do not mix with it
        sys.stderr.flush()
    except (OSError, ValueError):  # the reader is gone or stderr is closed: messages may be lost
        pass

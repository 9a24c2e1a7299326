"""Limits for clients that have not sent the right token: open connections, and guesses.

Two attacks on the server need no token: opening many connections, and guessing the token. These limits bound
both without locking the owner out:

- :class:`LoginLimits` bounds the number of unauthenticated connections. When one more arrives, the oldest of
  the client with the most of them is closed. Those that transfer a shared file, or wait for one, are spared
  from that, but counted: all unauthenticated connections together leave some to the owner.
- :class:`Guesses` delays the response to a wrong token, longer with each one.

A connection over which the right token was sent is authenticated until it closes. No limit applies to it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final, Protocol

MAX_UNAUTHENTICATED: Final = 256
"""Unauthenticated connections open at the same time: half of all connections. The other half is reserved for
authenticated ones."""
MAX_SPARED: Final = 384
"""Unauthenticated connections that are spared at most; further ones can be closed like all others. All
transfers and waiting requests of the defaults together are 320 (``TRANSFERS``, ``MAX_WAITING``)."""
MAX_ANONYMOUS: Final = 448
"""Unauthenticated connections open at the same time, spared or not: 64 of all connections
(``MAX_CONNECTIONS``) stay for authenticated ones, more than a person's browsers and scripts open."""
BACKLOG: Final = 64
"""Connections accepted in one round of the event loop. Their requests are read two rounds later, so of
connections that arrive together fewer than ``MAX_UNAUTHENTICATED`` have not been read yet."""
FIRST_DELAY_SECONDS: Final = 0.01
"""Seconds until the first wrong token is answered; doubles with each further one."""
MAX_DELAY_SECONDS: Final = 1.0
"""Longest delay in seconds: long enough to make guessing useless, short for a person who pasted a wrong
line."""
FORGET_SECONDS: Final = 60.0
"""Seconds without a wrong token after which the delay starts again at the first one."""
MAX_WAITING_GUESSES: Final = 64
"""Wrong tokens whose responses are delayed at the same time; further ones are answered with 429 at once."""


class Visitor(Protocol):
    """A connection, as far as the limits need it."""

    is_authenticated: bool
    """Whether a request with the right token came over it."""
    network: str
    """What counts as its client, see :func:`modelfetch.server.client_limit.network_of`."""

    def abort(self) -> None:
        """Close it at once."""


class LoginLimits:
    """Bounds the number of unauthenticated connections; when one more arrives, an old one is closed.

    It is one of the client that has the most of them, so that a client with a few keeps them, whatever
    another one opens. Of those it is the oldest, which had the most time to send a token: the client of an
    owner sends it with its first request, one round trip after connecting. Rejecting the newest instead would
    let idle connections lock the owner out.

    Args:
        limit: Unauthenticated connections open at the same time, apart from those that are spared.
        most_spared: Those that are spared at most.
        most_anonymous: All of them together at most.
    """

    def __init__(
        self,
        limit: int = MAX_UNAUTHENTICATED,
        *,
        most_spared: int = MAX_SPARED,
        most_anonymous: int = MAX_ANONYMOUS,
    ) -> None:
        self._limit = limit
        self._most_spared = most_spared
        self._most_anonymous = most_anonymous
        # A dict serves as an ordered set, oldest first. No lock: only the event loop uses it.
        self._unauthenticated: dict[Visitor, None] = {}
        self._of_network: Counter[str] = Counter()
        self._spared: set[Visitor] = set()

    def add(self, visitor: Visitor) -> None:
        """Count a connection that is new or no longer spared; close an old one if a limit is reached."""
        self.discard(visitor)  # it is also counted still if it was not spared
        limit = min(self._limit, self._most_anonymous - len(self._spared))
        self._of_network[visitor.network] += 1  # first: of equal clients it closes its own
        while len(self._unauthenticated) >= limit and self._unauthenticated:
            [(largest, _)] = self._of_network.most_common(1)
            of_largest = (each for each in self._unauthenticated if each.network == largest)
            oldest = next(of_largest, None) or next(iter(self._unauthenticated))
            self._remove(oldest)
            oldest.abort()
        self._unauthenticated[visitor] = None

    def spare(self, visitor: Visitor) -> None:
        """Do not close a connection that is counted until it is added again, if not too many are spared."""
        if visitor in self._unauthenticated and len(self._spared) < self._most_spared:
            self._remove(visitor)
            self._spared.add(visitor)

    def discard(self, visitor: Visitor) -> None:
        """Stop counting a connection that was closed or has authenticated."""
        if visitor in self._unauthenticated:
            self._remove(visitor)
        self._spared.discard(visitor)

    def _remove(self, visitor: Visitor) -> None:
        del self._unauthenticated[visitor]
        self._of_network[visitor.network] -= 1
        if not self._of_network[visitor.network]:
            del self._of_network[visitor.network]  # else the table grows with each client that was ever here


class TooManyGuesses(Exception):  # noqa: N818 - the guard turns it into a response with status 429
    """Too many responses to wrong tokens are delayed already."""


class Guesses:
    """Delays responses to wrong tokens; each delay is twice the one before, up to a second.

    The right token is never delayed. A lockout after some wrong tokens would let an attacker lock the owner
    out, so there is none.

    Args:
        waiting: Responses that may be delayed at the same time.
    """

    def __init__(self, waiting: int = MAX_WAITING_GUESSES) -> None:
        self._free = waiting
        self._count = 0
        self._last = float("-inf")

    def delay(self, now: float) -> float:
        """Count one more wrong token, and return the seconds by which its response is delayed.

        Args:
            now: Monotonic seconds.
        """
        if now - self._last > FORGET_SECONDS:
            self._count = 0
        self._count, self._last = self._count + 1, now
        doublings = min(
            self._count - 1, 10
        )  # 10 doublings exceed the maximum; more would build huge integers
        return min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * (1 << doublings))

    async def wait(self) -> None:
        """Delay the response to a wrong token.

        Raises:
            TooManyGuesses: Too many responses are delayed already.
        """
        # Counted before the check, so that rejected guesses also make the next delay longer.
        seconds = self.delay(asyncio.get_running_loop().time())
        if not self._free:
            raise TooManyGuesses
        self._free -= 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._free += 1

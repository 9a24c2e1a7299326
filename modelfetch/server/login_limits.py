"""Those who have not shown the token yet: how many there may be, and how often they may guess.

Whoever has shown it is known for as long as its connection lasts, and none of this holds for it. So a crowd
that says nothing does not keep the owner out, and neither does one that guesses.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

STRANGERS: Final = 256
"""Connections without a token at the same time, half of all there may be: the other half is kept for those
who have it."""
BACKLOG: Final = 64
"""Connections that are taken on at once. Requests are read two rounds later, so of those that come together
fewer than the number above are strangers."""
FIRST_SECONDS: Final = 0.01
"""How long the first wrong token waits for its answer; each further one waits twice as long."""
LONGEST_SECONDS: Final = 1.0
"""How long one waits at most: a person who pasted the wrong line does not notice less."""
FORGET_SECONDS: Final = 60.0
"""Without any wrong token for so long, the next one is the first again."""
WAITING: Final = 64
"""Wrong tokens that wait at the same time; those beyond are sent away."""


class Visitor(Protocol):
    """A connection."""

    is_known: bool
    """Whether the token was shown over it."""

    def turn_away(self) -> None:
        """Cut it, at once."""


class LoginLimits:
    """Holds the connections of strangers to a number: one more, and the one that is there longest has to go.

    It has had the most time to show a token, which takes an owner's client no longer than one round trip.
    """

    def __init__(self, room: int = STRANGERS) -> None:
        self._room = room
        self._strangers: dict[Visitor, None] = {}

    def enter(self, guest: Visitor) -> None:
        """Let somebody in."""
        if len(self._strangers) >= self._room:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.turn_away()
        self._strangers[guest] = None

    def leave(self, guest: Visitor) -> None:
        """Somebody went, or is no stranger any more."""
        self._strangers.pop(guest, None)


class Crowded(Exception):  # noqa: N818 - a fact about the door, made an answer by its caller
    """As many wrong tokens wait as may."""


class Guesses:
    """Has wrong tokens wait for their answers, the longer the more there were.

    A right one never waits, whatever crowd is there: to look at none for a while would keep the owner out.
    """

    def __init__(self, waiting: int = WAITING) -> None:
        self._free = waiting
        self._count = 0
        self._last = float("-inf")

    def delay(self, now: float) -> float:
        """How many seconds another wrong one has to wait.

        Args:
            now: Monotonic seconds.
        """
        if now - self._last > FORGET_SECONDS:
            self._count = 0
        self._count, self._last = self._count + 1, now
        doublings = min(self._count - 1, 10)  # far beyond the longest
        return min(LONGEST_SECONDS, FIRST_SECONDS * (1 << doublings))

    async def wait(self) -> None:
        """Wait after a wrong one.

        Raises:
            Crowded: Too many wait.
        """
        seconds = self.delay(asyncio.get_running_loop().time())
        if not self._free:
            raise Crowded
        self._free -= 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._free += 1

"""Those who have not shown the token yet: how many there may be, and how often they may guess.

Whoever has shown it is known for as long as its connection lasts, and none of this holds for it. So a crowd
that says nothing does not keep the owner out, and one that guesses does not disturb who is in.
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
GUESS_SECONDS: Final = 0.02
"""Between a wrong token and the next one that is looked at: fifty a second. The shortest token that is taken
has 16 characters; if these are random hex digits, all guesses take ten billion years."""
GUESSES: Final = 64
"""Tokens of strangers that wait to be looked at; the last of them waits little more than a second."""


class Guest(Protocol):
    """A connection."""

    is_known: bool
    """Whether the token was shown over it."""

    def turn_away(self) -> None:
        """Cut it, at once."""


class Door:
    """Holds the connections of strangers to a number: one more, and the one that is there longest has to go.

    It has had the most time to show a token, which takes an owner's client no longer than one round trip.
    """

    def __init__(self, room: int = STRANGERS) -> None:
        self._room = room
        self._strangers: dict[Guest, None] = {}

    def enter(self, guest: Guest) -> None:
        """Let somebody in."""
        if len(self._strangers) >= self._room:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.turn_away()
        self._strangers[guest] = None

    def leave(self, guest: Guest) -> None:
        """Somebody went, or is no stranger any more."""
        self._strangers.pop(guest, None)


class Crowded(Exception):  # noqa: N818 - a fact about the door, made an answer by its caller
    """As many guesses wait as may."""


class Guesses:
    """Has no token of a stranger looked at for some time after a wrong one; the others wait in line."""

    def __init__(self, seconds: float = GUESS_SECONDS, limit: int = GUESSES) -> None:
        self._seconds = seconds
        self._free = limit
        self._line = asyncio.Lock()
        self._next = 0.0

    async def wait(self) -> None:
        """Wait until a token may be looked at; the caller does so at once, without awaiting anything else.

        Raises:
            Crowded: Too many wait.
        """
        if not self._pause():
            return
        if not self._free:
            raise Crowded
        self._free -= 1
        try:
            async with self._line:
                while pause := self._pause():
                    await asyncio.sleep(pause)
        finally:
            self._free += 1

    def was_wrong(self) -> None:
        """Let the next one wait."""
        self._next = asyncio.get_running_loop().time() + self._seconds

    def _pause(self) -> float:
        return max(0.0, self._next - asyncio.get_running_loop().time())

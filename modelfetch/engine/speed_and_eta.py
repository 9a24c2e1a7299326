"""How fast bytes come, as a moving average, and the time until the last one.

:class:`Meter` is right from its first samples on, and says None while it is not known or while nothing comes.
:func:`eta_of` divides what remains by that speed.

Units: bytes and seconds; ``at`` is a time on a monotonic clock.
"""

from __future__ import annotations

from typing import Final

from modelfetch.lazy_dataclass import dataclass

HALF_LIFE: Final = 10.0
"""Seconds after which a sample has half its weight: long enough for a steady ETA; the value of Hugging Face's
transfer library."""

SAMPLES: Final = 4
"""Samples before a speed is shown; fewer measure the first packet rather than the link."""

IDLE_SECONDS: Final = 2.0
"""Seconds without a byte after which a transfer is idle and has no speed: longer than the round trips and
bursts of an ordinary connection, short enough that a user sees it before giving up."""

INTERVAL: Final = 0.05
"""Shortest sample, in seconds: events closer together are a burst of the event queue, not of the network."""


@dataclass(slots=True)
class Meter:
    """Bytes per second as an exponentially weighted average over time.

    It keeps the weighted sum of the samples and the sum of their weights, and divides one by the other. So
    the first averages are not too low, and each sample counts by its length.
    """

    _since: float | None = None
    _bytes: int = 0
    _average: float = 0.0
    _weight: float = 0.0
    _samples: int = 0
    _last_byte_at: float | None = None
    """Time of the last byte, or the start of the wait for the first one."""
    _now: float = 0.0

    @property
    def speed(self) -> float | None:
        """Bytes per second, never negative; None until there are :data:`SAMPLES` samples, and while idle."""
        return self._average / self._weight if self._samples >= SAMPLES and self.idle is None else None

    @property
    def idle(self) -> float | None:
        """Seconds without a byte, from :data:`IDLE_SECONDS` on; None while bytes come."""
        waited = 0.0 if self._last_byte_at is None else self._now - self._last_byte_at
        return waited if waited >= IDLE_SECONDS else None

    def add(self, gained: int, at: float) -> None:
        """Count bytes.

        Args:
            gained: Bytes since the last call. Those of the first call, or the first after a pause, came in an
                unknown time, so they only start the clock. So do calls without bytes before the first byte.
            at: Now.
        """
        self._now = at
        if gained or self._last_byte_at is None:
            self._last_byte_at = at
        is_silent = not (gained or self._bytes or self._samples)
        if self._since is None or is_silent:
            self._since = at
            return
        self._bytes += gained
        elapsed = at - self._since
        if elapsed >= INTERVAL:
            self._sample(self._bytes / elapsed, elapsed)
            self._since, self._bytes = at, 0

    def pause(self) -> None:
        """Do not count the time until the next call of :meth:`add`."""
        self._since, self._bytes, self._last_byte_at = None, 0, None

    def _sample(self, rate: float, elapsed: float) -> None:
        fade = 0.5 ** (elapsed / HALF_LIFE)
        self._average = self._average * fade + rate * (1 - fade)
        self._weight = self._weight * fade + (1 - fade)
        self._samples += 1


def eta_of(remaining: int, speed: float | None) -> float | None:
    """Return the seconds until the last byte; None while there is no speed."""
    if remaining <= 0:
        return 0.0
    return remaining / speed if speed is not None and speed >= 1 else None

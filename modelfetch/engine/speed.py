"""How fast bytes come: a moving average that is right from its first moment.

Units: bytes and seconds.
"""

from __future__ import annotations

from typing import Final

from modelfetch.values import dataclass

HALF_LIFE: Final = 10.0
"""Seconds after which a sample weighs half: long enough for a calm ETA, as Hugging Face's transfer library
has it."""

SAMPLES: Final = 4
"""Samples before a speed is shown; fewer say more about the first packet than about the line."""

IDLE_SECONDS: Final = 2.0
"""Seconds without a byte after which there is no speed any more: longer than the round trips and bursts of an
ordinary connection, shorter than the patience of who looks on."""

INTERVAL: Final = 0.05
"""Seconds a sample spans at least: what comes closer together is a burst of the event queue, not of the
network."""


@dataclass(slots=True)
class Meter:
    """Bytes per second as an exponentially weighted average over time.

    Both the average and the sum of its weights are kept and divided by one another. So a young average is
    not drawn towards zero, and samples of any length count by their length.
    """

    _since: float | None = None
    _bytes: int = 0
    _average: float = 0.0
    _weight: float = 0.0
    _samples: int = 0
    _heard: float | None = None
    """When the last byte came, or the waiting for the first one began."""
    _now: float = 0.0

    @property
    def speed(self) -> float | None:
        """Bytes per second, never negative; None until there are :data:`SAMPLES` samples, and while idle."""
        return self._average / self._weight if self._samples >= SAMPLES and self.idle is None else None

    @property
    def idle(self) -> float | None:
        """Seconds without a byte, from :data:`IDLE_SECONDS` on; None while bytes come."""
        waited = 0.0 if self._heard is None else self._now - self._heard
        return waited if waited >= IDLE_SECONDS else None

    def add(self, gained: int, at: float) -> None:
        """Count bytes.

        Args:
            gained: Bytes since the last call. Those of the first call (or the first after a pause) came in an
                unknown time: they only start the clock, as does silence before the first byte.
            at: Now, on a monotonic clock, in seconds.
        """
        self._now = at
        if gained or self._heard is None:
            self._heard = at
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
        """Leave out the time until the next call of :meth:`add`."""
        self._since, self._bytes, self._heard = None, 0, None

    def _sample(self, rate: float, elapsed: float) -> None:
        fade = 0.5 ** (elapsed / HALF_LIFE)
        self._average = self._average * fade + rate * (1 - fade)
        self._weight = self._weight * fade + (1 - fade)
        self._samples += 1

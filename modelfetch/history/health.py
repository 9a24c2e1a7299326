"""How hosts fare, measured on this machine, and the order in which that puts them. Pure.

Failures to reach a host do not count where nothing at all could be reached: that was this machine. Every
other attempt weighs half as much for every :data:`HALF_LIFE_DAYS` days that passed since. Out of the weights
``w`` of a host's attempts come

* its share of success, ``sum(w of successes) / sum(w)``, for people;
* its trust, ``(sum(w of successes) + 1) / (sum(w) + 1)``, for decisions: as if one attempt had gone well, so
  that a single failure does not condemn a host, and one of long ago is forgiven;
* the median of its times to the first byte, each counted by its weight;
* its speed, ``sum(w * bytes) / sum(w * seconds)`` over successes of more than :data:`SPEED_BYTES`.

Hosts of one kind are asked in the order of :func:`rank`: those that are healthy, or unknown, first; then the
degraded; then the unhealthy. Among equals the one comes first from which :data:`REFERENCE_BYTES` would be had
sooner, ``(first byte + REFERENCE_BYTES / speed) / trust``. What is not known of a host is taken to be as good
as the best that is known, so a new one is behind the best only if it stands there in the configuration. The
order of kinds is never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol, TypeVar

from modelfetch.errors import Fault
from modelfetch.history.rows import CACHE, AttemptRow
from modelfetch.history.schema import stamp
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.units import format_rate

Status = Literal["healthy", "degraded", "unhealthy", "unknown"]
Host = tuple[str, str]
"""Kind of source, and host."""

HALF_LIFE_DAYS: Final = 3.0
"""Days after which an attempt counts half: a gateway's bad evening is forgotten within a week or two."""
HEALTHY: Final = 0.9
"""Share of success from which a host is healthy: one failure in ten is what retries are for."""
DEGRADED: Final = 0.5
"""Share from which it is degraded; below it, asking it is wasted time more often than not."""
SPEED_BYTES: Final = 256 * 1024
"""Bytes an attempt needs to tell a speed; fewer come within the first window of TCP (RFC 6928)."""
REFERENCE_BYTES: Final = 16 * 1024 * 1024
"""The amount by which speed and time to the first byte are weighed against each other."""

MISS_DAYS: Final = 1.0
"""How long a host that did not have a file is not expected to have it."""

Miss = tuple[str, str, str, int]
"""Host, model, path and size of a file that the host did not have."""

_NO_HOST: Final = frozenset({"", CACHE, "local"})
"""Sources that are no hosts: no source left, this cache, this disk."""
_MANIFEST: Final = "manifest"
"""The host of an address that cannot be right: nobody was asked."""
_MISSES: Final = frozenset({Fault.NOT_FOUND.value, Fault.SERVER.value, Fault.TIMEOUT.value})
"""How a gateway says that it did not find a file (in time), besides not having it: 502, 504, or nothing."""
_UNREACHED: Final = frozenset({Fault.CONNECT.value, Fault.PROXY.value})
"""Faults of those of whom nothing was reached, perhaps because nothing could be."""
_STALLS: Final = frozenset({Fault.STALL.value, Fault.TIMEOUT.value})


@dataclass(frozen=True, slots=True)
class Health:
    """How one host fared."""

    samples: int
    """Attempts that were judged."""
    share: float
    """Share of success, 0 to 1; recent attempts count more."""
    trust: float
    """The same, drawn towards 1 where little or only old things are known."""
    first_byte: float | None
    """Median of the seconds to the first byte, or None."""
    speed: float | None
    """Bytes per second, or None."""
    stalls: int
    """How often it fell silent."""
    last: datetime
    """When it was asked last."""

    @property
    def status(self) -> Status:
        """The word for its trust."""
        return status_of(self.trust)

    @property
    def pace(self) -> float | None:
        """Seconds that :data:`REFERENCE_BYTES` would take; None while its speed is unknown."""
        return (self.first_byte or 0.0) + REFERENCE_BYTES / self.speed if self.speed else None

    def __str__(self) -> str:
        """``98 % of 120 tries, first byte 80 ms, 12.0 MB/s``."""
        parts = [f"{100 * self.share:.0f} % of {self.samples} {'try' if self.samples == 1 else 'tries'}"]
        if self.first_byte is not None:
            parts.append(f"first byte {1000 * self.first_byte:.0f} ms")
        if self.speed is not None:
            parts.append(format_rate(self.speed))
        if self.stalls:
            parts.append(f"{self.stalls} stall{'s' * (self.stalls > 1)}")
        return ", ".join(parts)


def facts(health: Health | None) -> dict[str, Any]:
    """The health of a host in JSON: share from 0 to 1, seconds, bytes per second; what is unknown is null."""
    if health is None:
        unknown = dict.fromkeys(("success", "first_byte", "speed"))
        return {"status": "unknown", **unknown, "stalls": 0, "samples": 0, "last": None}
    return {
        "status": health.status,
        "success": round(health.share, 4),
        "first_byte": None if health.first_byte is None else round(health.first_byte, 3),
        "speed": None if health.speed is None else round(health.speed),
        "stalls": health.stalls,
        "samples": health.samples,
        "last": stamp(health.last),
    }


def status_of(share: float | None) -> Status:
    """The word for a share of success; None is ``unknown``."""
    if share is None:
        return "unknown"
    if share >= HEALTHY:
        return "healthy"
    return "degraded" if share >= DEGRADED else "unhealthy"


@dataclass(slots=True)
class _Sums:
    """What is added up for one host."""

    samples: int = 0
    weight: float = 0.0
    good: float = 0.0
    stalls: int = 0
    bytes: float = 0.0
    seconds: float = 0.0
    first_bytes: list[tuple[float, float]] = field(default_factory=list)
    """Seconds, and their weight."""
    last: datetime | None = None

    def add(self, attempt: AttemptRow, weight: float) -> None:
        self.samples += 1
        self.weight += weight
        self.last = max(self.last or attempt.started_at, attempt.started_at)
        self.stalls += attempt.fault in _STALLS
        if attempt.first_byte is not None:
            self.first_bytes.append((attempt.first_byte, weight))
        if attempt.outcome == "success":
            self.good += weight
            self._add_speed(attempt, weight)

    def _add_speed(self, attempt: AttemptRow, weight: float) -> None:
        seconds = attempt.seconds - (attempt.first_byte or 0.0)
        if attempt.received > SPEED_BYTES and seconds > 0:
            self.bytes += weight * attempt.received
            self.seconds += weight * seconds

    def health(self) -> Health:
        assert self.last is not None, "made for an attempt"
        return Health(
            samples=self.samples,
            share=self.good / self.weight if self.weight else 0.0,
            trust=(self.good + 1) / (self.weight + 1),
            first_byte=_median(self.first_bytes),
            speed=self.bytes / self.seconds if self.seconds else None,
            stalls=self.stalls,
            last=self.last,
        )


def measure(attempts: Iterable[AttemptRow], now: datetime) -> dict[Host, Health]:
    """Add attempts up for every host that was asked.

    Args:
        attempts: In any order. Those without a verdict (cancelled), and those of no host (cache, this disk),
            do not count.
        now: When.
    """
    asked = [attempt for attempt in attempts if _is_judged(attempt)]
    excused = _own_outages(asked)
    sums: dict[Host, _Sums] = {}
    for number, attempt in enumerate(asked):
        if number not in excused:
            age = max(0.0, (now - attempt.started_at).total_seconds())
            host = sums.setdefault((attempt.source, attempt.host), _Sums())
            host.add(attempt, 0.5 ** (age / (HALF_LIFE_DAYS * 86_400)))
    return {host: found.health() for host, found in sums.items()}


def _is_judged(attempt: AttemptRow) -> bool:
    is_host = attempt.source not in _NO_HOST and attempt.host != _MANIFEST
    return is_host and attempt.outcome in ("success", "error")


def _own_outages(attempts: Sequence[AttemptRow]) -> set[int]:
    """Find the failures that say nothing about a host, because nothing at all could be reached.

    Those of a run in which nobody answered, and those after the last answer of a run if they include a host
    that had answered before.

    Returns:
        Their indices.
    """
    runs: dict[str, list[int]] = {}
    for number, attempt in enumerate(attempts):
        runs.setdefault(attempt.run, []).append(number)
    return {number for numbers in runs.values() for number in _outage(attempts, numbers)}


def _outage(attempts: Sequence[AttemptRow], numbers: Sequence[int]) -> list[int]:
    """The same for the attempts of one run, given by their indices."""
    unreached = [number for number in numbers if attempts[number].fault in _UNREACHED]
    answered = [number for number in numbers if attempts[number].fault not in _UNREACHED | _STALLS]
    if not answered:
        return unreached
    last_answer = max(_end(attempts[number]) for number in answered)
    later = [number for number in unreached if _end(attempts[number]) > last_answer]
    lost_hosts = _hosts(attempts, answered) & _hosts(attempts, later)
    return later if lost_hosts else []


def _hosts(attempts: Sequence[AttemptRow], numbers: Sequence[int]) -> set[Host]:
    return {(attempts[number].source, attempts[number].host) for number in numbers}


def _end(attempt: AttemptRow) -> datetime:
    return attempt.started_at + timedelta(seconds=attempt.seconds)


def missed(attempts: Iterable[AttemptRow]) -> frozenset[Miss]:
    """What hosts did not have when they were asked last.

    Args:
        attempts: In the order in which they ended.
    """
    has: dict[Miss, bool] = {}
    for each in attempts:
        is_miss = each.fault in _MISSES or (each.fault == Fault.STALL and not each.received)
        if is_miss or each.outcome == "success":
            has[each.host, each.model, each.file, each.size] = not is_miss
    return frozenset(miss for miss, is_there in has.items() if not is_there)


def _median(weighted: Sequence[tuple[float, float]]) -> float | None:
    """The value in the middle, each counted by its weight."""
    middle, passed = sum(weight for _, weight in weighted) / 2, 0.0
    for value, weight in sorted(weighted):
        passed += weight
        if passed >= middle:
            return value
    return None


class Hosted(Protocol):
    """Anything that comes from a host: an offer of a source."""

    @property
    def kind(self) -> str:
        """Kind of the source."""

    @property
    def host(self) -> str:
        """The host."""


H = TypeVar("H", bound=Hosted)


def rank(offers: Sequence[H], health: Mapping[Host, Health]) -> list[H]:
    """Put the offers of one kind into the order in which they should be asked; equals keep theirs."""
    known = {(offer.kind, offer.host): health.get((offer.kind, offer.host)) for offer in offers}
    best = min((each.pace for each in known.values() if each and each.pace), default=0.0)
    scores = {host: score(found, best) for host, found in known.items()}
    first = min((found for found in scores.values() if found is not None), default=(0, 0.0))
    newcomer = (0, first[1] if first[0] == 0 else 0.0)
    return sorted(offers, key=lambda offer: scores[offer.kind, offer.host] or newcomer)


def score(health: Health | None, best: float) -> tuple[int, float] | None:
    """Where a host belongs: its class, then expected seconds; smaller is asked sooner, None is unknown.

    Args:
        health: How it fared; None when it was never asked.
        best: The pace to assume where it is not known.
    """
    if health is None:
        return None
    classes: tuple[Status, ...] = ("healthy", "degraded", "unhealthy")
    return classes.index(health.status), (health.pace or best) / health.trust

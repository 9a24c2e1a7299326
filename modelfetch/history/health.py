"""Health of hosts, measured on this machine, and the order in which hosts are tried. Pure functions.

Failures to connect do not count if no host could be reached: then this machine was offline. Every other
attempt has a weight ``w``, which halves every :data:`HALF_LIFE_DAYS` days. The weights of a host's attempts
give

* its share of success, ``sum(w of successes) / sum(w)``, which is shown to the user;
* its trust, ``(sum(w of successes) + 1) / (sum(w) + 1)``, which decides: one success is assumed, so that a
  single failure does not make a host unhealthy, and an old one no longer matters;
* the weighted median of its times to the first byte;
* its speed, ``sum(w * bytes) / sum(w * seconds)`` over successes with more than :data:`SPEED_BYTES`.

:func:`rank` orders the hosts of one kind: healthy and unknown hosts first, then degraded, then unhealthy
ones. Within a class, the host with the shortest expected time for :data:`REFERENCE_BYTES` comes first:
``(first byte + REFERENCE_BYTES / speed) / trust``. Unknown values are assumed to equal the best known ones,
so a new host is tried before the best known host if it precedes that one in the configuration. The order of
kinds never changes.

For example, a host with 9 recent successes and 1 recent failure has the share 0.9 and the trust 10 / 11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol, TypeVar

from modelfetch.errors import Fault
from modelfetch.history.rows import AttemptRow
from modelfetch.history.schema import stamp
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.model.source_kinds import WITHOUT_NETWORK, SourceKind
from modelfetch.model.units import format_rate

Status = Literal["healthy", "degraded", "unhealthy", "unknown"]
Host = tuple[str, str]
"""Kind of source, and host name."""

HALF_LIFE_DAYS: Final = 3.0
"""Days after which an attempt counts half: a gateway's bad evening no longer matters after a week or two."""
HEALTHY: Final = 0.9
"""Least trust (in metrics: share) of a healthy host: retries cope with one failure in ten."""
DEGRADED: Final = 0.5
"""Least trust (in metrics: share) of a degraded host; below it, attempts fail more often than not."""
SPEED_BYTES: Final = 256 * 1024
"""An attempt with fewer bytes does not measure speed: TCP is still in slow start, from an initial window of
ten segments (RFC 6928)."""
REFERENCE_BYTES: Final = 16 * 1024 * 1024
"""Size of the transfer for which hosts are compared; weighs speed against time to the first byte."""

MISS_DAYS: Final = 1.0
"""Days for which a host that did not have a file is expected not to have it."""

Miss = tuple[str, str, str, int]
"""Host, model, path and size of a file that the host did not have."""

_MANIFEST: Final = "manifest"
"""Stands in place of the host if the address in the manifest is invalid; no host was contacted."""
_MISSES: Final = frozenset({Fault.NOT_FOUND.value, Fault.SERVER.value, Fault.TIMEOUT.value})
"""Answers of a gateway that did not find a file in time: 404, but also 502, 504 or no answer."""
_UNREACHED: Final = frozenset({Fault.CONNECT.value, Fault.PROXY.value})
"""Faults without a connection; the cause may be this machine."""
_STALLS: Final = frozenset({Fault.STALL.value, Fault.TIMEOUT.value})


@dataclass(frozen=True, slots=True)
class Health:
    """Health of one host."""

    samples: int
    """Attempts with a verdict."""
    share: float
    """Share of success, 0 to 1; recent attempts count more."""
    trust: float
    """The share, closer to 1 if attempts are few or old."""
    first_byte: float | None
    """Median of the seconds to the first byte; None if unknown."""
    speed: float | None
    """Bytes per second; None if unknown."""
    stalls: int
    """Number of stalled attempts."""
    last: datetime
    """Start of the last attempt."""

    @property
    def status(self) -> Status:
        """The class of its trust."""
        return status_of(self.trust)

    @property
    def pace(self) -> float | None:
        """Expected seconds for :data:`REFERENCE_BYTES`; None if the speed is unknown."""
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


def in_words(source: str, health: Health | None) -> str:
    """Return the health of a host for the user; without any, why that is.

    Args:
        source: Its kind. Each run asks its peers who has a file. Those that are off, refuse or have nothing
            are left out, which is no failure and no attempt: it is normal for a machine nearby.
        health: None if there was no attempt.
    """
    if health is not None:
        return f"{health.status}: {health}"
    return "nothing fetched from it yet" if source == SourceKind.PEER else "not tried yet"


def facts(health: Health | None) -> dict[str, Any]:
    """Return the health of a host for JSON: share from 0 to 1, seconds, bytes per second; null if unknown."""
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
    """Return the class of a share of success or trust; ``unknown`` for None."""
    if share is None:
        return "unknown"
    if share >= HEALTHY:
        return "healthy"
    return "degraded" if share >= DEGRADED else "unhealthy"


@dataclass(slots=True)
class _Sums:
    """Weighted sums over the attempts of one host."""

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
        assert self.last is not None, "created for an attempt"
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
    """Return the health of every host.

    Args:
        attempts: Attempts in any order. Those without a verdict (cancelled) and those without a host (cache,
            this disk) do not count.
        now: The time from which the age of attempts is measured.
    """
    judged = [attempt for attempt in attempts if _is_judged(attempt)]
    excused = _own_outages(judged)
    sums: dict[Host, _Sums] = {}
    for number, attempt in enumerate(judged):
        if number not in excused:
            age = max(0.0, (now - attempt.started_at).total_seconds())
            host = sums.setdefault((attempt.source, attempt.host), _Sums())
            host.add(attempt, 0.5 ** (age / (HALF_LIFE_DAYS * 86_400)))
    return {host: found.health() for host, found in sums.items()}


def _is_judged(attempt: AttemptRow) -> bool:
    is_host = attempt.source not in WITHOUT_NETWORK and attempt.host != _MANIFEST
    return is_host and attempt.outcome in ("success", "error")


def _own_outages(attempts: Sequence[AttemptRow]) -> set[int]:
    """Find the failures to connect that were caused by an outage of this machine's network.

    They are all failures of a run in which no host answered, and those after the last answer of a run if one
    of them is of a host that had answered before.

    Returns:
        Their indices.
    """
    runs: dict[str, list[int]] = {}
    for number, attempt in enumerate(attempts):
        runs.setdefault(attempt.run, []).append(number)
    return {number for numbers in runs.values() for number in _outage(attempts, numbers)}


def _outage(attempts: Sequence[AttemptRow], numbers: Sequence[int]) -> list[int]:
    """Return the same for the attempts of one run, given by their indices."""
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


def missed(attempts: Sequence[AttemptRow], source: str | None = None) -> frozenset[Miss]:
    """Return the files that hosts did not have at the last attempt.

    A host that could not be reached counts as well: otherwise each run would wait for it again. It does not
    if the cause was an outage of this machine's network.

    Args:
        attempts: Attempts in the order in which they ended, of all kinds of source.
        source: Kind of the hosts; None for all.
    """
    has: dict[Miss, bool] = {}
    judged = [attempt for attempt in attempts if _is_judged(attempt)]
    excused = _own_outages(judged)
    for number, each in enumerate(judged):
        if number in excused or source not in (None, each.source):
            continue
        is_miss = each.fault in _MISSES or (each.fault == Fault.STALL and not each.received)
        is_miss = is_miss or each.fault == Fault.CONNECT
        if is_miss or each.outcome == "success":
            has[each.host, each.model, each.file, each.size] = not is_miss
    return frozenset(miss for miss, is_there in has.items() if not is_there)


def _median(weighted: Sequence[tuple[float, float]]) -> float | None:
    """Return the weighted median, or None without values."""
    middle, passed = sum(weight for _, weight in weighted) / 2, 0.0
    for value, weight in sorted(weighted):
        passed += weight
        if passed >= middle:
            return value
    return None


class Hosted(Protocol):
    """Anything with a host: an offer of a source."""

    @property
    def kind(self) -> str:
        """Kind of the source."""

    @property
    def host(self) -> str:
        """The host."""


H = TypeVar("H", bound=Hosted)


def rank(offers: Sequence[H], health: Mapping[Host, Health]) -> list[H]:
    """Sort the offers of one kind in the order to try them; offers of equal rank keep their order."""
    known = {(offer.kind, offer.host): health.get((offer.kind, offer.host)) for offer in offers}
    best = min((each.pace for each in known.values() if each and each.pace), default=0.0)
    scores = {host: score(found, best) for host, found in known.items()}
    first = min((found for found in scores.values() if found is not None), default=(0, 0.0))
    newcomer = (0, first[1] if first[0] == 0 else 0.0)
    return sorted(offers, key=lambda offer: scores[offer.kind, offer.host] or newcomer)


def score(health: Health | None, best: float) -> tuple[int, float] | None:
    """Return the rank of a host: its class, then expected seconds; lower comes first, None is unknown.

    Args:
        health: Its health; None if there was no attempt.
        best: The pace to assume if it is unknown.
    """
    if health is None:
        return None
    classes: tuple[Status, ...] = ("healthy", "degraded", "unhealthy")
    return classes.index(health.status), (health.pace or best) / health.trust

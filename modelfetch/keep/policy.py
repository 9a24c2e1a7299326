"""Decides what may be removed from a cache. Pure: values in, values out; nothing is read or removed.

A version of a model goes if one of these holds, and its name is not kept:

* it is not complete, and nothing arrived for ``cache.partial_days``;
* a newer version of the same model was fetched more than ``cache.version_days`` ago, this one was not used
  since either, and no catalog pins it;
* it was not used for the time of ``--unused-for``;
* the cache is larger than ``--max-size``: then the one that was not used for longest goes first.

Partials, quarantine entries and blobs without a model go by their age alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from modelfetch.store.survey import Leftover

DAY: Final = 86_400.0
"""Seconds of a day."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a clean-up is asked for."""

    partial_days: int
    """Days to keep interrupted downloads, incomplete versions and blobs without a model."""
    quarantine_days: int
    """Days to keep wrong bytes."""
    version_days: int | None
    """Days to keep a version after a newer one was fetched; None keeps all."""
    unused_for: float | None = None
    """Seconds without use after which a version goes; None keeps all."""
    max_size: int | None = None
    """Bytes that the cache may have; None for any number."""
    kept: frozenset[str] = frozenset()
    """Names of models of which no version goes."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a model, as the policy sees it. Times are seconds since 1970."""

    name: str
    label: str
    """Name of its directory."""
    is_complete: bool
    is_pinned: bool
    """Whether a catalog has a manifest of exactly these files."""
    fetched: float
    """When its newest file was written; verifying does not change it."""
    used: float
    """Its last use."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A version that may go, and why."""

    version: Version
    reason: str


def expired(leftovers: Iterable[Leftover], days: int, now: float) -> list[Leftover]:
    """Return what was not changed for a number of days, oldest first."""
    old = [each for each in leftovers if now - each.changed >= days * DAY]
    return sorted(old, key=lambda each: (each.changed, each.key))


def outlived(versions: Sequence[Version], policy: Policy, now: float) -> list[Choice]:
    """Return the versions that go by their age, whatever the size of the cache is; oldest use first."""
    reasons = ((each, _reason(each, versions, policy, now)) for each in _free(versions, policy))
    return [Choice(each, reason) for each, reason in reasons if reason]


def by_last_use(versions: Sequence[Version], policy: Policy) -> Iterator[Choice]:
    """Yield the complete versions that may go to make room, in the order of their last use."""
    return (Choice(each, "over --max-size") for each in _free(versions, policy) if each.is_complete)


def _free(versions: Sequence[Version], policy: Policy) -> list[Version]:
    free = [each for each in versions if each.name not in policy.kept]
    return sorted(free, key=lambda each: (each.used, each.name, each.label))


def _reason(version: Version, versions: Sequence[Version], policy: Policy, now: float) -> str:
    idle = now - version.used
    if not version.is_complete:
        return f"incomplete for {_days(idle)}" if idle >= policy.partial_days * DAY else ""
    since = _superseded(version, versions)
    if since is not None and policy.version_days is not None:
        # The use counts too: a program may go on with the older version.
        age = min(now - since, idle)
        if age >= policy.version_days * DAY:
            return f"replaced by a newer version {_days(now - since)} ago"
    if policy.unused_for is not None and idle >= policy.unused_for:
        return f"not used for {_days(idle)}"
    return ""


def _superseded(version: Version, versions: Sequence[Version]) -> float | None:
    """When the first newer version of a model was fetched; None without one, or if this one is pinned."""
    if version.is_pinned:
        return None
    newer = [
        each.fetched
        for each in versions
        if each.name == version.name and each.is_complete and each.fetched > version.fetched
    ]
    return min(newer, default=None)


def _days(seconds: float) -> str:
    days = int(max(0.0, seconds) // DAY)
    return "1 day" if days == 1 else f"{days} days"

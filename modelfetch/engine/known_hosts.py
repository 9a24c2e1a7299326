"""Lists every known host of the sources: where it is configured, its health, and its position. Pure.

First come the hosts that would be asked, in order; then those of kinds that are not in use; then those that
only the history knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from modelfetch.history import Health, rank
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.probe import Question
from modelfetch.net.urls import host_of
from modelfetch.sources.registry import SOURCES

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.settings import Settings
    from modelfetch.sources.base import KnownHost, RegisteredSource


@dataclass(frozen=True, slots=True)
class Standing:
    """One host of one kind of source."""

    kind: str
    host: str
    known_from: str
    """``settings``, ``catalog``, or ``history`` for a host that is no longer configured."""
    question: Question | None = None
    """Request that shows whether it is reachable; None for a host that only the history knows."""
    place: int | None = None
    """Position in the order of its kind, from 1; None if it would not be asked at all."""
    health: Health | None = None

    @property
    def reason(self) -> str:
        """Why it has its position, for the user."""
        if self.place is None:
            return "no longer configured" if self.known_from == "history" else "its kind is not in use"
        return f"{self.health.status}: {self.health}" if self.health else "not tried yet"


def standings(
    settings: Settings, manifests: Iterable[Manifest], health: Mapping[tuple[str, str], Health]
) -> list[Standing]:
    """List every host, in the order in which kinds and hosts would be asked.

    Args:
        settings: With mirrors, gateways, the endpoint and the order of kinds.
        manifests: With more mirrors, and addresses of files.
        health: By kind and host.
    """
    named: dict[tuple[str, str], Standing] = {}
    for found in _named(settings, manifests):
        named.setdefault((found.kind, found.host), found)
    listed = [replace(found, health=health.get(key)) for key, found in named.items()]
    used = [each for kind in settings.sources.order for each in _placed(kind, listed)]
    unused = [each for each in listed if each.kind not in settings.sources.order]
    return [*used, *unused, *_forgotten(named, health)]


def _placed(kind: str, listed: Sequence[Standing]) -> Iterator[Standing]:
    """Yield the hosts of one kind in the order in which they would be asked, with their positions."""
    measured = {(each.kind, each.host): each.health for each in listed if each.health is not None}
    ordered = rank([each for each in listed if each.kind == kind], measured)
    yield from (replace(each, place=place) for place, each in enumerate(ordered, 1))


def _named(settings: Settings, manifests: Iterable[Manifest]) -> Iterator[Standing]:
    """Yield the hosts of settings, then those of manifests; a host may come several times."""
    for source in SOURCES:
        yield from _standings(source, source.configured_hosts(settings), "settings")
    for manifest in manifests:
        for source in SOURCES:
            yield from _standings(source, source.manifest_hosts(manifest), "catalog")


def _standings(
    source: type[RegisteredSource], hosts: Iterable[KnownHost], known_from: str
) -> Iterator[Standing]:
    for host in hosts:
        yield Standing(source.kind, host_of(host.url), known_from, Question(host.url, host.is_head))


def _forgotten(
    named: Mapping[tuple[str, str], Standing], health: Mapping[tuple[str, str], Health]
) -> Iterator[Standing]:
    """Yield hosts that are only in the history, without addresses of this machine."""
    for (kind, host), found in sorted(health.items()):
        if (kind, host) not in named and not host.startswith(("127.0.0.1:", "[::1]:", "localhost:")):
            yield Standing(kind, host, "history", health=found)

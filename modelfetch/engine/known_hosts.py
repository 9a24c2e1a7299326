"""Lists every known host of the sources: where it is configured, its health, and its position.

First come the hosts in use, in the order in which they are tried; then those of kinds that are not in use;
then those that are only in the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from modelfetch.history import Health, rank
from modelfetch.history.health import in_words
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.addresses import is_object_url
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.probe import Question
from modelfetch.net.urls import host_of
from modelfetch.sources.registry import source_classes

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.settings import Settings
    from modelfetch.sources.base import HostAddress, RegisteredSource


@dataclass(frozen=True, slots=True)
class KnownHost:
    """One host of one kind of source."""

    kind: str
    host: str
    known_from: str
    """``settings``, ``catalog``, ``network`` for a peer that was found, or ``history`` for a host that is no
    longer configured, or found."""
    question: Question | None = None
    """Request that shows whether it is reachable; None for a host that is only in the
    history, and for a bucket."""
    position: int | None = None
    """Position in the order of its kind, from 1; None if it is not in use."""
    health: Health | None = None

    @property
    def reason(self) -> str:
        """Why it has its position, for the user."""
        if self.position is None:
            if self.known_from != "history":
                return "its kind is not in use"
            return "not found now" if self.kind == SourceKind.PEER else "no longer configured"
        return in_words(self.kind, self.health)


def known_hosts(
    settings: Settings,
    manifests: Iterable[Manifest],
    health: Mapping[tuple[str, str], Health],
    found: Iterable[str] = (),
) -> list[KnownHost]:
    """List every known host, in the order in which kinds and hosts are tried.

    Args:
        settings: With mirrors, gateways, the endpoint and the order of kinds.
        manifests: With more mirrors, and addresses of files.
        health: By kind and host.
        found: Addresses of peers that were found in the local network.
    """
    configured: dict[tuple[str, str], KnownHost] = {}
    peers = (KnownHost(SourceKind.PEER, host_of(url), "network", Question(url, False)) for url in found)
    for each in chain(_configured(settings, manifests), peers):
        configured.setdefault((each.kind, each.host), each)
    listed = [replace(each, health=health.get(key)) for key, each in configured.items()]
    used = [each for kind in settings.sources.order for each in _ranked(kind, listed)]
    unused = [each for each in listed if each.kind not in settings.sources.order]
    return [*used, *unused, *_only_in_history(configured, health)]


def _ranked(kind: str, listed: Sequence[KnownHost]) -> Iterator[KnownHost]:
    """Yield the hosts of one kind in the order in which they are tried, with their positions."""
    measured = {(each.kind, each.host): each.health for each in listed if each.health is not None}
    ordered = rank([each for each in listed if each.kind == kind], measured)
    yield from (replace(each, position=position) for position, each in enumerate(ordered, 1))


def _configured(settings: Settings, manifests: Iterable[Manifest]) -> Iterator[KnownHost]:
    """Yield the hosts of settings, then those of manifests; a host may occur several times."""
    for source in source_classes():
        yield from _hosts_of(source, source.configured_hosts(settings), "settings")
    for manifest in manifests:
        for source in source_classes():
            yield from _hosts_of(source, source.manifest_hosts(manifest), "catalog")


def _hosts_of(
    source: type[RegisteredSource], hosts: Iterable[HostAddress], known_from: str
) -> Iterator[KnownHost]:
    for host in hosts:
        if is_object_url(host.url):  # a bucket has no host that a plain request could reach
            yield KnownHost(source.kind, host_of(host.url), known_from)
            continue
        yield KnownHost(source.kind, host_of(host.url), known_from, Question(host.url, host.is_head))


def _only_in_history(
    configured: Mapping[tuple[str, str], KnownHost], health: Mapping[tuple[str, str], Health]
) -> Iterator[KnownHost]:
    """Yield hosts that are only in the history, without addresses of this machine."""
    for (kind, host), found in sorted(health.items()):
        if (kind, host) not in configured and not host.startswith(("127.0.0.1:", "[::1]:", "localhost:")):
            yield KnownHost(kind, host, "history", health=found)

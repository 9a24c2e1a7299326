"""Reports requests to this machine or a private network that a project, not the user, causes.

A manifest may contain any URL, so a repository of another author can make this machine send requests to a
router, a printer, or a service that is reachable from here only. The author does not see the response, but
the request alone may do harm. It is reported and not refused, because mirrors inside a company network are a
main use of mirrors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.credentials import split_credential
from modelfetch.net.urls import host_of, origin
from modelfetch.sources.base import HttpOffer, Offer, Source

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest


class PrivateNetworkWatch:
    """Reports each such host once, before the first request to it.

    Args:
        models: Names of the models in the catalog of the project.
        own: URLs that the user configured: mirrors, gateways, an endpoint.
        foreign: URLs of the same kinds from the project's configuration.
        report: Called with the message, from any thread.
    """

    def __init__(
        self,
        models: Collection[str],
        own: Sequence[str],
        foreign: Sequence[str],
        report: Callable[[str], None],
    ) -> None:
        self._models = models
        self._own = frozenset(map(_origin, own))
        self._foreign = frozenset(map(_origin, foreign))
        self._report = report
        self._lock = threading.Lock()
        self._checked: set[str] = set()

    def attach(self, manifest: Manifest, offer: Offer) -> Offer:
        """Check an offer before each request, if its URL comes from the project; returns the offer."""
        # The peers are those that the user names, or that the user's own network announces.
        if isinstance(offer, HttpOffer) and offer.kind != SourceKind.PEER:
            start = origin(offer.address)
            is_theirs = start in self._foreign or (manifest.name in self._models and start not in self._own)
            if is_theirs:
                offer.before = self._check_host
        return offer

    def _check_host(self, url: str) -> None:
        """Report the host of ``url`` at its first request, if it is private."""
        host = host_of(url)
        with self._lock:
            if host in self._checked:
                return
            self._checked.add(host)
        # Imported late: it imports httpx, which a run without requests does not need.
        from modelfetch.net.urls import is_private_url

        if is_private_url(url):
            self._report(f"this project uses {host}, which is on this machine or in a private network")


class Watched:
    """A source whose offers are checked by a :class:`PrivateNetworkWatch`.

    Args:
        source: The source.
        watch: Checks its offers.
    """

    def __init__(self, source: Source, watch: PrivateNetworkWatch) -> None:
        self.kind = source.kind
        self._source = source
        self._watch = watch

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """The offers of the source."""
        return [self._watch.attach(manifest, offer) for offer in self._source.offers(manifest, file)]


def _origin(url: str) -> tuple[str, str, int]:
    return origin(split_credential(url)[0])

"""Telling of requests into this machine or a private network that a project, not the user, asks for.

A manifest may name any address, so somebody else's repository can make this machine ask its router, a printer
or a service that only it can reach. The answer is of no use to them, but a request may be harm enough. It is
told, not refused: a mirror inside a company is the very case that mirrors are for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from modelfetch.net.urls import host_of, origin, take_credential
from modelfetch.sources.base import HttpOffer, Offer, Source

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest


class PrivateNetworkWatch:
    """Says of each host once that it lies inside, before the first request to it.

    Args:
        models: Names of the models that a project's catalog describes.
        own: Addresses that the user named: mirrors, gateways, an endpoint.
        foreign: Such addresses that a project's file named.
        tell: Takes the sentence; called from any thread.
    """

    def __init__(
        self,
        models: Collection[str],
        own: Sequence[str],
        foreign: Sequence[str],
        tell: Callable[[str], None],
    ) -> None:
        self._models = models
        self._own = frozenset(map(_origin, own))
        self._foreign = frozenset(map(_origin, foreign))
        self._tell = tell
        self._lock = threading.Lock()
        self._looked_at: set[str] = set()

    @property
    def is_needed(self) -> bool:
        """Whether a project has a say in any address."""
        return bool(self._models or self._foreign)

    def on(self, manifest: Manifest, offer: Offer) -> Offer:
        """Have an offer looked at before it is asked, if it is not one of the user's own places."""
        if isinstance(offer, HttpOffer):
            start = origin(offer.address)
            is_theirs = start in self._foreign or (manifest.name in self._models and start not in self._own)
            if is_theirs:
                offer.before = self._look
        return offer

    def _look(self, url: str) -> None:
        host = host_of(url)
        with self._lock:
            if host in self._looked_at:
                return
            self._looked_at.add(host)
        from modelfetch.net.httpx_client import leads_inside

        if leads_inside(url):
            self._tell(f"this project has {host} asked, which is on this machine or in a private network")


class Watched:
    """A source whose offers are looked at."""

    def __init__(self, source: Source, watch: PrivateNetworkWatch) -> None:
        self.kind = source.kind
        self._source = source
        self._watch = watch

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """The offers of the source."""
        return [self._watch.on(manifest, offer) for offer in self._source.offers(manifest, file)]


def _origin(url: str) -> tuple[str, str, int]:
    return origin(take_credential(url)[0])

"""The addresses a manifest gives for a single file."""

from __future__ import annotations

from collections.abc import Sequence

from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.client import Client
from modelfetch.sources.base import HttpOffer, Offer


class UrlSource:
    """``files[].urls`` of the manifest, in its order."""

    kind = "url"

    def __init__(self, client: Client) -> None:
        self._client = client

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:  # noqa: ARG002
        """One offer per address."""
        return [HttpOffer(self.kind, url, file.size, self._client) for url in file.urls]

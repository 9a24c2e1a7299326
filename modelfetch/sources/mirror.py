"""Mirrors, and the URLs that a manifest lists for single files.

A mirror is a URL template, set in the configuration or in the manifest. Example::

    https://mirror.example/{name}/{version}/{path}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelfetch.net.urls import quote_path, split_credential
from modelfetch.sources.base import HttpOffer, Offer

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.net.client import Client


class MirrorSource:
    """URL templates: those of the configuration, then those of the manifest.

    The fields are ``{path}``, ``{sha256}``, ``{name}`` and ``{version}``.

    Args:
        client: HTTP client of the run.
        templates: Mirrors of the configuration. They may contain ``user:password@``, which is sent to that
            origin only.
    """

    kind = "mirror"

    def __init__(self, client: Client, templates: Sequence[str]) -> None:
        self._client = client
        self._templates = templates

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer per template."""
        return [self._offer(template, manifest, file) for template in (*self._templates, *manifest.mirrors)]

    def _offer(self, template: str, manifest: Manifest, file: FileSpec) -> Offer:
        url, credential = split_credential(expand(template, manifest, file))
        return HttpOffer(self.kind, url, file.size, self._client, credential)


def expand(template: str, manifest: Manifest, file: FileSpec) -> str:
    """Replace the fields of a template. Values are percent-encoded, so that none can add parts to the URL."""
    values = {
        "{path}": file.path,
        "{sha256}": file.sha256,
        "{name}": manifest.name,
        "{version}": manifest.version,
    }
    for field, value in values.items():
        if field in template:
            template = template.replace(field, quote_path(value))
    return template


class UrlSource:
    """``files[].urls`` of the manifest, in its order.

    Args:
        client: HTTP client of the run.
    """

    kind = "url"

    def __init__(self, client: Client) -> None:
        self._client = client

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:  # noqa: ARG002
        """One offer per URL."""
        return [HttpOffer(self.kind, url, file.size, self._client) for url in file.urls]

"""Mirrors, and the URLs that a manifest lists for single files.

A mirror is a URL template, set in the configuration or in the manifest. It may be in an object store, which
needs the extra ``s3``. Examples::

    https://mirror.example/{name}/{version}/{path}
    s3://bucket/models/{sha256}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modelfetch.model.addresses import is_object_url
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.credentials import split_credential
from modelfetch.net.urls import quote_path
from modelfetch.sources.base import HostAddress, HttpOffer, Offer, RegisteredSource, SourceContext

if TYPE_CHECKING:
    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.net.client import Client
    from modelfetch.settings import Settings


def object_offer(kind: str, url: str, size: int, client: Client) -> Offer:
    """The offer of an object, whose module is loaded for it."""
    from modelfetch.sources.object_offer import ObjectOffer

    return ObjectOffer(kind, url, size, client)


class MirrorSource(RegisteredSource):
    """URL templates: those of the configuration, then those of the manifest.

    The fields are ``{path}``, ``{sha256}``, ``{name}`` and ``{version}``.

    Args:
        client: HTTP client of the run.
        templates: Mirrors of the configuration. They may contain ``user:password@``, which is sent to that
            origin only.
    """

    kind = SourceKind.MIRROR

    def __init__(self, client: Client, templates: Sequence[str]) -> None:
        self._client = client
        self._templates = templates

    @classmethod
    def from_context(cls, context: SourceContext) -> MirrorSource:
        """Use the mirrors of the settings."""
        return cls(context.client, context.loaded.settings.sources.mirrors)

    @classmethod
    def configured_hosts(cls, settings: Settings) -> Iterator[HostAddress]:
        """The hosts of the templates in settings."""
        return map(HostAddress.root_of, settings.sources.mirrors)

    @classmethod
    def manifest_hosts(cls, manifest: Manifest) -> Iterator[HostAddress]:
        """The hosts of the templates in a manifest."""
        return map(HostAddress.root_of, manifest.mirrors)

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:
        """One offer per template."""
        return [self._offer(template, manifest, file) for template in (*self._templates, *manifest.mirrors)]

    def _offer(self, template: str, manifest: Manifest, file: FileSpec) -> Offer:
        if is_object_url(template):
            return object_offer(self.kind, expand(template, manifest, file), file.size, self._client)
        url, credential = split_credential(expand(template, manifest, file))
        return HttpOffer(self.kind, url, file.size, self._client, credential)


def expand(template: str, manifest: Manifest, file: FileSpec) -> str:
    """Replace the fields of a template.

    Values are percent-encoded, so that none can add parts to a URL. The key of an object is literal.
    """
    quoted = str if is_object_url(template) else quote_path
    values = {
        "{path}": file.path,
        "{sha256}": file.sha256,
        "{name}": manifest.name,
        "{version}": manifest.version,
    }
    for field, value in values.items():
        if field in template:
            template = template.replace(field, quoted(value))
    return template


class UrlSource(RegisteredSource):
    """``files[].urls`` of the manifest, in its order.

    Args:
        client: HTTP client of the run.
    """

    kind = SourceKind.URL

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def from_context(cls, context: SourceContext) -> UrlSource:
        """Use the client of the run."""
        return cls(context.client)

    @classmethod
    def manifest_hosts(cls, manifest: Manifest) -> Iterator[HostAddress]:
        """The hosts of the addresses of all files."""
        # Each address once: a model may have thousands of files at a few hosts.
        return map(HostAddress.root_of, dict.fromkeys(url for file in manifest.files for url in file.urls))

    def offers(self, manifest: Manifest, file: FileSpec) -> Sequence[Offer]:  # noqa: ARG002
        """One offer per URL."""
        return [
            object_offer(self.kind, url, file.size, self._client)
            if is_object_url(url)
            else HttpOffer(self.kind, url, file.size, self._client)
            for url in file.urls
        ]

"""OCI registries: artifacts of ModelPack, Docker Model Runner and ORAS.

A tag is resolved to a manifest, whose digest is the revision. Its layers are the files, and their digests
those of the files (:mod:`modelfetch.upstreams.artifact_layers`). So nothing is downloaded but manifests, and
the config of ModelPack, which states license and title. Example::

    oci:ghcr.io/org/model:1.0    GET https://ghcr.io/v2/org/model/manifests/1.0
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, cast

from modelfetch.errors import ModelfetchError, UnavailableError, UsageError
from modelfetch.model.addresses import why_bad_url
from modelfetch.model.registry_documents import (
    FILE_DIGEST,
    INDEXES,
    MANIFESTS,
    MODEL_MANIFEST,
    MODELPACK,
    Descriptor,
    Document,
    text,
)
from modelfetch.model.text import quote, sanitize
from modelfetch.net.registry_auth import RegistryAuth
from modelfetch.net.registry_urls import RegistryRepository
from modelfetch.settings.docker_credentials import RegistryLogins
from modelfetch.upstreams.artifact_layers import named_layers
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.licenses import license_of
from modelfetch.upstreams.registry_api import RegistryApi

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelfetch.model.reference import OciReference, Reference
    from modelfetch.upstreams.access import Access

_CONFIGS: Final = frozenset(
    {"application/vnd.cncf.model.config.v1+json", "application/vnd.cnai.model.config.v1+json"}
)
"""Types of the config of ModelPack."""
_IMAGE_CONFIGS: Final = frozenset(
    {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
)
_CONFIG_BYTES: Final = 1 << 20
"""Largest config that is read for its metadata, in bytes; real ones have a few hundred."""
_DEEPEST: Final = 3
"""Most documents from a tag to a manifest: an index may list another one."""
_LISTED: Final = 10
"""Most entries of an index in a message."""
_TITLE_CHARACTERS: Final = 200
_ATTESTATION: Final = "vnd.docker.reference.type"
"""Annotation of entries that are no artifact but describe one (BuildKit)."""


class Oci:
    """Artifacts in OCI registries.

    Args:
        api: Reads from registries.
        notices: Lines about logins that cannot be used; added when a registry asks for one.
    """

    def __init__(self, api: RegistryApi, notices: Sequence[str] = ()) -> None:
        self._api = api
        self._notices = notices

    @classmethod
    def from_access(cls, access: Access) -> Oci:
        """Use the logins of the user's container tools, unless the run is anonymous."""
        if not access.loaded.uses_logins:
            return cls(RegistryApi(access.hub, RegistryAuth(access.hub.client)))
        notices: list[str] = []
        logins = RegistryLogins.of_user(access.environ, notices.append)
        return cls(RegistryApi(access.hub, RegistryAuth(access.hub.client, logins.find)), notices)

    def resolve(self, reference: Reference) -> Listing:
        """See :meth:`modelfetch.upstreams.base.Upstream.resolve`."""
        try:
            return self._resolve(cast("OciReference", reference))
        except ModelfetchError as error:
            # There is no listing with the notices, and one of them may be the reason.
            error.hint = " ".join((*self._notices, error.hint)).strip()
            raise

    def _resolve(self, asked: OciReference) -> Listing:
        repository = repository_of(asked.registry, asked.repository)
        manifest = self._manifest(repository, asked.digest or asked.tag or "latest", asked.text)
        try:
            config, layers = manifest.config(), _files(manifest.descriptors("layers"))
        except ValueError as error:
            raise _unreadable(repository, error) from None
        if not layers:
            raise UsageError(f"{quote(asked.text)} has no layers, so there is nothing to pin")
        name = asked.repository.rpartition("/")[2]
        _check_no_image(config, layers, asked.text)
        named = named_layers(layers, name)
        described = self._described(repository, config, asked.text)
        return Listing(
            reference=asked,
            revision=f"sha256:{manifest.sha256}",
            files=tuple(
                UpstreamFile(path, layer.size, layer.sha256, fetch_url=self._url(repository, layer))
                for path, layer in named
            ),
            stated_by="oci",
            name=name,
            oci=repository.text,
            notices=tuple(self._notices),
            **_metadata(described, manifest),
        )

    def open(self, file: UpstreamFile) -> AbstractContextManager[Iterator[bytes]]:
        """See :meth:`modelfetch.upstreams.base.Upstream.open`."""
        return self._api.open(file)

    def _url(self, repository: RegistryRepository, layer: Descriptor) -> str:
        return self._api.fetch_url(repository, layer.sha256)

    def _manifest(self, repository: RegistryRepository, reference: str, shown: str) -> Document:
        """Read the manifest of an artifact, through an index if there is one."""
        for _ in range(_DEEPEST):
            document = self._api.manifest(repository, reference, quote(shown))
            kind = document.media_type
            if kind in MANIFESTS or (not kind and "layers" in document.content):
                return document
            if kind not in INDEXES:
                raise UsageError(f"{quote(shown)} is a document of type {quote(kind)}, not an artifact")
            try:
                chosen = choose(document.descriptors("manifests"), shown)
            except ValueError as error:
                raise _unreadable(repository, error) from None
            reference = f"sha256:{chosen.sha256}"
        raise UsageError(f"{quote(shown)} is an index of indexes; give the digest of a manifest")

    def _described(
        self, repository: RegistryRepository, config: Descriptor | None, shown: str
    ) -> dict[str, Any]:
        """The description of a model in its config; empty if it has none."""
        if config is None or config.media_type not in _CONFIGS or config.size > _CONFIG_BYTES:
            return {}
        try:
            document = json.loads(self._api.blob(repository, config, f"config of {quote(shown)}"))
        except (ValueError, RecursionError):
            return {}
        found = document.get("descriptor") if isinstance(document, dict) else None
        return found if isinstance(found, dict) else {}


def repository_of(registry: str, name: str) -> RegistryRepository:
    """Return a repository.

    Raises:
        UsageError: One of the parts is malformed.
    """
    repository = RegistryRepository(registry, name)
    try:
        repository.check()
    except ValueError:
        raise UsageError(f"{quote(repository.text)} is not a repository of a registry") from None
    return repository


def choose(entries: list[Descriptor], shown: str) -> Descriptor:
    """Choose the entry of an index: the only ModelPack artifact, else the only entry.

    Raises:
        UsageError: There is none, or several; the message lists them.
    """
    entries = [
        each
        for each in entries
        if each.platform != "unknown/unknown" and _ATTESTATION not in each.annotations
    ]
    found = [each for each in entries if each.artifact_type in MODELPACK] or entries
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"{quote(shown)} is an index without a model")
    listed = ", ".join(_entry(each) for each in found[:_LISTED])
    more = f", and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise UsageError(
        f"{quote(shown)} stands for {len(found)} artifacts: {listed}{more}",
        hint="Give the digest of one of them: oci:REGISTRY/REPOSITORY@sha256:...",
    )


def _files(layers: list[Descriptor]) -> list[Descriptor]:
    """Leave out the manifest that a bundle adds: a model keeps its identity on its way through a registry."""
    return [layer for layer in layers if MODEL_MANIFEST not in layer.annotations]


def _entry(entry: Descriptor) -> str:
    kind = entry.platform or entry.artifact_type or entry.media_type
    return f"sha256:{entry.sha256} ({sanitize(kind)[:80]})"


def _unreadable(repository: RegistryRepository, error: ValueError) -> UnavailableError:
    return UnavailableError(f"{sanitize(repository.registry)} sent a manifest that is not valid: {error}")


def _check_no_image(config: Descriptor | None, layers: list[Descriptor], shown: str) -> None:
    """Refuse container images, whose layers are archives, with words of their own."""
    if any(FILE_DIGEST in layer.annotations for layer in layers):
        raise UsageError(
            f"{quote(shown)} is a container image of a bundle; its layers are archives of the files",
            hint="Copy it with `skopeo copy --preserve-digests docker://... oci-archive:image.tar`, and run "
            "`modelfetch bundle import image.tar`; or push a bundle without `--form image`.",
        )
    is_image = config is not None and config.media_type in _IMAGE_CONFIGS
    if is_image and not any(layer.annotations for layer in layers):
        raise UsageError(
            f"{quote(shown)} is a container image; its layers are archives, which cannot be pinned by file",
            hint="Pull it with a container tool, and pin the directory that holds the model.",
        )


def _metadata(described: dict[str, Any], manifest: Document) -> dict[str, Any]:
    """License, title and homepage, as the publisher states them."""
    annotations = manifest.annotations
    stated = license_of(described.get("licenses"))
    title = text(described.get("title")) or annotations.get("org.opencontainers.image.title", "")
    addresses = (text(described.get("sourceURL")), annotations.get("org.opencontainers.image.source", ""))
    return {
        "license": stated or license_of(annotations.get("org.opencontainers.image.licenses")),
        "title": sanitize(title[:_TITLE_CHARACTERS]),
        "homepage": next((url for url in addresses if url and not why_bad_url(url)), ""),
    }

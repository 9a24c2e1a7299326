"""Models of the ollama registry, and of other hosts with its protocol.

The protocol is that of OCI registries with types of its own. A digest of a layer is the SHA-256 of the file,
so nothing but the manifest is downloaded. Tags move, and manifests cannot be requested by digest, so the
layers are what is pinned; the revision is the SHA-256 of the manifest, which ollama shows as the model's id.
Example::

    ollama:llama3.2:1b    GET https://registry.ollama.ai/v2/library/llama3.2/manifests/1b

Private models, which need ollama's own login, are not supported.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, cast

from modelfetch.errors import UnavailableError, UsageError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.text import quote, sanitize
from modelfetch.upstreams.artifact_layers import named_layers
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.oci import repository_of
from modelfetch.upstreams.registry_api import RegistryApi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelfetch.model.reference import OllamaReference, Reference
    from modelfetch.model.registry_documents import Descriptor
    from modelfetch.upstreams.access import Access

_CONFIG: Final = "config.json"
"""Name of the config blob, with format, family and quantization of the model."""
_PAGES: Final = "registry.ollama.ai"
"""The registry whose models have pages on ollama.com."""


class Ollama:
    """Models of registries with ollama's protocol.

    Args:
        api: Reads from registries, without credentials.
    """

    def __init__(self, api: RegistryApi) -> None:
        self._api = api

    @classmethod
    def from_access(cls, access: Access) -> Ollama:
        """Use the client of the run."""
        return cls(RegistryApi(access.hub, None))

    def resolve(self, reference: Reference) -> Listing:
        """See :meth:`modelfetch.upstreams.base.Upstream.resolve`."""
        asked = cast("OllamaReference", reference)
        repository = repository_of(asked.host, f"{asked.namespace}/{asked.model}")
        manifest = self._api.manifest(repository, asked.tag, quote(asked.text))
        try:
            config, layers = manifest.config(), manifest.descriptors("layers")
        except ValueError as error:
            host = sanitize(asked.host)
            raise UnavailableError(f"{host} sent a manifest that is not valid: {error}") from None
        if not layers:
            raise UsageError(f"{quote(asked.text)} has no layers, so there is nothing to pin")
        files = named_layers(layers, f"{asked.model}-{asked.tag}")
        if config is not None and all(path != _CONFIG for path, _ in files):
            files.append((_CONFIG, replace(config, annotations={})))
        return Listing(
            reference=asked,
            revision=f"sha256:{manifest.sha256}",
            files=tuple(self._file(path, layer, asked) for path, layer in files),
            stated_by="ollama",
            name=asked.model if asked.tag == "latest" else f"{asked.model}-{asked.tag}",
            homepage=_homepage(asked),
            oci=repository.text,
        )

    def open(self, file: UpstreamFile) -> AbstractContextManager[Iterator[bytes]]:
        """See :meth:`modelfetch.upstreams.base.Upstream.open`."""
        return self._api.open(file)

    def _file(self, path: str, layer: Descriptor, asked: OllamaReference) -> UpstreamFile:
        repository = repository_of(asked.host, f"{asked.namespace}/{asked.model}")
        return UpstreamFile(
            path, layer.size, layer.sha256, fetch_url=self._api.fetch_url(repository, layer.sha256)
        )


def _homepage(asked: OllamaReference) -> str:
    """The page of a model; empty for other hosts, whose pages are not known."""
    return f"https://ollama.com/{asked.namespace}/{asked.model}" if asked.host == _PAGES else ""

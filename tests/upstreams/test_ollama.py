"""Models of the ollama protocol: files of the layers, without a login."""

from __future__ import annotations

from typing import Any

import pytest

from modelfetch.errors import UnavailableError, UnknownModelError, UsageError
from modelfetch.model.reference import OllamaReference
from modelfetch.net.hub_client import HubClient
from modelfetch.upstreams.base import Listing
from modelfetch.upstreams.ollama import Ollama
from modelfetch.upstreams.registry_api import RegistryApi
from tests.hubs.registry import DOCKER_MANIFEST, Registry, digest_of, layer

KIND = "application/vnd.ollama.image."
CONFIG = b'{"model_format":"gguf"}'


def document(*layers: dict[str, Any]) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": layer(CONFIG, kind="application/vnd.docker.container.image.v1+json"),
        "layers": list(layers),
    }


GGUF = document(
    layer(b"GGUF" * 9, kind=f"{KIND}model"),
    layer(b"{{ .Prompt }}", kind=f"{KIND}template"),
    layer(b"MIT", kind=f"{KIND}license"),
    layer(b"Apache", kind=f"{KIND}license"),
    layer(b'{"stop":[]}', kind=f"{KIND}params"),
)


def resolve(hub: HubClient, registry: Registry, tag: str = "1b") -> Listing:
    reference = OllamaReference(registry.host, "library", "llama3.2", tag)
    return Ollama(RegistryApi(hub, None)).resolve(reference)


def test_the_layers_are_files(hub: HubClient, registry: Registry) -> None:
    digest = registry.push("library/llama3.2", "1b", GGUF)
    listing = resolve(hub, registry)
    assert {file.path: f"sha256:{file.sha256}" for file in listing.files} == {
        "llama3.2-1b.gguf": digest_of(b"GGUF" * 9),
        "template.txt": digest_of(b"{{ .Prompt }}"),
        "LICENSE": digest_of(b"MIT"),
        "LICENSE.2": digest_of(b"Apache"),
        "params.json": digest_of(b'{"stop":[]}'),
        "config.json": digest_of(CONFIG),
    }
    assert (listing.name, listing.stated_by) == ("llama3.2-1b", "ollama")
    assert (listing.oci, listing.revision) == (f"{registry.host}/library/llama3.2", digest)
    assert registry.paths() == ["GET /v2/library/llama3.2/manifests/1b"]


def test_a_model_of_tensors_keeps_its_own_config(hub: HubClient, registry: Registry) -> None:
    tensors = [
        layer(b"tensor", kind=f"{KIND}tensor", name="model.safetensors"),
        layer(b"own", kind=f"{KIND}json", name="config.json"),
    ]
    registry.push("library/llama3.2", "latest", document(*tensors))
    listing = resolve(hub, registry, "latest")
    assert [file.path for file in listing.files] == ["model.safetensors", "config.json"]
    assert listing.files[1].sha256 == digest_of(b"own").removeprefix("sha256:")
    assert listing.name == "llama3.2"


def test_a_layer_is_read(hub: HubClient, registry: Registry) -> None:
    registry.add(b"MIT")
    registry.push("library/llama3.2", "1b", GGUF)
    upstream = Ollama(RegistryApi(hub, None))
    listing = upstream.resolve(OllamaReference(registry.host, "library", "llama3.2", "1b"))
    [file] = [file for file in listing.files if file.path == "LICENSE"]
    with upstream.open(file) as pieces:
        assert b"".join(pieces) == b"MIT"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (document(), "no layers"),
        (document(layer(b"x", kind=f"{KIND}new")), "has no file name"),
        (
            document(layer(b"x", kind=f"{KIND}tensor", name="a"), layer(b"y", kind=f"{KIND}json", name="a")),
            "'a'",
        ),
    ],
)
def test_what_cannot_be_pinned(
    hub: HubClient, registry: Registry, broken: dict[str, Any], message: str
) -> None:
    registry.push("library/llama3.2", "1b", broken)
    with pytest.raises(UsageError, match=message):
        resolve(hub, registry)


def test_a_manifest_that_is_not_valid(hub: HubClient, registry: Registry) -> None:
    registry.push("library/llama3.2", "1b", GGUF | {"layers": [{"digest": "sha256:0"}]})
    with pytest.raises(UnavailableError, match="not valid"):
        resolve(hub, registry)


def test_a_model_that_is_not_there(hub: HubClient, registry: Registry) -> None:
    with pytest.raises(UnknownModelError, match="or it is private"):
        resolve(hub, registry)


def test_a_challenge_is_not_answered(hub: HubClient, registry: Registry) -> None:
    registry.push("library/llama3.2", "1b", GGUF)
    registry.scheme = "Bearer"
    with pytest.raises(UnknownModelError, match="or it is private"):
        resolve(hub, registry)
    assert len(registry.asked) == 1

"""Repositories of registries: which texts are some, and where their API is."""

from __future__ import annotations

import pytest

from modelfetch.net.registry_urls import RegistryRepository

SHA256 = "ab" * 32


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ghcr.io/org/model", "https://ghcr.io/v2/org/model/blobs/"),
        ("docker.io/ai/model", "https://registry-1.docker.io/v2/ai/model/blobs/"),
        ("Docker.io/ai/model", "https://registry-1.docker.io/v2/ai/model/blobs/"),
        ("index.docker.io/ai/model", "https://registry-1.docker.io/v2/ai/model/blobs/"),
        ("hf.co/Qwen/Qwen3-GGUF", "https://huggingface.co/v2/Qwen/Qwen3-GGUF/blobs/"),
        ("Registry.Example:8443/m", "https://registry.example:8443/v2/m/blobs/"),
        ("localhost:5000/lab/m", "http://localhost:5000/v2/lab/m/blobs/"),
        ("127.0.0.1:5000/m", "http://127.0.0.1:5000/v2/m/blobs/"),
        ("127.8.9.1/m", "http://127.8.9.1/v2/m/blobs/"),
        ("[::1]:5000/m", "http://[::1]:5000/v2/m/blobs/"),
        ("10.0.0.1:5000/m", "https://10.0.0.1:5000/v2/m/blobs/"),
        ("0.0.0.0:5000/m", "https://0.0.0.0:5000/v2/m/blobs/"),
        ("localhost.example/m", "https://localhost.example/v2/m/blobs/"),
        ("notlocalhost/m", "https://notlocalhost/v2/m/blobs/"),
    ],
)
def test_the_address_of_a_blob(text: str, url: str) -> None:
    assert RegistryRepository.parse(text).blob_url(SHA256) == f"{url}sha256:{SHA256}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ghcr.io",
        "ghcr.io/",
        "/m",
        "user:secret@ghcr.io/m",
        "ghcr.io/m?x",
        "ghcr.io/m#x",
        "ghcr.io/../m",
        "ghcr.io/m/./x",
        "ghcr.io//m",
        "ghcr.io/m/",
        "ghcr.io:port/m",
        "ghcr.io/m:tag",
        "ghcr.io/m@sha256:0",
        "ghcr.io\\evil/m",
        "ghcr.io/m\n",
        "ghcr.io/" + "a" * 600,
    ],
)
def test_a_malformed_repository(text: str) -> None:
    with pytest.raises(ValueError, match="expected REGISTRY/REPOSITORY"):
        RegistryRepository.parse(text)

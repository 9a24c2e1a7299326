"""OCI registries as sources: blobs by the pinned SHA-256, ranges, and logins."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.net.registry_auth import RegistryAuth
from modelfetch.settings import load
from modelfetch.sources.base import HostAddress, HttpOffer, SourceContext
from modelfetch.sources.oci import OciSource
from modelfetch.store import Store
from tests.hubs.registry import Registry
from tests.sources.samples import DATA, SHA256, manifest, read, spec


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.add(DATA)
        yield registry


def source(client: Client) -> OciSource:
    return OciSource(client, lambda: RegistryAuth(client))


def test_a_model_without_a_repository_has_no_offer(client: Client) -> None:
    file = spec()
    assert not source(client).offers(manifest(file), file)


def test_a_blob_is_addressed_by_the_pinned_digest(client: Client, registry: Registry) -> None:
    file = spec()
    [offer] = source(client).offers(manifest(file, oci=f"{registry.host}/lab/m"), file)
    assert (offer.kind, offer.host) == ("oci", registry.host)
    assert registry.asked == []
    assert read(offer) == DATA
    assert read(offer, 100) == DATA[100:]
    assert set(registry.paths()) == {f"GET /v2/lab/m/blobs/sha256:{SHA256}"}


def test_a_part_and_a_small_file(client: Client, registry: Registry) -> None:
    registry.scheme = "Bearer"
    file = spec()
    [offer] = source(client).offers(manifest(file, oci=f"{registry.host}/lab/m"), file)
    with closing(offer.open(5, 9)) as stream:
        assert b"".join(bytes(piece) for piece in stream) == DATA[5:9]
    assert isinstance(offer, HttpOffer)
    assert [read(offer), read(offer)] == [DATA, DATA]
    assert len(registry.paths("token")) == 1


def test_a_token_that_expires_between_small_files_is_renewed(client: Client, registry: Registry) -> None:
    registry.scheme = "Bearer"
    file = spec()
    [offer] = source(client).offers(manifest(file, oci=f"{registry.host}/lab/m"), file)
    assert isinstance(offer, HttpOffer)
    read(offer)
    registry.tokens[0] = "no longer valid"
    assert read(offer) == DATA
    assert len(registry.paths("token")) == 2


def test_a_missing_blob(client: Client, registry: Registry) -> None:
    registry.blobs.clear()
    file = spec()
    [offer] = source(client).offers(manifest(file, oci=f"{registry.host}/lab/m"), file)
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert caught.value.fault is Fault.NOT_FOUND


def test_a_private_repository_says_how_to_log_in(client: Client, registry: Registry) -> None:
    registry.scheme, registry.login = "Basic", ("user", "s3cr3t")
    file = spec()
    [offer] = source(client).offers(manifest(file, oci=f"{registry.host}/lab/m"), file)
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert caught.value.fault is Fault.AUTHORIZATION
    assert "docker login" in caught.value.hint


def test_the_logins_of_the_user_are_used_and_their_faults_reported(
    client: Client, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.scheme, registry.login = "Basic", ("user", "s3cr3t")
    config = tmp_path / "config.json"
    login = {"auth": base64.b64encode(b"user:s3cr3t").decode()}
    config.write_text(json.dumps({"auths": {registry.host: login}}), "utf-8")
    broken = tmp_path / "auth.json"
    broken.write_text("{", "utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(broken))
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = load(flags={"cache_dir": str(tmp_path / "cache")}, environ={}, cwd=tmp_path)
    lines: list[str] = []
    context = SourceContext(loaded, client, Store(loaded.cache_dir), Cancellation(), notice=lines.append)
    made = OciSource.from_context(context)
    file = spec()
    [offer] = made.offers(manifest(file, oci=f"{registry.host}/lab/m"), file)
    assert read(offer) == DATA
    assert len(lines) == 1
    assert "auth.json" in lines[0]


def test_a_malformed_repository_fails_like_a_source(client: Client) -> None:
    file = spec()
    [offer] = source(client).offers(manifest(file, oci="user@ghcr.io/m"), file)
    with pytest.raises(SourceError, match="malformed"):
        offer.open(0)


def test_the_host_of_a_manifest() -> None:
    file = spec()
    assert list(OciSource.manifest_hosts(manifest(file, oci="ghcr.io/org/m"))) == [
        HostAddress("https://ghcr.io/v2/")
    ]
    assert list(OciSource.manifest_hosts(manifest(file))) == []

"""OCI artifacts: from a tag to files with digests, and registries that misbehave."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfetch.errors import (
    AuthorizationError,
    IntegrityError,
    ModelfetchError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.model.reference import OciReference
from modelfetch.net.hub_client import HubClient
from modelfetch.net.registry_auth import RegistryAuth
from modelfetch.settings import load
from modelfetch.settings.docker_credentials import RegistryLogin
from modelfetch.settings.values import Secret
from modelfetch.upstreams.access import Access
from modelfetch.upstreams.base import Listing
from modelfetch.upstreams.oci import Oci
from modelfetch.upstreams.registry_api import RegistryApi
from tests.hubs.registry import (
    DOCKER_MANIFEST,
    MODELPACK,
    OCI_INDEX,
    OCI_MANIFEST,
    TITLE,
    Registry,
    digest_of,
    layer,
    manifest,
)

FILES = {"config.json": b"{}", "weights/model.safetensors": b"weights" * 100, "empty": b""}
LOGIN = RegistryLogin("user", Secret("s3cr3t"), "file auth.json")


def upstream(hub: HubClient, login: RegistryLogin | None = None) -> Oci:
    return Oci(RegistryApi(hub, RegistryAuth(hub.client, lambda _host, _name: login)))


def resolve(hub: HubClient, registry: Registry, *, tag: str = "1", digest: str | None = None) -> Listing:
    reference = OciReference(registry.host, "lab/m", None if digest else tag, digest)
    return upstream(hub).resolve(reference)


def refusal(hub: HubClient, registry: Registry, **how: Any) -> ModelfetchError:
    with pytest.raises(ModelfetchError) as caught:
        resolve(hub, registry, **how)
    return caught.value


def test_raw_layers_are_files(hub: HubClient, registry: Registry) -> None:
    digest = registry.push_files("lab/m", "1", FILES)
    listing = resolve(hub, registry)
    assert [(file.path, file.size, f"sha256:{file.sha256}") for file in listing.files] == [
        (path, len(data), digest_of(data)) for path, data in FILES.items()
    ]
    assert (listing.revision, listing.oci, listing.name) == (digest, f"{registry.host}/lab/m", "m")
    assert listing.stated_by == "oci"
    assert registry.paths("blobs") == [f"GET /v2/lab/m/blobs/{digest_of(b'{}')}"]  # the config


def test_by_digest(hub: HubClient, registry: Registry) -> None:
    digest = registry.push_files("lab/m", "1", FILES)
    by_tag, by_digest = resolve(hub, registry), resolve(hub, registry, digest=digest)
    assert by_digest == replace(by_tag, reference=by_digest.reference)


def test_a_file_is_read_for_hashing(hub: HubClient, registry: Registry) -> None:
    registry.push_files("lab/m", "1", FILES)
    registry.scheme = "Bearer"
    source = upstream(hub)
    listing = source.resolve(OciReference(registry.host, "lab/m", "1"))
    for file, data in zip(listing.files, FILES.values(), strict=True):
        with source.open(file) as pieces:
            assert b"".join(pieces) == data


def test_the_config_states_license_title_and_homepage(hub: HubClient, registry: Registry) -> None:
    described = {
        "licenses": ["Apache-2.0", "MIT", 7],
        "title": "A \x1b[2Jmodel",
        "sourceURL": "https://example.org/m",
    }
    registry.push_files("lab/m", "1", FILES, json.dumps({"descriptor": described}).encode())
    listing = resolve(hub, registry)
    assert (listing.license, listing.title) == ("Apache-2.0, MIT", "A [2Jmodel")
    assert listing.homepage == "https://example.org/m"


@pytest.mark.parametrize(
    "config", [b"[]", b"no json", b"[" * 5000, b'{"descriptor": 7}', b'{"descriptor":{}}']
)
def test_annotations_serve_where_the_config_says_nothing(
    hub: HubClient, registry: Registry, config: bytes
) -> None:
    registry.add(config)
    annotations = {"org.opencontainers.image.licenses": "MIT", TITLE: "m", "x": 7}
    registry.push("lab/m", "1", manifest([layer(b"a", "a")], config, annotations=annotations))
    assert (resolve(hub, registry).license, resolve(hub, registry).title) == ("MIT", "m")


def entry(document: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = json.dumps(document).encode()
    return {"mediaType": OCI_MANIFEST, "digest": digest_of(body), "size": len(body)} | more


def index(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}


FIRST, SECOND = manifest([layer(b"a", "a")]), manifest([layer(b"b", "b")])
ATTESTATION = entry(SECOND, platform={"os": "unknown", "architecture": "unknown"})
SIGNATURE = entry(SECOND, annotations={"vnd.docker.reference.type": "attestation-manifest"})


@pytest.mark.parametrize(
    "entries",
    [
        [entry(FIRST)],
        [entry(FIRST), ATTESTATION, SIGNATURE],
        [entry(SECOND), entry(FIRST, artifactType=MODELPACK)],
    ],
)
def test_an_index_stands_for_its_model(
    hub: HubClient, registry: Registry, entries: list[dict[str, Any]]
) -> None:
    registry.add(b"{}", b"a", b"b")
    registry.push("lab/m", "1", index(*entries))
    for number, document in enumerate((FIRST, SECOND)):
        registry.push("lab/m", f"x{number}", document)
    listing = resolve(hub, registry)
    assert [file.path for file in listing.files] == ["a"]
    assert listing.revision == entry(FIRST)["digest"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (index(entry(FIRST), entry(SECOND)), "stands for 2 artifacts: sha256:"),
        (index(*[entry(FIRST)] * 30), "and 20 more"),
        (index(ATTESTATION), "an index without a model"),
        (index(), "an index without a model"),
        ({"mediaType": "application/vnd.example+json"}, "not an artifact"),
        (manifest([]), "no layers"),
        (manifest([layer(b"a", "a", kind="application/vnd.cncf.model.weight.v1.tar")]), "is an archive"),
        (
            {
                "mediaType": DOCKER_MANIFEST,
                "config": layer(b"{}", kind="application/vnd.docker.container.image.v1+json"),
                "layers": [layer(b"a", kind="application/vnd.docker.image.rootfs.diff.tar.gzip")],
            },
            "is a container image",
        ),
        (
            manifest([layer(b"a", "a") | {"annotations": {"io.modelfetch.sha256": "a" * 64}}]),
            "is a container image of a bundle",
        ),
    ],
)
def test_what_cannot_be_pinned(
    hub: HubClient, registry: Registry, document: dict[str, Any], message: str
) -> None:
    registry.push("lab/m", "1", document, OCI_MANIFEST if "example" in str(document["mediaType"]) else "")
    registry.headers["Content-Type"] = "application/json"  # an unknown type: that in the document decides
    error = refusal(hub, registry)
    assert isinstance(error, UsageError)
    assert message in error.message


def test_an_index_of_itself_ends(hub: HubClient, registry: Registry) -> None:
    inner = index(entry(FIRST))
    for depth in range(5):
        registry.push("lab/m", "1" if depth == 4 else f"x{depth}", inner)
        inner = index(entry(inner, mediaType=OCI_INDEX))
    assert "index of indexes" in refusal(hub, registry).message
    assert len(registry.asked) == 3


BAD = {"mediaType": OCI_MANIFEST, "layers": [layer(b"a", "a")]}


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "document",
    [
        b"no json",
        b"[]",
        b"[" * 100_000,
        BAD | {"layers": {}},
        BAD | {"layers": None},
        BAD | {"layers": [7]},
        BAD | {"layers": [layer(b"a", "a", size=-1)]},
        BAD | {"layers": [layer(b"a", "a", size=2**70)]},
        BAD | {"layers": [layer(b"a", "a", size="1")]},
        BAD | {"layers": [layer(b"a", "a", size=True)]},
        # Looking for the end of an archive's type takes time that grows with the square of its length.
        BAD | {"layers": [layer(b"a", "a", kind=f"application/x{'.tar' * 100}")]},
        BAD | {"layers": [layer(b"a", "a", digest="sha256:" + "A" * 64)]},
        BAD | {"layers": [layer(b"a", "a", digest="sha512:" + "a" * 128)]},
        BAD | {"layers": [layer(b"a", "a", digest="sha256:../../" + "a" * 58)]},
        BAD | {"layers": [layer(b"a", "a", digest=7)]},
        BAD | {"layers": [layer(b"a", "a", mediaType=7)]},
        BAD | {"config": []},
        BAD | {"layers": [{}] * 20_001},
        index() | {"manifests": 7},
        index({"digest": "x"}),
    ],
)
def test_a_manifest_that_is_not_valid(
    hub: HubClient, registry: Registry, document: dict[str, Any] | bytes
) -> None:
    registry.push("lab/m", "1", document)
    error = refusal(hub, registry)
    assert isinstance(error, UnavailableError)
    assert registry.host in error.message


def test_a_digest_that_is_not_the_one_asked_for(hub: HubClient, registry: Registry) -> None:
    digest = registry.push_files("lab/m", "1", FILES)
    other = "sha256:" + "0" * 64
    registry.manifests["lab/m", other] = registry.manifests["lab/m", digest]
    error = refusal(hub, registry, digest=other)
    assert isinstance(error, IntegrityError)
    assert digest in error.message
    assert other in error.message


def test_a_digest_that_the_registry_states_wrongly(hub: HubClient, registry: Registry) -> None:
    registry.push_files("lab/m", "1", FILES)
    registry.headers["Docker-Content-Digest"] = "sha256:" + "0" * 64
    assert isinstance(refusal(hub, registry), IntegrityError)


def test_a_config_with_another_digest(hub: HubClient, registry: Registry) -> None:
    registry.push_files("lab/m", "1", FILES)
    registry.blobs[digest_of(b"{}")] = b"[]"
    assert isinstance(refusal(hub, registry), IntegrityError)


def test_a_type_that_contradicts_itself(hub: HubClient, registry: Registry) -> None:
    registry.push_files("lab/m", "1", FILES)
    registry.headers["Content-Type"] = OCI_INDEX
    assert "it is not used" in refusal(hub, registry).message


def test_a_manifest_that_is_too_large(hub: HubClient, registry: Registry) -> None:
    registry.push("lab/m", "1", b'{"a": "' + b"x" * (4 << 20) + b'"}')
    error = refusal(hub, registry)
    assert isinstance(error, UnavailableError)
    assert "more than 4194304 bytes" in error.message


@pytest.mark.parametrize(
    ("repository", "tag", "message"),
    [("lab/m", "2", "there is no such tag or digest"), ("lab/x", "1", "there is no such repository")],
)
def test_what_is_not_there(
    hub: HubClient, registry: Registry, repository: str, tag: str, message: str
) -> None:
    registry.push_files("lab/m", "1", FILES)
    with pytest.raises(UnknownModelError, match=message) as caught:
        upstream(hub).resolve(OciReference(registry.host, repository, tag))
    assert f"{registry.host}/{repository}:{tag}" in caught.value.message
    assert ("private" in caught.value.message) == (tag == "1")


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_private_repository(hub: HubClient, registry: Registry, scheme: str) -> None:
    registry.push_files("lab/m", "1", FILES)
    registry.scheme, registry.login = scheme, ("user", "s3cr3t")
    reference = OciReference(registry.host, "lab/m", "1")
    assert len(upstream(hub, LOGIN).resolve(reference).files) == 3
    with pytest.raises(UnknownModelError, match="private and needs a login") as missing:
        upstream(hub).resolve(reference)
    assert "docker login" in missing.value.hint
    wrong = RegistryLogin("user", Secret("wr0ng"), "file auth.json")
    with pytest.raises(AuthorizationError, match="refused") as refused:
        upstream(hub, wrong).resolve(reference)
    assert "file auth.json" in refused.value.hint
    assert "wr0ng" not in f"{refused.value}{refused.value.hint}"


@pytest.mark.parametrize(
    ("config", "reason"),
    [("garbage", "expected a JSON object"), ('{"credsStore": "none-here"}', "is not installed")],
)
def test_a_login_that_cannot_be_used_is_reported_when_it_is_missed(
    hub: HubClient, registry: Registry, tmp_path: Path, config: str, reason: str
) -> None:
    registry.push_files("lab/m", "1", FILES)
    registry.scheme, registry.login = "Basic", ("user", "s3cr3t")
    (tmp_path / "config.json").write_text(config)
    environ = {"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path), "PATH": ""}
    access = Access(hub, load(flags={}, environ=environ, cwd=tmp_path), environ)
    with pytest.raises(UnknownModelError) as caught:
        Oci.from_access(access).resolve(OciReference(registry.host, "lab/m", "1"))
    assert reason in caught.value.hint
    assert "docker login" in caught.value.hint


def test_a_registry_that_is_busy_is_asked_again(hub: HubClient, registry: Registry) -> None:
    registry.push_files("lab/m", "1", FILES)
    registry.failures = [503, 429]
    assert len(resolve(hub, registry).files) == 3


def test_a_registry_that_stays_down(hub: HubClient, registry: Registry) -> None:
    registry.failures = [503] * 20
    error = refusal(hub, registry)
    assert isinstance(error, UnavailableError)
    assert "service unavailable (503)" in error.message
    assert "try again later" in error.hint


@pytest.mark.parametrize(("registry_host", "name"), [("user@ghcr.io", "m"), ("ghcr.io", "../m"), ("", "m")])
def test_a_malformed_repository(hub: HubClient, registry_host: str, name: str) -> None:
    with pytest.raises(UsageError, match="is not a repository"):
        upstream(hub).resolve(OciReference(registry_host, name, "1"))

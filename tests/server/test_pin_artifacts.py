"""A server that pins artifacts of registries: only of those that the operator named, by tag, and once."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfetch.errors import UsageError
from modelfetch.model.parse import load_manifest
from modelfetch.model.reference import OciReference, RepoReference
from modelfetch.server import pin_on_demand
from modelfetch.server.error_responses import Refusal
from modelfetch.server.pin_on_demand import UNKNOWN_SECONDS, PinOnDemand
from modelfetch.server.pin_patterns import PinPatterns, registries
from modelfetch.server.runner import ServerWorkspace
from modelfetch.server.serve import serve
from modelfetch.server.serve_options import Options
from modelfetch.share.on_demand import artifact, on_demand_name
from tests.engine.fakes import FakeClock
from tests.hubs.registry import Registry, digest_of, layer, manifest
from tests.server.pulling import Pulling, pulling
from tests.server.running import Answer

FILES = {"config.json": b'{"a": 1}\n', "model.gguf": bytes(range(256)) * 400}
USER, PASSWORD = "operator", "s3cr3t-of-the-operator"


@pytest.fixture(autouse=True)
def logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry) -> None:
    """The operator is logged in to the registry."""
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    path = tmp_path / "docker"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": pair}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(path))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        running.push_files("org/model", "v1", FILES)
        yield running


@pytest.fixture
def server(tmp_path: Path, registry: Registry) -> Iterator[Pulling]:
    with pulling(tmp_path, None) as running:
        allow(running, f"{registry.host}/org/*")
        yield running


def allow(server: Pulling, *patterns: str) -> None:
    server.share_state.on_demand = PinOnDemand(server.server.workspace, patterns)


def get(server: Pulling, path: str, method: str = "GET") -> Answer:
    return server.server.ask(method, f"/v2/{path}", token=None)


def catalog(server: Pulling) -> list[str]:
    return sorted(path.stem for path in (server.root / "catalog").glob("*.toml"))


def blobs(server: Pulling, name: str, answer: Answer) -> dict[str, bytes]:
    """Read the files of an artifact, by path."""
    found = {}
    for each in answer.document["layers"]:
        blob = get(server, f"{name}/blobs/{each['digest']}")
        assert (blob.status, digest_of(blob.body)) == (200, each["digest"])
        found[each["annotations"]["org.cncf.model.filepath"]] = blob.body
    return found


def test_an_artifact_is_pinned_once_and_its_files_are_served(registry: Registry, server: Pulling) -> None:
    name = f"{registry.host}/org/model"
    head = get(server, f"{name}/manifests/v1", "HEAD")
    answer = get(server, f"{name}/manifests/v1")
    assert (head.status, answer.status) == (200, 200)
    digest = head.headers["docker-content-digest"]
    assert digest == answer.headers["docker-content-digest"] == digest_of(answer.body)
    assert get(server, f"{name}/manifests/{digest}").body == answer.body
    files = blobs(server, name, answer)
    assert {path: files[path] for path in FILES} == FILES
    assert registry.paths("/manifests/") == ["GET /v2/org/model/manifests/v1"]
    [pinned] = catalog(server)
    assert pinned.startswith(f"{registry.host.replace(':', '-')}--org--model--v1--")
    manifest = load_manifest(server.root / "catalog" / f"{pinned}.toml")
    assert manifest.upstream is not None
    assert (manifest.oci, manifest.upstream.ref) == (name, f"oci:{name}:v1")
    asked = len(registry.asked)
    assert blobs(server, name, get(server, f"{name}/manifests/v1")) == files
    assert len(registry.asked) == asked


def test_a_tag_stays_where_it_was_until_the_operator_upgrades(registry: Registry, server: Pulling) -> None:
    registry.push_files("org/model", "latest", FILES)
    name = f"{registry.host}/org/model"
    first = get(server, f"{name}/manifests/latest").body
    registry.push_files("org/model", "latest", {"model.gguf": b"new"})
    registry.push_files("org/model", "v2", {"model.gguf": b"newer"})
    assert get(server, f"{name}/manifests/v2").status == 200
    assert get(server, f"{name}/manifests/latest").body == first
    assert get(server, f"{name}/tags/list").document["tags"] == ["latest", "v2"]


def test_a_tag_that_a_client_names_never_becomes_latest(registry: Registry, server: Pulling) -> None:
    name = f"{registry.host}/org/model"
    assert get(server, f"{name}/manifests/v1").status == 200
    assert get(server, f"{name}/manifests/latest").status == 404  # the registry has none
    assert get(server, "org/model/manifests/v1").status == 404
    assert get(server, "org/model/manifests/latest").status == 404


def test_what_the_operator_pinned_is_not_decided_by_clients(registry: Registry, server: Pulling) -> None:
    """Nor by what they have pinned from a repository with the same path in another registry."""
    name, own = f"{registry.host}/org/model", b"of the operator"
    lines = ["schema = 1", 'name = "mine"', 'version = "1"', 'kind = "model"']
    lines += ["[oci]", f'repository = "{name}"', "[[files]]", 'path = "model.gguf"', f"size = {len(own)}"]
    lines += [f'sha256 = "{digest_of(own)[7:]}"', "[upstream]", f'ref = "oci:{name}:v1"']
    lines += ['added = "2026-11-01"', 'stated = "oci"']
    (server.root / "catalog").mkdir()
    (server.root / "catalog" / "mine.toml").write_text("\n".join(lines))
    registry.push_files("org/model", "v2", FILES)
    assert blobs_of(get(server, f"{name}/manifests/v2")) > {digest_of(FILES["model.gguf"])}
    blobs(server, name, get(server, f"{name}/manifests/v2"))
    server.until_idle()
    for tag in ("v1", "1", "latest"):
        assert digest_of(own) in blobs_of(get(server, f"{name}/manifests/{tag}"))
    for tag in ("1", "latest"):
        assert digest_of(own) in blobs_of(get(server, f"org/model/manifests/{tag}"))
    assert get(server, "org/model/manifests/v2").status == 404


def blobs_of(answer: Answer) -> set[str]:
    return {each["digest"] for each in answer.document["layers"]}


def test_a_mirror_of_containerd_gets_files_and_no_tags(registry: Registry, server: Pulling) -> None:
    """It would take the digest of the manifest that is made here for that of the tag."""
    ns = f"?ns={registry.host}"
    assert get(server, f"org/model/manifests/v1{ns}").status == 404
    assert not registry.asked
    assert get(server, f"{registry.host}/org/model/manifests/v1").status == 200
    assert get(server, f"org/model/manifests/v1{ns}").status == 404
    blob = get(server, f"org/model/blobs/{digest_of(FILES['model.gguf'])}{ns}")
    assert blob.body == FILES["model.gguf"]


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    ("patterns", "is_allowed"),
    [
        (["HOST/*"], True),
        (["HOST/ORG/M*"], True),
        (["other.example/*", "HOST/org/model"], True),
        ([], False),
        (["*"], False),
        (["org/*"], False),
        (["*/*", "*model"], False),
        (["HOST/other/*"], False),
        (["HOST/"], False),
        (["HOST"], False),
        (["other.example/*"], False),
        (["127.0.0.1/*"], False),
    ],
)
def test_no_registry_is_asked_that_no_pattern_names(
    registry: Registry, server: Pulling, patterns: list[str], is_allowed: bool
) -> None:
    allow(server, *(each.replace("HOST", registry.host) for each in patterns))
    status = get(server, f"{registry.host}/org/model/manifests/v1").status
    assert (status, bool(registry.asked)) == ((200, True) if is_allowed else (404, False))


@pytest.mark.parametrize(
    "pattern", ["*.io/org/*", "ghcr.*/*", "*:5000/*", "g[h]cr.io/*", "ghcr.io:x/*", "./*"]
)
def test_the_host_in_a_pattern_has_no_wildcard(pattern: str) -> None:
    options = Options(share=True, fetch=True, pin_on_demand=True, pin_only=("org/*", pattern))
    with pytest.raises(UsageError) as error:
        serve(options, {}, lambda *_: pytest.fail("it listens"))
    assert error.value.message == f"--pin-only: '{pattern}' does not name one registry"


@pytest.mark.parametrize("pattern", ["", "org", "ghcr.io", "org/", "/*"])
def test_a_pattern_that_allows_nothing_is_a_usage_error(pattern: str) -> None:
    """A name without its ``/*``, or an empty variable of a script: every client would get 404."""
    options = Options(share=True, fetch=True, pin_on_demand=True, pin_only=("org/*", pattern))
    with pytest.raises(UsageError) as error:
        serve(options, {}, lambda *_: pytest.fail("it listens"))
    assert error.value.message == f"--pin-only: '{pattern}' is no repository"
    assert "ORG/*" in error.value.hint


def test_the_registries_that_patterns_name() -> None:
    patterns = ["org/*", "*", "*2.5*", "GHCR.io/a/*", "ghcr.io/b/*", "index.docker.io/ai/*", "localhost/*"]
    assert registries(patterns) == ["ghcr.io", "docker.io", "localhost"]


def test_a_pattern_of_a_registry_allows_nothing_of_the_hub() -> None:
    """Somebody may have the name of the registry there."""
    allowed = PinPatterns(["GHCR.io/org/*", "ghcr?io/a*"])
    assert allowed.allow(OciReference("ghcr.io", "org/model", "v1"))
    assert not allowed.allow(OciReference("ghcr.io", "a/model", "v1"))
    assert not allowed.allow(RepoReference("hf", "ghcr.io/org"))
    assert allowed.allow(RepoReference("hf", "ghcr.io/a1"))


@pytest.mark.parametrize(
    "path",
    [
        "HOST/org/model/manifests/none",
        "HOST/org/none/manifests/v1",
        "HOST/org/model/manifests/sha256:" + "0" * 64,
        "HOST/org/model/manifests/DIGEST",
    ],
)
def test_what_the_registry_does_not_have_is_not_found(registry: Registry, server: Pulling, path: str) -> None:
    digest = digest_of(registry.manifests["org/model", "v1"][1])
    path = path.replace("HOST", registry.host).replace("DIGEST", digest)
    answers = [get(server, path) for _ in range(3)]
    assert {answer.status for answer in answers} == {404}
    assert answers[0].document["errors"][0]["code"] == "NAME_UNKNOWN"
    # A digest is not asked for at all, another name once a minute.
    assert len(registry.asked) == (0 if "sha256" in path else 1)
    assert catalog(server) == []


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    "path",
    [
        "HOST/org/../org/model/manifests/v1",
        "HOST/org%2F..%2Fmodel/manifests/v1",
        "HOST/org/model/manifests/..",
        "HOST/org/model/manifests/v1%2F..%2Fv1",
        "HOST/org/model/manifests/v1@DIGEST",
        "HOST/org/model@DIGEST/manifests/v1",
        "HOST/org/model:v1/manifests/v1",
        "HOST/org/model/manifests/v1%0A",
        "HOST/org/model/manifests/v1%3Fns=x",
        "HOST/org/model%00/manifests/v1",
        "HOST/Org/model/manifests/v1",
        "HOST/org/mod%C3%A9l/manifests/v1",
        "HOST//org/model/manifests/v1",
        "HOST/manifests/v1",
        "user@HOST/org/model/manifests/v1",
        "user:pass@HOST/org/model/manifests/v1",
        "http:%2F%2FHOST/org/model/manifests/v1",
        "HOST%2Forg%2Fmodel%23/manifests/v1",
        "HOST./org/model/manifests/v1",
        "[::1]/org/model/manifests/v1",
        "HOST/org/model/manifests/" + "v" * 129,
        "HOST/org/" + "m" * 300 + "/manifests/v1",
    ],
)
def test_an_odd_name_is_not_found_and_nothing_is_asked(
    registry: Registry, server: Pulling, path: str
) -> None:
    allow(server, f"{registry.host}/*", "localhost/*")
    digest = digest_of(registry.manifests["org/model", "v1"][1])
    answer = get(server, path.replace("HOST", registry.host).replace("DIGEST", digest))
    assert (answer.status, registry.asked, catalog(server)) == (404, [], [])


IMAGE = "application/vnd.oci.image.config.v1+json"
TAR = "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.mark.parametrize(
    "document",
    [
        manifest([layer(b"tar", kind=TAR)])
        | {"artifactType": "", "config": {"mediaType": IMAGE, "digest": digest_of(b"{}"), "size": 2}},
        manifest([]),
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []},
    ],
    ids=["image", "empty", "index"],
)
def test_what_cannot_be_pinned_is_not_found(
    registry: Registry, server: Pulling, document: dict[str, Any]
) -> None:
    registry.add(b"tar", b"{}")
    registry.push("org/image", "v1", document)
    assert get(server, f"{registry.host}/org/image/manifests/v1").status == 404
    assert registry.asked
    assert catalog(server) == []


# Without credentials


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_private_artifact_of_the_operator_is_not_found(
    registry: Registry, server: Pulling, scheme: str
) -> None:
    registry.scheme, registry.login = scheme, (USER, PASSWORD)
    assert get(server, f"{registry.host}/org/model/manifests/v1").status == 404
    assert registry.asked
    assert {each.authorization for each in registry.asked} == {""}


@pytest.mark.slow
def test_a_registry_may_want_a_token_that_it_gives_to_anyone(registry: Registry, server: Pulling) -> None:
    registry.scheme = "Bearer"
    name = f"{registry.host}/org/model"
    assert blobs(server, name, get(server, f"{name}/manifests/v1"))["model.gguf"] == FILES["model.gguf"]
    assert {each.authorization for each in registry.asked if "/token" in each.path} == {""}
    assert registry.tokens


def test_an_artifact_that_became_private_is_not_read_with_the_login_of_the_operator(
    registry: Registry, server: Pulling
) -> None:
    name = f"{registry.host}/org/model"
    assert get(server, f"{name}/manifests/v1").status == 200
    registry.scheme, registry.login = "Basic", (USER, PASSWORD)
    assert get(server, f"{name}/blobs/{digest_of(FILES['model.gguf'])}").status == 502
    assert registry.paths("/blobs/")
    assert {each.authorization for each in registry.asked} == {""}


def test_a_registry_leads_no_request_to_another_service_of_this_network(
    registry: Registry, server: Pulling
) -> None:
    with Registry() as inner:
        registry.scheme, registry.realm = "Bearer", f"{inner.endpoint}/token"
        assert get(server, f"{registry.host}/org/model/manifests/v1").status == 502
        assert inner.asked == []


# Limits


@pytest.mark.slow
def test_a_registry_that_is_down_is_a_bad_gateway(registry: Registry, server: Pulling) -> None:
    registry.failures = [500] * 9
    answer = get(server, f"{registry.host}/org/model/manifests/v1")
    [error] = answer.document["errors"]
    assert (answer.status, error["code"]) == (502, "UNKNOWN")
    assert error["message"] == "the registry cannot be reached, or its answer cannot be pinned"


@pytest.fixture
def pins(tmp_path: Path, registry: Registry) -> PinOnDemand:
    environ = {"HOME": str(tmp_path), "MODELFETCH_CACHE_DIR": str(tmp_path / "cache")}
    environ["MODELFETCH_CONFIG"] = str(tmp_path / "config.toml")
    clock.now = 0.0
    workspace = ServerWorkspace({}, environ=environ, cwd=tmp_path)
    return PinOnDemand(workspace, [f"{registry.host}/*"], clock=clock)


clock = FakeClock()


def wanted(registry: Registry, tag: str) -> OciReference:
    return OciReference(registry.host, "org/model", tag)


def test_the_limit_of_an_hour_is_that_of_all_hubs(
    monkeypatch: pytest.MonkeyPatch, registry: Registry, pins: PinOnDemand
) -> None:
    monkeypatch.setattr(pin_on_demand, "MAX_PINS_OF_ONE", 2)
    assert pins.pin("a", wanted(registry, "v1"))
    assert not pins.pin("a", wanted(registry, "none"))
    with pytest.raises(Refusal) as refused:
        pins.pin("a", wanted(registry, "more"))
    assert (refused.value.status, refused.value.code) == (429, "pin_limit")
    assert len(registry.asked) == 3, "two manifests, and the config of the one that exists"


def test_a_tag_that_is_unknown_is_asked_for_again_after_a_while(
    registry: Registry, pins: PinOnDemand
) -> None:
    for seconds, requests in ((0.0, 1), (UNKNOWN_SECONDS - 1, 1), (2.0, 2)):
        clock.now += seconds
        assert not pins.pin("a", wanted(registry, "none"))
        assert len(registry.asked) == requests


def test_clients_do_not_fill_the_catalog(
    monkeypatch: pytest.MonkeyPatch, registry: Registry, server: Pulling
) -> None:
    registry.push_files("org/other", "v1", FILES)
    name = registry.host
    assert get(server, f"{name}/org/model/manifests/v1").status == 200
    monkeypatch.setattr(pin_on_demand, "CATALOG_BYTES", 1)
    refused = get(server, f"{name}/org/other/manifests/v1")
    assert (refused.status, refused.document["errors"][0]["code"]) == (429, "TOOMANYREQUESTS")
    assert get(server, f"{name}/org/model/manifests/v1").status == 200


# Names


def test_names_of_models_are_those_of_the_artifacts() -> None:
    references = [
        OciReference("ghcr.io", "org/model", "v1"),
        OciReference("ghcr.io", "org/model", "V1"),
        OciReference("ghcr.io", "org--model/v1", "v1"),
        OciReference("ghcr.io", "org/model--v1", "v1"),
        OciReference("localhost:5000", "m" * 200, "v" * 128),
    ]
    names = [on_demand_name(each) for each in references]
    assert len(set(names)) == len(names)
    assert names[0] == "ghcr.io--org--model--v1--94a5677108e8"
    assert len(names[-1]) <= 128
    assert on_demand_name(RepoReference("hf", "ghcr.io/org", "model/v1")) not in names


def test_what_a_client_names_is_an_artifact_of_a_registry() -> None:
    assert artifact("GHCR.io/org/model", "v1") == OciReference("ghcr.io", "org/model", "v1")
    assert artifact("docker.io/model", "v1") == OciReference("docker.io", "library/model", "v1")
    assert artifact("org/model", "v1") is None
    assert artifact("localhost", "v1") is None

"""``bundle push`` to a registry that misbehaves: what it sends, skips, sends again, and refuses to send."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfetch.bundle import blob_upload
from modelfetch.bundle.documents import artifact_of
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.parse import load_manifest
from modelfetch.model.write import manifest_toml
from modelfetch.store.files import BLOCK
from tests.e2e.command import Command, InProcess, Result, assert_fails
from tests.hubs.push_registry import CHUNK, PushRegistry
from tests.hubs.registry import digest_of

BIG = bytes(range(256)) * 1_000
"""256,000 bytes: two chunks and a part of one."""
FILES = {"big.bin": BIG, "config.json": b"{}", "empty.txt": b""}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_upload, "CHUNK", CHUNK)
    monkeypatch.setattr("random.uniform", lambda low, _high: low)  # of waits that a registry asks for
    monkeypatch.setattr(blob_upload, "SMALL", 1_000)


@pytest.fixture
def registry() -> Iterator[PushRegistry]:
    with PushRegistry() as registry:
        yield registry


@pytest.fixture
def cli(tmp_path: Path) -> InProcess:
    """A machine that has the model tiny."""
    cli = InProcess(tmp_path / "machine")
    place(cli, "tiny")
    return cli


def place(cli: Command, name: str, files: dict[str, bytes] = FILES) -> Manifest:
    """Make a model present, without a run."""
    specs = tuple(FileSpec(path, len(data), digest_of(data)[7:]) for path, data in files.items())
    manifest = Manifest(name, "1", specs)
    (cli.catalog / f"{name}.toml").write_text(manifest_toml(manifest), "utf-8")
    for data in files.values():
        blob_path(cli, data).parent.mkdir(parents=True, exist_ok=True)
        blob_path(cli, data).write_bytes(data)
    return manifest


def blob_path(cli: Command, data: bytes) -> Path:
    digest = digest_of(data)[7:]
    return cli.cache / "blobs" / "sha256" / digest[:2] / digest


def pushed(cli: InProcess, registry: PushRegistry, *words: str, tag: str = "") -> Result:
    return cli("bundle", "push", "tiny", f"oci:{registry.host}/lab/tiny{tag}", *words)


def document(cli: InProcess, registry: PushRegistry) -> dict[str, Any]:
    """What a push that succeeds says as JSON."""
    result = pushed(cli, registry, "--json")
    assert result.code == 0, result.out
    [model] = result.document["models"]
    return dict(model)


def assert_stored(cli: InProcess, registry: PushRegistry, tag: str = "1") -> None:
    """The registry has the artifact that a bundle has, and every blob of it."""
    artifact, _ = artifact_of(load_manifest(Path("tiny.toml"), (cli.catalog / "tiny.toml").read_bytes()))
    assert registry.manifests["lab/tiny", tag][1] == artifact.manifest
    for layer in json.loads(artifact.manifest)["layers"]:
        assert digest_of(registry.blobs[layer["digest"]]) == layer["digest"]


def test_a_model_is_pushed_once_and_skipped_then(cli: InProcess, registry: PushRegistry) -> None:
    first = pushed(cli, registry)
    assert first.code == 0, first.err
    assert_stored(cli, registry)
    [digest] = {reference for _, reference in registry.manifests if reference.startswith("sha256:")}
    assert first.lines == [f"oci:{registry.host}/lab/tiny@{digest}"]
    assert registry.chunks() == ["0-99999", "100000-199999", "200000-255999"]
    assert registry.received == sum(map(len, registry.blobs.values()))
    before, registry.asked = registry.received, []
    again = document(cli, registry)
    assert registry.received == before
    assert set(registry.methods()) == {"HEAD"}
    assert (again["sent"], again["tagged"], again["digest"]) == (0, True, digest)
    assert {blob["state"] for blob in again["blobs"]} == {"present"}


def test_a_file_of_several_blocks_is_sent_at_once(
    cli: InProcess, registry: PushRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks are read into the same memory, one after the other."""
    data = b"a" * BLOCK + b"b"
    place(cli, "tiny", FILES | {"blocks.bin": data})
    monkeypatch.setattr(blob_upload, "SMALL", len(data))
    assert pushed(cli, registry).code == 0
    assert registry.blobs[digest_of(data)] == data


def test_it_can_be_pulled_into_an_empty_cache(cli: InProcess, registry: PushRegistry, tmp_path: Path) -> None:
    assert pushed(cli, registry, tag=":v2").code == 0
    other = InProcess(tmp_path / "other")
    pulled = other("bundle", "pull", f"oci:{registry.host}/lab/tiny:v2", "--quiet")
    assert pulled.code == 0, pulled.err
    for path, data in FILES.items():
        assert (Path(pulled.out.strip()) / path).read_bytes() == data
    [identity] = {one("show", "tiny", "--json").document["identity"] for one in (cli, other)}
    assert identity


def test_a_dry_run_only_asks(cli: InProcess, registry: PushRegistry) -> None:
    registry.add(BIG)
    result = pushed(cli, registry, "--dry-run")
    assert result.code == 0
    assert result.stderr_lines("would push tiny 1", "256 kB already there")
    assert set(registry.methods()) == {"HEAD"}


@pytest.mark.parametrize("is_forgetful", [False, True])
def test_a_connection_that_is_cut_costs_what_the_registry_lost(
    cli: InProcess, registry: PushRegistry, is_forgetful: bool
) -> None:
    registry.cuts, registry.is_forgetful = [60_000, 70_000], is_forgetful
    sent = document(cli, registry)["sent"]
    assert_stored(cli, registry)
    starts = [chunk.partition("-")[0] for chunk in registry.chunks()]
    if is_forgetful:
        assert starts == ["0", "0", "0", "100000", "200000"]
    else:
        assert starts == ["0", "60000", "130000", "230000"]
        assert registry.received == sum(map(len, registry.blobs.values()))
    assert sent >= registry.received - 60_000 - 70_000


def test_a_registry_on_plain_http_elsewhere(cli: InProcess, registry: PushRegistry) -> None:
    """As an address 0.0.0.0 reaches this machine too, but it is no name of it."""
    reference = f"oci:0.0.0.0:{registry.host.rpartition(':')[2]}/lab/tiny"
    assert_fails(cli("bundle", "push", "tiny", reference), 6, "TLS", "over https, except")
    assert_fails(cli("add", f"{reference}:latest"), 6, "TLS", "over https, except")


def test_a_push_that_gave_up_goes_on_in_the_middle(cli: InProcess, registry: PushRegistry) -> None:
    registry.cuts = [60_000]
    cli.environment["MODELFETCH_RETRY_ATTEMPTS"] = "1"
    assert_fails(pushed(cli, registry), 6, registry.host, "cut", "Run the command again")
    [note] = (cli.cache / "uploads").iterdir()
    assert note.stat().st_mode & 0o777 == 0o600
    again = document(cli, registry)
    [big] = [blob for blob in again["blobs"] if blob["path"] == "big.bin"]
    assert (big["sent"], big["continued_at"]) == (len(BIG) - 60_000, 60_000)
    assert_stored(cli, registry)
    assert not (cli.cache / "uploads").exists()


def test_a_registry_that_loses_each_upload_is_given_up(
    cli: InProcess, registry: PushRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_upload, "RESET_BYTES", CHUNK)
    cli.environment |= {"MODELFETCH_RETRY_ATTEMPTS": "3", "MODELFETCH_RETRY_BASE": "0.01"}
    registry.lost_from = CHUNK
    assert_fails(pushed(cli, registry), 6, "503")
    assert len(registry.chunks()) == 3 * 2


def test_an_upload_that_the_registry_dropped_begins_anew(cli: InProcess, registry: PushRegistry) -> None:
    registry.cuts = [60_000]
    cli.environment["MODELFETCH_RETRY_ATTEMPTS"] = "1"
    assert pushed(cli, registry).code == 6
    registry.uploads.clear()
    [big] = [blob for blob in document(cli, registry)["blobs"] if blob["path"] == "big.bin"]
    assert (big["sent"], big["continued_at"]) == (len(BIG), 0)


def test_damaged_bytes_never_become_a_blob(cli: InProcess, registry: PushRegistry) -> None:
    blob_path(cli, BIG).write_bytes(BIG[:-1] + b"!")
    assert_fails(pushed(cli, registry), 5, "is damaged", "modelfetch verify --repair")
    assert digest_of(BIG) not in registry.blobs
    assert not registry.uploads
    assert not registry.manifests
    assert registry.methods()["DELETE"] == 1


def test_a_small_damaged_file_is_not_sent_at_all(cli: InProcess, registry: PushRegistry) -> None:
    blob_path(cli, b"{}").write_bytes(b"[]")
    assert_fails(pushed(cli, registry), 5, "is damaged")
    assert digest_of(b"[]") not in registry.blobs
    assert b"[]" not in registry.uploads.values()


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("method", "status", "fields"),
    [
        ("PATCH", 416, {"Range": "0-0"}),
        ("PATCH", 500, {}),
        pytest.param("PATCH", 404, {}, marks=pytest.mark.slow),
        pytest.param("PATCH", 405, {}, marks=pytest.mark.slow),
        pytest.param("POST", 503, {}, marks=pytest.mark.slow),
        ("POST", 429, {"Retry-After": "0"}),
        pytest.param("PUT", 502, {}, marks=pytest.mark.slow),
        ("PUT", 400, {}),
    ],
)
def test_a_failure_that_passes_is_outlasted(
    cli: InProcess, registry: PushRegistry, method: str, status: int, fields: dict[str, str]
) -> None:
    registry.answers = [(method, status, fields)]
    result = pushed(cli, registry)
    if (method, status) == ("PUT", 400):
        assert_fails(result, 6, "400")
        return
    assert result.code == 0, result.err
    assert_stored(cli, registry)


def test_another_digest_than_that_of_the_blob_is_an_error(cli: InProcess, registry: PushRegistry) -> None:
    registry.stored_as = "sha256:" + "0" * 64
    assert_fails(pushed(cli, registry), 5, "stored a blob as sha256:000")


def test_a_registry_that_states_no_digest_is_asked_for_it(cli: InProcess, registry: PushRegistry) -> None:
    registry.stored_as = "-"
    assert pushed(cli, registry).code == 0
    assert_stored(cli, registry)
    assert registry.paths("manifests/sha256:")


def test_chunks_are_as_long_as_the_registry_wants(cli: InProcess, registry: PushRegistry) -> None:
    registry.least_chunk = 150_000
    assert pushed(cli, registry).code == 0
    assert registry.chunks() == ["0-149999", "150000-255999"]


@pytest.mark.parametrize(
    ("attributes", "chunks"),
    [
        ({"most_chunk": 40_000}, ["0-99999"]),
        ({"is_stale": True}, ["0-99999", "100000-199999"]),
        ({"answers": [("PATCH", 400, {})]}, ["0-99999"]),
    ],
)
def test_a_registry_that_cannot_take_chunks_gets_the_blob_at_once(
    cli: InProcess, registry: PushRegistry, attributes: dict[str, Any], chunks: list[str]
) -> None:
    for name, value in attributes.items():
        setattr(registry, name, value)
    result = pushed(cli, registry)
    assert result.code == 0, result.err
    assert registry.chunks() == chunks
    assert_stored(cli, registry)


@pytest.mark.parametrize("times", [1, 2])
def test_an_end_that_fails_twice_is_avoided(cli: InProcess, registry: PushRegistry, times: int) -> None:
    registry.add(*(data for path, data in FILES.items() if path != "big.bin"))
    registry.answers = [("PUT", 504, {})] * times
    assert pushed(cli, registry).code == 0
    big = [each for each in registry.asked if each.method == "PUT" and digest_of(BIG) in each.path]
    sizes = [int(each.headers["content-length"]) for each in big]
    assert sizes == ([0, 0] if times == 1 else [0, 0, len(BIG)])
    assert_stored(cli, registry)


def test_a_blob_that_is_sent_at_once_is_hashed_before_its_end(cli: InProcess, registry: PushRegistry) -> None:
    blob_path(cli, BIG).write_bytes(BIG[:-1] + b"!")
    registry.most_chunk = 0
    assert_fails(pushed(cli, registry), 5, "is damaged", "modelfetch verify --repair")
    assert not registry.manifests
    assert digest_of(BIG[:-1] + b"!") not in registry.blobs


def test_an_upload_without_an_address_is_refused(cli: InProcess, registry: PushRegistry) -> None:
    registry.has_location = False
    assert_fails(pushed(cli, registry), 6, "without saying where it continues")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://storage.example", "without TLS (storage.example)"),
        ("ftp://storage.example", "not http or https"),
        ("http://user:secret@127.0.0.1:9", "user information"),
    ],
)
def test_an_upload_does_not_lead_anywhere(
    cli: InProcess, registry: PushRegistry, location: str, words: str
) -> None:
    registry.location = location
    result = pushed(cli, registry)
    assert_fails(result, 6, words)
    assert "secret" not in result.err


def login(cli: InProcess, registry: PushRegistry) -> None:
    auth = {"auth": base64.b64encode(b"user:s3cr3t").decode()}
    (cli.home / "config.json").write_text(json.dumps({"auths": {registry.host: auth}}), "utf-8")
    cli.environment["DOCKER_CONFIG"] = str(cli.home)


def test_another_host_gets_the_bytes_but_no_credential(cli: InProcess, registry: PushRegistry) -> None:
    registry.scheme, registry.login = "Bearer", ("user", "s3cr3t")
    login(cli, registry)
    with PushRegistry() as storage:
        storage.uploads = registry.uploads  # the same storage behind two hosts
        storage.blobs = registry.blobs
        registry.location = storage.location = storage.endpoint
        result = pushed(cli, registry)
        assert result.code == 0, result.err
        assert_stored(cli, registry)
        assert {each.authorization for each in storage.asked} == {""}
        assert set(storage.methods()) == {"PATCH", "PUT"}
    assert not (cli.cache / "uploads").exists()


def test_verbose_lines_name_the_host_where_an_upload_continues(
    cli: InProcess, registry: PushRegistry
) -> None:
    shown = pushed(cli, registry, "-vv").err
    root = f"http://{registry.host}"
    for request in (
        f"POST {root}/v2/lab/tiny/blobs/uploads/ ->",
        f"PATCH {root}/*** ->",
        f"PUT {root}/*** ->",
        f"PUT {root}/v2/lab/tiny/manifests/1 ->",
    ):
        assert request in shown
    assert "/blobs/uploads/0" not in shown


def test_another_host_cannot_ask_for_a_login(cli: InProcess, registry: PushRegistry) -> None:
    registry.scheme, registry.login = "Bearer", ("user", "s3cr3t")
    login(cli, registry)
    with PushRegistry(scheme="Bearer") as storage:
        registry.location = storage.endpoint
        result = pushed(cli, registry)
        assert_fails(result, 9, storage.host, "401")
        assert not storage.paths("token")


def test_a_token_for_writing_is_requested(cli: InProcess, registry: PushRegistry) -> None:
    registry.scheme, registry.login = "Bearer", ("user", "s3cr3t")
    login(cli, registry)
    assert pushed(cli, registry).code == 0
    [token] = [each for each in registry.asked if each.path.startswith("/token")]
    assert token.query["scope"] == "repository:lab/tiny:pull,push"


def test_a_push_without_a_login_is_refused(cli: InProcess, registry: PushRegistry) -> None:
    registry.scheme, registry.login = "Bearer", ("user", "s3cr3t")
    assert_fails(pushed(cli, registry), 9, registry.host, f"docker login {registry.host}")


def test_a_registry_that_is_not_there_is_looked_for_in_its_name(cli: InProcess) -> None:
    """Nothing was sent, and running the command again helps only if the address is right."""
    cli.environment |= {"MODELFETCH_RETRY_ATTEMPTS": "1"}
    with socket.socket() as bound:  # nobody listens on it
        bound.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{bound.getsockname()[1]}"
        result = cli("bundle", "push", "tiny", f"oci:{host}/lab/tiny")
    assert_fails(
        result, 6, f"{host}: cannot push tiny to lab/tiny: connection refused", f"Check that {host} is"
    )


def test_a_registry_that_does_not_answer_is_not_waited_for_for_ever(
    cli: InProcess, registry: PushRegistry
) -> None:
    registry.hold_at = 50_000
    cli.environment |= {"MODELFETCH_RETRY_ATTEMPTS": "1", "MODELFETCH_NETWORK_STALL_TIMEOUT": "0.3"}
    try:
        assert_fails(pushed(cli, registry), 6, registry.host, "in time", "what was sent is skipped")
    finally:
        registry.go.set()


def runs(cli: InProcess) -> list[tuple[str, list[str], str, int]]:
    recorded = cli("history", "--json").document["runs"]
    return [(run["operation"], run["models"], run["outcome"], run["exit_code"]) for run in recorded]


def test_a_push_is_in_the_history(cli: InProcess, registry: PushRegistry) -> None:
    assert pushed(cli, registry, "--dry-run").code == 0
    assert pushed(cli, registry).code == 0
    registry.scheme, registry.login = "Bearer", ("user", "s3cr3t")
    assert pushed(cli, registry, tag=":2").code == 9
    assert runs(cli) == [
        ("bundle push", ["tiny"], "failed", 9),
        ("bundle push", ["tiny"], "completed", 0),
    ]


def test_a_quiet_push_prints_the_reference_alone(cli: InProcess, registry: PushRegistry) -> None:
    result = pushed(cli, registry, "--quiet")
    assert (result.code, result.err, len(result.lines)) == (0, "", 1)


def test_a_request_that_a_proxy_thinks_too_large_is_explained(cli: InProcess, registry: PushRegistry) -> None:
    registry.answers = [("PATCH", 413, {})]
    assert_fails(pushed(cli, registry), 6, "413", "client_max_body_size")


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["tiny", "oci:127.0.0.1:9/lab/tiny", "--offline"], 4, "network may not be used"),
        (["tinny", "oci:127.0.0.1:9/lab/tiny"], 3, "tinny"),
        (["tiny", "hf:org/repo"], 2, "is not the address of a repository"),
        (["tiny", "oci:127.0.0.1:9/lab/tiny@sha256:" + "0" * 64], 2, "has a digest"),
        (["oci:127.0.0.1:9/lab/tiny"], 2, "no model is named"),
        (["tiny", "other", "oci:127.0.0.1:9/lab:1"], 2, "cannot get one tag"),
        (["other", "oci:127.0.0.1:9/lab"], 4, "is not present"),
        (["--from", "nowhere.tar", "oci:127.0.0.1:9/lab"], 3, "does not exist"),
        (["tiny", "oci:127.0.0.1:9/lab/tiny"], 6, "127.0.0.1:9"),
    ],
)
def test_a_push_that_cannot_begin(cli: InProcess, words: list[str], code: int, message: str) -> None:
    other = Manifest("other", "1", (FileSpec("a", 1, "0" * 64),))
    (cli.catalog / "other.toml").write_text(manifest_toml(other), "utf-8")
    cli.environment["MODELFETCH_RETRY_ATTEMPTS"] = "1"
    if words[:2] == ["tiny", "other"]:
        place(cli, "other", {"a": b"x"})
    assert_fails(cli("bundle", "push", *words), code, message)


def test_a_pull_needs_the_address_of_an_artifact(cli: InProcess) -> None:
    assert_fails(cli("bundle", "pull", "tiny"), 2, "is not the address of a repository")


def test_the_models_of_a_bundle_go_to_repositories_of_their_own(
    cli: InProcess, registry: PushRegistry, tmp_path: Path
) -> None:
    place(cli, "other", {"a.bin": BIG[:5_000], "config.json": b"{}"})
    bundle = tmp_path / "models.tar"
    assert cli("bundle", "create", "tiny", "other", "-o", bundle).code == 0
    elsewhere = InProcess(tmp_path / "elsewhere")
    result = elsewhere("bundle", "push", "--from", bundle, f"oci:{registry.host}/lab", "--json")
    assert result.code == 0, result.out
    digests = {model["tag"]: model["digest"] for model in result.document["models"]}
    assert {name for name, _ in registry.manifests} == {"lab/tiny", "lab/other"}
    assert digests == {"1": result.document["models"][-1]["digest"]}
    assert_stored(cli, registry)

"""A server that pins what clients name: public repositories only, within limits, once."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelfetch.model.parse import load_manifest
from modelfetch.model.reference import RepoReference
from modelfetch.server import pin_on_demand, pull_results
from modelfetch.server.error_responses import Refusal
from modelfetch.server.pin_on_demand import (
    MAX_PINS_OF_ONE,
    UNKNOWN_SECONDS,
    WINDOW_SECONDS,
    PinOnDemand,
)
from modelfetch.server.runner import ServerWorkspace
from modelfetch.share.on_demand import on_demand_name
from tests.descriptors import no_descriptors
from tests.engine.fakes import FakeClock
from tests.hubs.huggingface import HubRepo, HuggingFaceHub
from tests.hubs.server import Reply, Request
from tests.patience import HELD
from tests.server.pulling import Pulling, pulling
from tests.server.running import Answer, until

FILES = {"config.json": b'{"a": 1}\n', "onnx/model.onnx": bytes(range(256)) * 400}


@pytest.fixture
def hub() -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub() as running:
        yield running


@pytest.fixture
def repo(hub: HuggingFaceHub) -> HubRepo:
    return hub.add("org/repo", FILES)


@pytest.fixture
def server(tmp_path: Path, hub: HuggingFaceHub) -> Iterator[Pulling]:
    with pulling(tmp_path, None, HF_ENDPOINT=hub.endpoint, HF_TOKEN="hf_operator") as running:
        running.share_state.on_demand = PinOnDemand(running.server.workspace)
        yield running


def get(server: Pulling, path: str, method: str = "GET") -> Answer:
    return server.server.ask(method, path, token=None)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def catalog(server: Pulling) -> list[str]:
    return sorted(path.stem for path in (server.root / "catalog").glob("*.toml"))


def test_a_repository_is_pinned_once_and_its_file_is_served(
    hub: HuggingFaceHub, repo: HubRepo, server: Pulling
) -> None:
    answers = [get(server, "/org/repo/resolve/main/onnx/model.onnx") for _ in range(3)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, FILES["onnx/model.onnx"])] * 3
    assert answers[0].headers["x-repo-commit"] == repo.branches["main"]
    assert catalog(server) == ["org--repo"]
    manifest = load_manifest(server.root / "catalog" / "org--repo.toml")
    assert manifest.huggingface is not None
    assert (manifest.huggingface.repo, manifest.huggingface.revision) == ("org/repo", repo.branches["main"])
    assert manifest.upstream is not None
    assert manifest.upstream.ref == "hf:org/repo"
    assert len(hub.targets("/tree/")) == 1
    assert len(hub.targets("/resolve/")) == len(FILES)  # the small one was hashed, the large one is proven


def test_the_documents_of_the_api_and_a_head_request_pin_too(repo: HubRepo, server: Pulling) -> None:
    head = get(server, "/org/repo/resolve/main/config.json", "HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(len(FILES["config.json"])))
    info = get(server, "/api/models/org/repo/revision/main").document
    assert (info["sha"], {each["rfilename"] for each in info["siblings"]}) == (
        repo.branches["main"],
        set(FILES),
    )


def test_main_stays_where_it_was_until_the_operator_upgrades(repo: HubRepo, server: Pulling) -> None:
    first = repo.branches["main"]
    assert get(server, "/org/repo/resolve/main/config.json").status == 200
    second = repo.commit({**FILES, "config.json": b"new"})
    assert get(server, "/org/repo/resolve/main/config.json").body == FILES["config.json"]
    named = get(server, f"/org/repo/resolve/{second}/config.json")
    assert (named.body, named.headers["x-repo-commit"]) == (b"new", second)
    assert get(server, "/org/repo/resolve/main/config.json").headers["x-repo-commit"] == first
    assert catalog(server) == ["org--repo", f"org--repo--{second}"]


@pytest.mark.parametrize("revision", ["refs%2Fpr%2F1", "commit"])
def test_a_revision_that_a_client_names_never_becomes_main(
    repo: HubRepo, server: Pulling, revision: str
) -> None:
    """Anyone can open a pull request of a repository on the Hub, and thereby add a commit to it."""
    evil = repo.commit({**FILES, "config.json": b"evil"}, branch="refs/pr/1")
    path = f"/org/repo/resolve/{evil if revision == 'commit' else revision}/config.json"
    assert get(server, path).body == b"evil"
    for at in ("main", repo.branches["main"][:9]):
        assert get(server, f"/org/repo/resolve/{at}/config.json").body == FILES["config.json"]
    info = get(server, "/api/models/org/repo").document
    assert info["sha"] == repo.branches["main"]


def test_a_revision_that_a_client_names_does_not_replace_what_the_operator_pinned(
    repo: HubRepo, server: Pulling
) -> None:
    """A manifest without a reference that was written by hand, or is built in."""
    commit = repo.branches["main"]
    lines = ["schema = 1", 'name = "mine"', 'version = "1"', 'kind = "model"', "[huggingface]"]
    lines += ['repo = "org/repo"', f'revision = "{commit}"']
    for name, data in FILES.items():
        lines += ["[[files]]", f'path = "{name}"', f"size = {len(data)}", f'sha256 = "{sha256(data)}"']
    (server.root / "catalog").mkdir()
    (server.root / "catalog" / "mine.toml").write_text("\n".join(lines))
    evil = repo.commit({**FILES, "config.json": b"evil"}, branch="refs/pr/1")
    assert get(server, f"/org/repo/resolve/{evil}/config.json").body == b"evil"
    server.until_idle()
    assert get(server, "/org/repo/resolve/main/config.json").body == FILES["config.json"]
    assert catalog(server) == ["mine", f"org--repo--{evil}"]


@pytest.mark.quick(every=2)
@pytest.mark.parametrize(
    "path",
    [
        "/org/none/resolve/main/config.json",
        "/org/repo/resolve/none/config.json",
        "/api/models/org/none/revision/main",
        "/gpt2/resolve/main/config.json",
        "/org/re..po/resolve/main/config.json",
        "/org/re--po/resolve/main/config.json",
    ],
)
def test_what_the_hub_does_not_have_is_not_found(repo: HubRepo, server: Pulling, path: str) -> None:
    assert get(server, path).status == 404
    assert catalog(server) == []


def test_a_repository_that_is_not_there_is_asked_for_once(hub: HuggingFaceHub, server: Pulling) -> None:
    for _ in range(3):
        answer = get(server, "/org/none/resolve/main/config.json")
        assert (answer.status, answer.headers["x-error-code"]) == (404, "RepoNotFound")
    assert len(hub.requests) == 1


@pytest.mark.parametrize("gated", ["auto", "manual"])
def test_a_gated_repository_is_refused_whatever_token_the_operator_has(
    hub: HuggingFaceHub, server: Pulling, gated: str
) -> None:
    repo = hub.add("org/gated", {"model.onnx": bytes(5000)}, gated=gated)
    repo.token, repo.is_gated = "hf_operator", True
    assert get(server, "/org/gated/resolve/main/model.onnx").status == 404
    assert catalog(server) == []
    assert {request.token for request in hub.requests} == {""}


def test_a_private_repository_of_the_operator_is_not_found(hub: HuggingFaceHub, server: Pulling) -> None:
    hub.add("org/private", FILES).token = "hf_operator"
    assert get(server, "/org/private/resolve/main/config.json").status == 404
    assert {request.token for request in hub.requests} == {""}


def test_a_repository_that_became_private_is_not_read_with_the_token_of_the_operator(
    hub: HuggingFaceHub, repo: HubRepo, server: Pulling
) -> None:
    assert get(server, "/org/repo/resolve/main/config.json").status == 200
    repo.token = "hf_operator"
    assert get(server, "/org/repo/resolve/main/onnx/model.onnx").status == 502
    assert {request.token for request in hub.requests} == {""}


def test_a_renamed_repository_is_not_pinned(hub: HuggingFaceHub, repo: HubRepo, server: Pulling) -> None:
    hub.renamed["old/name"] = "org/repo"
    assert get(server, "/old/name/resolve/main/config.json").status == 404
    assert catalog(server) == []


def test_many_clients_cause_one_pin(hub: HuggingFaceHub, repo: HubRepo, server: Pulling) -> None:
    go = threading.Event()

    def slow(request: Request) -> Reply:
        assert go.wait(HELD)
        return hub.answer(request)

    hub.script("/tree/", slow)
    with ThreadPoolExecutor(8) as clients:
        answers = [clients.submit(get, server, "/org/repo/resolve/main/config.json") for _ in range(8)]
        until(lambda: server.share_state.waiting.count == 8, "all clients")
        go.set()
        assert {answer.result().body for answer in answers} == {FILES["config.json"]}
    assert len(hub.targets("/tree/")) == 1


@pytest.mark.slow
def test_all_variants_of_a_repository_are_pinned(hub: HuggingFaceHub, server: Pulling) -> None:
    files = {f"m-{level}.gguf": level.encode() * 500 for level in ("Q4_K_M", "Q8_0")}
    hub.add("org/m-GGUF", files)
    for path, content in files.items():
        assert get(server, f"/org/m-GGUF/resolve/main/{path}").body == content


def test_a_dataset_is_pinned(hub: HuggingFaceHub, server: Pulling) -> None:
    hub.add("org/data", {"train.bin": b"x" * 900}, kind="dataset")
    assert get(server, "/datasets/org/data/resolve/main/train.bin").body == b"x" * 900
    assert catalog(server) == ["datasets--org--data"]


def test_what_another_server_of_the_catalog_pinned_meanwhile_is_pinned(
    repo: HubRepo, server: Pulling
) -> None:
    """Both were asked for it at the same time, and each lists it on the Hub before it writes the manifest."""
    one, two = (PinOnDemand(server.server.workspace) for _ in range(2))
    named = RepoReference("hf", "org/repo")
    assert one.pin("a", named)
    repo.commit({**FILES, "config.json": b"moved on"})
    assert two.pin("b", named)
    assert not two.is_refused(named)
    assert catalog(server) == ["org--repo"]
    assert get(server, "/org/repo/resolve/main/config.json").body == FILES["config.json"]


def test_a_name_that_another_pin_has_is_not_pinned(repo: HubRepo, server: Pulling) -> None:
    (server.root / "catalog").mkdir()
    path = server.root / "catalog" / "org--repo.toml"
    path.write_text("not a manifest")
    assert not PinOnDemand(server.server.workspace).pin("a", RepoReference("hf", "org/repo"))
    assert path.read_text() == "not a manifest"


def test_a_model_that_came_with_its_pin_is_ready_too(hub: HuggingFaceHub, server: Pulling) -> None:
    """Files without a stated SHA-256 are read for it, so no later fetch is that of the last file."""
    hub.add("org/data", {"README.md": b"x", "train.csv": b"1,2\n"}, kind="dataset")
    assert get(server, "/datasets/org/data/resolve/main/train.csv").body == b"1,2\n"
    until(lambda: server.jobs() == [((), "completed")], "the job for the whole model")
    models = server.server.ask("GET", "/v1/models").document["models"]
    assert [each["present"] for each in models if each["name"] == "datasets--org--data"] == [True]


def test_files_that_are_read_for_their_digests_do_not_fill_the_disk(
    monkeypatch: pytest.MonkeyPatch, hub: HuggingFaceHub, repo: HubRepo, server: Pulling
) -> None:
    monkeypatch.setattr(pull_results, "KEEP_FREE", 1 << 62)
    answer = get(server, "/org/repo/resolve/main/config.json")
    assert (answer.status, hub.targets("/resolve/")) == (507, [])


@pytest.mark.parametrize(
    ("code", "expected"),
    [(errno.ENOSPC, (507, "disk_full")), (errno.EDQUOT, (507, "disk_full")), (errno.EROFS, (500, "disk"))],
)
def test_a_disk_that_fails_is_not_said_to_be_full(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    repo: HubRepo,
    server: Pulling,
    code: int,
    expected: tuple[int, str],
) -> None:
    """The client learns the kind, and the operator the reason and the place."""
    catalog = server.root / "catalog"
    open_ = os.open

    def refuse(path: Path | str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if Path(path).parent == catalog and flags & os.O_CREAT:
            raise OSError(code, os.strerror(code), str(path))
        return open_(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    assert server.share_state.on_demand is not None
    with pytest.raises(Refusal) as refused:
        server.share_state.on_demand.pin("a", RepoReference("hf", "org/repo"))
    assert (refused.value.status, refused.value.code) == expected
    assert str(server.root) not in refused.value.message
    [report] = [record.getMessage() for record in caplog.records]
    assert report.endswith(f"cannot write {catalog / 'org--repo.toml'}: {os.strerror(code)}")


def test_the_operator_learns_why_no_repository_can_be_stored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, repo: HubRepo, server: Pulling
) -> None:
    """A client learns the kind of the failure, and no job fails that would have the reason."""
    monkeypatch.setattr(pull_results, "KEEP_FREE", 1 << 62)
    for _ in range(2):
        assert get(server, "/org/repo/resolve/main/config.json").status == 507
    [line] = [each.getMessage() for each in caplog.records]
    assert line.startswith("warning: files for clients cannot be stored: ")
    assert line.endswith("are free (1 GiB of it as a reserve)")


def test_clients_do_not_fill_the_catalog(
    monkeypatch: pytest.MonkeyPatch, hub: HuggingFaceHub, repo: HubRepo, server: Pulling
) -> None:
    """Each manifest takes memory of the server, and time of every command, from then on."""
    hub.add("org/other", FILES)
    assert get(server, "/org/repo/resolve/main/config.json").status == 200
    size = (server.root / "catalog" / "org--repo.toml").stat().st_size
    (server.root / "catalog" / "mine.toml").write_bytes(bytes(size))
    monkeypatch.setattr(pin_on_demand, "CATALOG_BYTES", size)
    answer = get(server, "/org/other/resolve/main/config.json")
    assert (answer.status, not hub.targets("/org/other")) == (429, True)
    assert get(server, "/org/repo/resolve/main/config.json").status == 200
    monkeypatch.setattr(pin_on_demand, "CATALOG_BYTES", size + 1)
    assert get(server, "/org/other/resolve/main/config.json").status == 200


def test_a_hub_that_is_down_is_a_bad_gateway(hub: HuggingFaceHub, server: Pulling) -> None:
    hub.is_dead = True
    answer = get(server, "/org/repo/resolve/main/config.json")
    assert answer.status == 502
    assert answer.headers["x-error-message"] == answer.document["error"]  # as the Hub's clients show it
    assert "127.0.0.1" not in answer.body.decode()


def test_the_file_of_a_project_does_not_choose_the_hub(
    tmp_path: Path, hub: HuggingFaceHub, repo: HubRepo
) -> None:
    """It may say where bytes come from, because digests decide; here it would choose the digests."""
    (tmp_path / "modelfetch.toml").write_text(f'[huggingface]\nendpoint = "{hub.endpoint}"\n')
    with pulling(tmp_path, None) as server:
        server.share_state.on_demand = PinOnDemand(server.server.workspace)
        answer = get(server, "/org/repo/resolve/main/config.json")
    assert answer.status == 502
    assert (hub.requests, catalog(server)) == ([], [])


def test_an_offline_server_pins_nothing(tmp_path: Path, hub: HuggingFaceHub, repo: HubRepo) -> None:
    with pulling(tmp_path, None, HF_ENDPOINT=hub.endpoint, MODELFETCH_OFFLINE="1") as server:
        server.share_state.on_demand = PinOnDemand(server.server.workspace)
        assert get(server, "/org/repo/resolve/main/config.json").status == 504
    assert not hub.requests


def test_without_the_option_nothing_is_pinned(tmp_path: Path, hub: HuggingFaceHub, repo: HubRepo) -> None:
    with pulling(tmp_path, None, HF_ENDPOINT=hub.endpoint) as server:
        assert get(server, "/org/repo/resolve/main/config.json").status == 404
    assert not hub.requests


# Limits


class Workspaces(ServerWorkspace):
    """Settings with a loopback Hub."""

    def __init__(self, root: Path, endpoint: str) -> None:
        environ = {"HOME": str(root), "MODELFETCH_CACHE_DIR": str(root / "cache"), "HF_ENDPOINT": endpoint}
        super().__init__({}, environ=environ, cwd=root)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pins(tmp_path: Path, hub: HuggingFaceHub, clock: FakeClock) -> PinOnDemand:
    return PinOnDemand(Workspaces(tmp_path, hub.endpoint), clock=clock)


def wanted(number: int | str) -> RepoReference:
    return RepoReference("hf", f"org/r{number}")


def test_one_client_may_ask_for_so_many_in_an_hour(pins: PinOnDemand, clock: FakeClock) -> None:
    for number in range(MAX_PINS_OF_ONE):
        assert not pins.pin("a", wanted(number))
    with pytest.raises(Refusal) as refused:
        pins.pin("a", wanted("more"))
    assert (refused.value.status, refused.value.code) == (429, "pin_limit")
    assert int(refused.value.headers["Retry-After"]) == WINDOW_SECONDS + 1
    assert not pins.pin("b", wanted("more"))
    clock.now += WINDOW_SECONDS
    assert not pins.pin("a", wanted("later"))


@pytest.mark.slow
def test_clients_that_leave_do_not_fill_the_queue(hub: HuggingFaceHub, server: Pulling) -> None:
    """One repository is resolved at a time, and a Hub that is slow takes two minutes for each."""
    go = threading.Event()

    def slow(request: Request) -> Reply:
        assert go.wait(HELD)
        return hub.answer(request)

    hub.script("/org/slow", slow)
    for number in range(MAX_PINS_OF_ONE):
        leave(server, f"/org/slow{number}/resolve/main/config.json")
    refused = get(server, "/org/another/resolve/main/config.json")
    assert (refused.status, int(refused.headers["retry-after"])) == (503, 10)
    assert get(server, "/org/no--name/resolve/main/config.json").status == 404, "it needs not wait for them"
    go.set()
    until(lambda: not server.share_state._pins, "the end of all")
    until(lambda: not server.share_state._pins._limit.count, "their places")


def leave(server: Pulling, path: str) -> None:
    """Send a request, and close the connection a moment later."""
    port, begun = server.server.port, len(server.share_state._pins)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        until(lambda: len(server.share_state._pins) > begun, "the pin")


def test_all_clients_together_may_ask_for_so_many(monkeypatch: pytest.MonkeyPatch, pins: PinOnDemand) -> None:
    monkeypatch.setattr(pin_on_demand, "MAX_PINS", 3)
    for number in range(3):
        assert not pins.pin(f"client {number}", wanted(number))
    with pytest.raises(Refusal):
        pins.pin("another", wanted("more"))


def test_what_is_unknown_is_asked_for_again_after_a_while(
    hub: HuggingFaceHub, pins: PinOnDemand, clock: FakeClock
) -> None:
    for seconds, requests in ((0.0, 1), (UNKNOWN_SECONDS - 1, 1), (2.0, 2)):
        clock.now += seconds
        assert not pins.pin("a", wanted(1))
        assert len(hub.requests) == requests


@pytest.mark.quick(every=2)
@pytest.mark.parametrize(
    ("pattern", "is_allowed"),
    [
        ("org/*", True),
        ("ORG/*", True),
        ("org/repo", True),
        ("other/*", False),
        ("org/re", False),
        ("datasets/*", False),
        ("org.example/*", False),
    ],
)
def test_patterns_say_which_repositories_are_allowed(
    tmp_path: Path, hub: HuggingFaceHub, repo: HubRepo, pattern: str, is_allowed: bool
) -> None:
    with pulling(tmp_path, None, HF_ENDPOINT=hub.endpoint) as server:
        server.share_state.on_demand = PinOnDemand(server.server.workspace, ["none/*", pattern])
        status = get(server, "/org/repo/resolve/main/config.json").status
    assert (status, bool(hub.requests)) == ((200, True) if is_allowed else (404, False))


def test_a_hub_that_is_too_slow_ends_the_request(tmp_path: Path, hub: HuggingFaceHub) -> None:
    go = threading.Event()

    def slow(_request: Request) -> Reply:
        go.wait(HELD)
        return Reply(404)

    hub.script("/revision/", slow)
    pins = PinOnDemand(Workspaces(tmp_path, hub.endpoint), seconds=0.1)
    with pytest.raises(Refusal) as refused:
        pins.pin("a", wanted(1))
    go.set()
    assert (refused.value.status, refused.value.code) == (504, "too_long")


def test_names_of_models_are_those_of_the_repositories() -> None:
    assert on_demand_name(wanted(1)) == "org--r1"
    assert on_demand_name(RepoReference("hf", "Org/Data", type="dataset")) == "datasets--org--data"
    assert on_demand_name(RepoReference("hf", "org/r", "refs/pr/1")) == "org--r--refs--pr--1"


def test_settings_that_are_wrong_for_a_moment_say_nothing_about_a_repository(
    tmp_path: Path, repo: HubRepo, server: Pulling
) -> None:
    settings = tmp_path / "modelfetch.toml"
    settings.write_text("[network]\nno_such_setting = 1\n")
    assert server.share_state.on_demand is not None
    with pytest.raises(Refusal) as refused:
        server.share_state.on_demand.pin("a", RepoReference("hf", "org/repo"))
    assert (refused.value.status, refused.value.code) == (500, "config")
    settings.unlink()
    assert get(server, "/org/repo/resolve/main/config.json").status == 200


def test_a_catalog_that_cannot_be_listed_is_a_refusal_and_no_bug(tmp_path: Path) -> None:
    (tmp_path / "org--repo.toml").touch()
    with no_descriptors(), pytest.raises(Refusal) as refused:
        pin_on_demand._check_catalog(tmp_path)
    assert (refused.value.status, refused.value.code) == (500, "disk")


def test_without_a_thread_for_the_time_limit_a_repository_is_pinned(
    repo: HubRepo, server: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "time-limit" or isinstance(thread, threading.Timer):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert get(server, "/org/repo/resolve/main/config.json").status == 200

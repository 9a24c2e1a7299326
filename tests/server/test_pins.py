"""Adding models over HTTP, from a loopback Hub: what is shown is what is written, one at a time, in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfetch.model.parse import load_manifest
from modelfetch.server.listen_address import Address
from modelfetch.server.pins import Pins
from modelfetch.server.requests import MAX_PATTERNS, PinSubmission
from modelfetch.server.runner import ServerWorkspace
from modelfetch.server.serve import may_add
from tests.hubs.huggingface import HuggingFaceHub
from tests.hubs.server import Reply
from tests.patience import HELD, IN_TIME
from tests.server.running import Answer, Served, until

FILES = {"config.json": b"{}", "model.safetensors": bytes(2000)}


@pytest.fixture
def hub() -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub() as running:
        running.add("org/my-model", FILES)
        yield running


@pytest.fixture
def workspace(tmp_path: Path, hub: HuggingFaceHub) -> ServerWorkspace:
    environ = {
        "HOME": str(tmp_path),
        "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
        "MODELFETCH_CONFIG": str(tmp_path / "config.toml"),
        "HF_ENDPOINT": hub.endpoint,
        "MODELFETCH_RETRY_ATTEMPTS": "1",
    }
    return ServerWorkspace({}, environ=environ, cwd=tmp_path)


@pytest.fixture
def server(tmp_path: Path, workspace: ServerWorkspace) -> Iterator[Served]:
    with Served(tmp_path, workspace, allow_add=True) as running:
        yield running


def post(server: Served, reference: object, **more: object) -> Answer:
    return server.ask("POST", "/v1/pins", {"reference": reference, **more})


def names(server: Served) -> dict[str, Any]:
    return {model["name"]: model for model in server.ask("GET", "/v1/models").document["models"]}


def test_a_reference_is_shown_first_and_then_added(tmp_path: Path, server: Served) -> None:
    shown = post(server, "hf:org/my-model", dry_run=True)
    assert shown.status == 200
    assert (shown.document["name"], shown.document["size"], shown.document["added"]) == (
        "my-model",
        2002,
        False,
    )
    assert {file["path"]: file["stated_by"] for file in shown.document["files"]} == {
        "config.json": [],
        "model.safetensors": ["huggingface"],
    }
    assert shown.document["fetched"] == 2
    assert not (tmp_path / "catalog").exists()
    added = post(server, "hf:org/my-model")
    assert (added.status, added.document["added"]) == (201, True)
    path = tmp_path / "catalog" / "my-model.toml"
    assert added.document["manifest"] == str(path)
    assert load_manifest(path).version == shown.document["version"]
    assert names(server)["my-model"]["upstream"]["state"] == "current"


def test_what_was_shown_is_added_though_the_branch_moved(
    tmp_path: Path, server: Served, hub: HuggingFaceHub
) -> None:
    shown = post(server, "hf:org/my-model", dry_run=True).document
    hub.repos["model", "org/my-model"].commit({"config.json": b"[1]"}, branch="main")
    post(server, "hf:org/my-model")
    assert load_manifest(tmp_path / "catalog" / "my-model.toml").version == shown["version"]


def test_a_reference_that_is_pinned_already_changes_nothing(server: Served) -> None:
    post(server, "hf:org/my-model")
    again = post(server, "org/my-model")
    assert (again.status, again.document["known"], again.document["added"]) == (200, True, False)


def test_variants_are_listed_to_choose_from(server: Served, hub: HuggingFaceHub) -> None:
    hub.add("org/quants", {"m-Q4_K_M.gguf": bytes(10), "m-Q8_0.gguf": bytes(20)})
    shown = post(server, "hf:org/quants", dry_run=True).document
    assert [variant["label"] for variant in shown["variants"]] == ["Q4_K_M", "Q8_0"]
    chosen = post(server, "hf:org/quants", include=[shown["variants"][0]["include"]], dry_run=True).document
    assert [file["path"] for file in chosen["files"]] == ["m-Q4_K_M.gguf"]
    assert post(server, "hf:org/quants").status == 400


def test_a_name_that_is_taken_is_refused_with_another_one(server: Served, hub: HuggingFaceHub) -> None:
    hub.add("org/whisper-base", FILES)
    refused = post(server, "hf:org/whisper-base", dry_run=True)
    assert (refused.status, refused.code) == (400, "usage")
    assert "--name" in refused.document["error"]["hint"]
    assert post(server, "hf:org/whisper-base", name="mine", dry_run=True).document["name"] == "mine"


@pytest.mark.parametrize("reference", ["/etc/passwd", "./models", "C:\\models", "~/models"])
def test_files_of_the_server_are_not_read(server: Served, reference: str) -> None:
    refused = post(server, reference)
    assert (refused.status, refused.code) == (400, "usage")


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "reference",
    [
        "http://{host}/model.onnx",
        "http://localhost:{port}/model.onnx",
        "https://{host}/model.onnx",
        "oci:{host}/lab/model:1",
        "ollama:{host}/lab/model:1",
        "https://169.254.169.254/latest/meta-data",
        "oci:10.0.0.6/lab/model",
    ],
)
def test_the_server_is_no_way_into_its_own_network(server: Served, reference: str) -> None:
    with HuggingFaceHub() as inside:  # not the one that the settings name
        text = reference.format(host=inside.host, port=inside.host.rpartition(":")[2])
        refused = post(server, text, dry_run=True)
        assert (refused.status, refused.code) == (502, "unavailable")
        assert "leads into a private network" in refused.document["error"]["message"]
        assert "modelfetch add" in refused.document["error"]["hint"]
        assert inside.requests == []


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "document",
    [
        {},
        {"reference": ""},
        {"reference": 7},
        {"reference": "hf:a/b", "name": 1},
        {"reference": "hf:a/b", "include": "*.bin"},
        {"reference": "hf:a/b", "include": [""]},
        {"reference": "hf:a/b", "include": ["*"] * (MAX_PATTERNS + 1)},
        {"reference": "hf:a/b", "dry_run": "yes"},
        {"reference": "hf:a/b", "path": "/tmp"},
    ],
)
def test_other_bodies_are_refused(server: Served, document: object) -> None:
    refused = server.ask("POST", "/v1/pins", document)
    assert (refused.status, refused.code) == (400, "bad_request")


def test_a_missing_repository_and_a_failing_hub_have_answers_of_their_own(
    server: Served, hub: HuggingFaceHub
) -> None:
    assert post(server, "hf:org/nope").code == "unknown_model"
    hub.script("/api/models/org/my-model", *[Reply(status=500)] * 9)
    refused = post(server, "hf:org/my-model")
    assert (refused.status, refused.code) == (502, "unavailable")


def test_it_has_to_be_allowed(tmp_path: Path, workspace: ServerWorkspace, hub: HuggingFaceHub) -> None:
    with Served(tmp_path, workspace) as server:
        refused = post(server, "hf:org/my-model", dry_run=True)
        assert (refused.status, refused.code) == (403, "add_not_allowed")
        assert server.ask("GET", "/v1/status").document["can_add"] is False
    assert hub.targets() == []


def test_it_needs_the_token_and_the_right_origin(server: Served) -> None:
    document = {"reference": "hf:org/my-model"}
    assert server.ask("POST", "/v1/pins", document, token=None).status == 401
    foreign = server.ask("POST", "/v1/pins", document, headers={"Origin": "https://evil.example"})
    assert foreign.status == 403


@pytest.mark.parametrize(
    ("allowed", "address", "expected"),
    [
        (None, Address("127.0.0.1", "127.0.0.1", 1), True),
        (None, Address("127.0.0.1", "127.0.0.1", 1, public="https://m.example"), False),
        (None, Address("0.0.0.0", "0.0.0.0", 1), False),
        (True, Address("0.0.0.0", "0.0.0.0", 1), True),
        (False, Address("127.0.0.1", "127.0.0.1", 1), False),
    ],
)
def test_by_default_only_clients_on_this_machine_may_add(
    allowed: bool | None, address: Address, expected: bool
) -> None:
    assert may_add(allowed, address) is expected


class Silent(HuggingFaceHub):
    """A Hub that does not answer until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.released = threading.Event()

    def answer(self, request: Any) -> Reply:
        self.asked.set()
        self.released.wait(HELD)
        return super().answer(request)


@pytest.fixture
def silent(workspace: ServerWorkspace, tmp_path: Path) -> Iterator[tuple[Silent, ServerWorkspace]]:
    with Silent() as hub:
        hub.add("org/my-model", FILES)
        environ = {
            "HOME": str(tmp_path),
            "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
            "MODELFETCH_CONFIG": str(tmp_path / "config.toml"),
            "HF_ENDPOINT": hub.endpoint,
        }
        yield hub, ServerWorkspace({}, environ=environ, cwd=tmp_path)
        hub.released.set()


def test_one_reference_is_resolved_at_a_time(tmp_path: Path, silent: tuple[Silent, ServerWorkspace]) -> None:
    hub, workspace = silent
    with Served(tmp_path, workspace, allow_add=True) as server:
        answers: list[Answer] = []
        first = threading.Thread(target=lambda: answers.append(post(server, "hf:org/my-model", dry_run=True)))
        first.start()
        assert hub.asked.wait(IN_TIME)
        refused = post(server, "hf:org/other", dry_run=True)
        assert (refused.status, refused.code) == (409, "busy")
        hub.released.set()
        first.join(IN_TIME)
        assert [answer.status for answer in answers] == [200]


def test_a_hub_that_does_not_answer_in_time_ends_the_request(silent: tuple[Silent, ServerWorkspace]) -> None:
    _, workspace = silent
    pins = Pins(workspace, is_allowed=True, seconds=0.2)
    with pytest.raises(Exception, match=r"within 0\.2 s"):
        pins.submit(PinSubmission("hf:org/my-model", None, (), dry_run=True))


def test_a_stop_of_the_server_ends_the_request(silent: tuple[Silent, ServerWorkspace]) -> None:
    hub, workspace = silent
    pins = Pins(workspace, is_allowed=True)
    ended: list[str] = []

    def submit() -> None:
        try:
            pins.submit(PinSubmission("hf:org/my-model", None, (), dry_run=True))
        except Exception as error:
            ended.append(str(error))

    thread = threading.Thread(target=submit)
    thread.start()
    assert hub.asked.wait(IN_TIME)
    pins.stop()
    until(lambda: ended, "the end")
    thread.join(IN_TIME)
    assert ended == ["the server is shutting down"]


@pytest.mark.slow
def test_a_model_is_removed_from_the_cache_and_stays_in_the_catalog(server: Served) -> None:
    post(server, "hf:org/my-model")
    job = server.submit("my-model")
    assert server.until_over(job)["status"] == "completed"
    removed = server.ask("DELETE", "/v1/models/my-model")
    assert (removed.status, removed.document["model"]) == (200, "my-model")
    assert removed.document["freed"] >= 2000
    assert names(server)["my-model"]["present"] is False
    for name in ("nope", "%04%C3%B1%C2%A0", "%2e%2e/x", ""):
        answer = server.ask("DELETE", f"/v1/models/{name}")
        assert (answer.status, answer.code) == (404, "unknown_model")


def test_the_details_list_sources_in_order(server: Served) -> None:
    post(server, "hf:org/my-model")
    sources = server.ask("GET", "/v1/models/my-model").document["sources"]
    assert [source["kind"] for source in sources] == ["local", "huggingface"]


def test_a_model_that_is_in_use_is_not_removed(server: Served, workspace: ServerWorkspace) -> None:
    post(server, "hf:org/my-model")
    server.until_over(server.submit("my-model"))
    lock = workspace.load().store.lock_model("my-model")
    assert lock.try_acquire()
    with lock:
        refused = server.ask("DELETE", "/v1/models/my-model")
    assert (refused.status, refused.code) == (409, "in_use")

"""``outdated``, ``upgrade`` and ``diff`` against a loopback Hub, in this process."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfetch.cli import entry
from modelfetch.model.manifest import PinOrigin
from modelfetch.model.parse import load_manifest
from modelfetch.pins.catalogs import write_pin
from modelfetch.pins.pin import PinRequest
from modelfetch.pins.session import open_session
from modelfetch.workspace import Workspace
from tests.hubs.github import Asset, GithubServer, Release
from tests.hubs.huggingface import HubRepo, HuggingFaceHub
from tests.hubs.server import Reply
from tests.schemas.checking import check_output

Called = Callable[..., tuple[int, str, str]]

OLD = {"config.json": b"{}", "readme.md": b"same", "model.safetensors": bytes(2000)}
NEW = {"config.json": b"{ }", "readme.md": b"same", "model.safetensors": bytes(3000), "more.bin": b"new"}


@pytest.fixture
def hub() -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub() as running:
        yield running


@pytest.fixture
def repo(hub: HuggingFaceHub) -> HubRepo:
    return hub.add("org/m", OLD)


@pytest.fixture
def called(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    hub: HuggingFaceHub,
    repo: HubRepo,
) -> Called:
    """Call the command in this process, with one pin: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODELFETCH_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")
    monkeypatch.setenv("MODELFETCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("MODELFETCH_RETRY_ATTEMPTS", "1")
    _pin(tmp_path, "hf:org/m@main")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modelfetch", *words])
        code = entry._call()
        out, err = capsys.readouterr()
        check_output(words, code, out)
        return code, out, err

    return call


def _pin(home: Path, reference: str) -> None:
    workspace = Workspace.open()
    with open_session(workspace) as session:
        pin = session.pin(PinRequest(session.parse([reference])))
    write_pin(pin.manifest, home / "catalog")


def document(answer: tuple[int, str, str]) -> Any:
    code, out, err = answer
    assert (code, err) == (0, "")
    return json.loads(out)


def test_nothing_moved(called: Called) -> None:
    code, out, err = called("outdated", "--exit-code")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[:3] == ["m", "up", "to"]


def test_a_pin_may_be_named_by_its_reference(called: Called, repo: HubRepo) -> None:
    repo.commit(NEW, branch="main")
    for words in (("outdated", "org/m"), ("diff", "hf:org/m"), ("upgrade", "hf:org/m@main")):
        code, out, err = called(*words)
        assert (code, "more.bin" in out) == (0, True), err
    code, _, err = called("outdated", "hf:org/other")
    assert (code, "'hf:org/other' is not pinned" in err) == (3, True)


def test_what_was_compared_by_size_alone_is_reported(
    called: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with GithubServer("o/r", Release("v1", [Asset("m.onnx", b"1234", digest=None)])) as github:
        monkeypatch.setenv("GITHUB_API_URL", github.endpoint)
        _pin(tmp_path, "gh:o/r@v1")
        code, out, err = called("outdated", "r")
        version = load_manifest(tmp_path / "catalog" / "r.toml").version
        assert called("diff", "r")[1].startswith(f"r: {version} -> ")
    assert (code, "up to date" in out, "?1" in out) == (0, True, True)
    assert err == "note: r: 1 file compared by size alone, as no digest is stated\n"


def test_a_branch_that_moved_is_shown_with_its_files(called: Called, repo: HubRepo) -> None:
    revision = repo.commit(NEW, branch="main")
    code, out, err = called("outdated")
    assert code == 0
    assert "  ~ model.safetensors  2.00 kB -> 3.00 kB" in out
    assert "  + more.bin  3 B" in out
    assert "  1 file unchanged" in out
    assert "modelfetch upgrade m" in err
    assert called("outdated", "--exit-code")[0] == 1
    (model,) = document(called("outdated", "--json"))["models"]
    assert (model["state"], model["revision"], model["fetch"]) == ("moved", revision, 3006)


def test_what_was_found_is_flagged_by_list_and_show(called: Called, repo: HubRepo) -> None:
    repo.commit(NEW, branch="main")
    assert "moved" not in called("list")[2]
    called("outdated")
    code, out, err = called("list", "--json")
    models = {model["name"]: model["upstream"] for model in json.loads(out)["models"]}
    assert (code, err, models["m"]["state"], models["demo"]) == (0, "", "moved", None)
    assert "note: moved upstream: m (see `modelfetch outdated`)" in called("list")[2]
    assert "upstream    moved, last checked" in called("show", "m")[1]
    called("upgrade", "m")
    assert "moved" not in called("list")[2]


def test_a_hub_that_is_down_is_reported_and_flagged_for_old_pins(
    called: Called, hub: HuggingFaceHub, tmp_path: Path
) -> None:
    hub.script("/api/models/org/m", *[Reply(status=500)] * 9)
    code, out, err = called("outdated")
    assert code == 6
    assert "failed" in out
    assert "error: m: " in err
    assert "check failed" not in called("list")[2], "the last success is recent"
    (path,) = tmp_path.rglob("m.toml")
    path.write_text(re.sub(r'added = ".*"', 'added = "2020-01-01"', path.read_text("utf-8")), "utf-8")
    assert "check failed: m" in called("list")[2]


def test_one_failure_does_not_hide_the_others(called: Called, hub: HuggingFaceHub, tmp_path: Path) -> None:
    hub.add("org/gone", OLD)
    _pin(tmp_path, "hf:org/gone")
    hub.repos.pop(("model", "org/gone"))
    code, out, err = called("outdated")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["gone", "failed"], ["m", "up"]]
    assert "gone" in err


def test_offline_no_upstream_is_asked(
    called: Called, hub: HuggingFaceHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = len(hub.targets())
    monkeypatch.setenv("MODELFETCH_OFFLINE", "1")
    assert called("outdated")[0] == 4
    assert called("upgrade", "m")[0] == 4
    assert called("diff", "m")[0] == 3, "there is no other version in the cache"
    assert len(hub.targets()) == asked


def test_a_dry_run_shows_and_changes_nothing(called: Called, repo: HubRepo, tmp_path: Path) -> None:
    repo.commit(NEW, branch="main")
    path = tmp_path / "catalog" / "m.toml"
    before = path.read_bytes()
    code, out, err = called("upgrade", "m", "--dry-run")
    assert code == 0
    assert "  + more.bin  3 B" in out
    assert "nothing was changed" in err
    assert path.read_bytes() == before
    held = {file.name for file in (tmp_path / "cache" / "blobs").rglob("*") if file.is_file()}
    assert hashlib.sha256(NEW["config.json"]).hexdigest() not in held


def test_an_upgrade_moves_the_pin_and_keeps_the_old_version(
    called: Called, repo: HubRepo, tmp_path: Path
) -> None:
    old = called("ensure", "m", "-q")[1].strip()
    path = tmp_path / "catalog" / "m.toml"
    revision = repo.commit(NEW, branch="main")
    (change,) = document(called("upgrade", "m", "--json"))["upgrades"]
    assert (change["before"], change["after"]) == (Path(old).name, revision[:12])
    assert load_manifest(path).version == revision[:12]
    new = called("ensure", "m", "-q")[1].strip()
    assert (Path(new) / "more.bin").read_bytes() == b"new"
    assert (Path(old) / "model.safetensors").read_bytes() == bytes(2000)
    assert called("upgrade", "m")[2] == f"m is up to date ({revision[:12]})\n"


def test_the_old_pin_still_works_after_an_upgrade(
    called: Called, repo: HubRepo, hub: HuggingFaceHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = called("ensure", "m", "-q")[1].strip()
    path = tmp_path / "catalog" / "m.toml"
    before = path.read_bytes()
    repo.commit(NEW, branch="main")
    called("upgrade", "m")
    called("ensure", "m", "-q")
    path.write_bytes(before)
    monkeypatch.setenv("MODELFETCH_OFFLINE", "1")
    assert called("ensure", "m", "-q")[:2] == (0, f"{old}\n")


def test_an_upgrade_to_a_revision_follows_it(called: Called, repo: HubRepo, tmp_path: Path) -> None:
    revision = repo.commit(NEW, branch="next")
    assert called("upgrade", "m", "--revision", "next")[0] == 0
    manifest = load_manifest(tmp_path / "catalog" / "m.toml")
    assert manifest.version == revision[:12]
    assert manifest.upstream is not None
    assert manifest.upstream.ref == "hf:org/m@next"
    assert called("upgrade", "m", "demo", "--revision", "next")[0] == 2


def test_a_built_in_model_is_refused_and_the_others_are_moved(
    called: Called, repo: HubRepo, tmp_path: Path
) -> None:
    revision = repo.commit(NEW, branch="main")
    code, _, err = called("upgrade", "whisper-base", "m")
    assert code == 2
    assert "built-in catalog" in err
    assert "modelfetch add hf:onnx-community/whisper-base" in err
    assert load_manifest(tmp_path / "catalog" / "m.toml").version == revision[:12]


def test_diff_compares_the_pin_with_its_upstream(called: Called, repo: HubRepo) -> None:
    revision = repo.commit(NEW, branch="main")
    found = document(called("diff", "m", "--json"))
    assert (found["to"], [file["path"] for file in found["added"]]) == (revision, ["more.bin"])
    assert found["unchanged"] + len(found["not_compared"]) == 1


def test_diff_compares_versions_of_the_cache(
    called: Called, repo: HubRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Path(called("ensure", "m", "-q")[1].strip()).name
    repo.commit(NEW, branch="main")
    called("upgrade", "m")
    new = Path(called("ensure", "m", "-q")[1].strip()).name
    back = document(called("diff", "m", new, old, "--json"))
    assert (back["from"], back["to"]) == (new, old)
    assert [file["path"] for file in back["removed"]] == ["more.bin"]
    monkeypatch.setenv("MODELFETCH_OFFLINE", "1")
    assert document(called("diff", "m", "--json"))["from"] == old
    assert called("diff", "m", "nope")[0] == 3
    assert called("diff", "m", old, new, old)[0] == 2


def test_a_request_that_a_project_causes_in_a_private_network_is_reported(
    called: Called, tmp_path: Path
) -> None:
    (tmp_path / "modelfetch.toml").write_text('catalog = ["models"]\n')
    manifest = load_manifest(tmp_path / "catalog" / "m.toml")
    for name, ref in (("theirs", "http://127.0.0.1:9/router.bin"), ("again", "http://127.0.0.1:9/b.bin")):
        write_pin(replace(manifest, name=name, upstream=PinOrigin(ref)), tmp_path / "models")
    note = "note: this project uses 127.0.0.1:9, which is on this machine or in a private network"
    assert called("outdated")[2].splitlines().count(note) == 1
    assert note in called("diff", "theirs")[2]
    assert note not in called("outdated", "m")[2]

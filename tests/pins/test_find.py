"""Where bytes are known: catalogs, the cache, other programs' caches and sources; nothing is requested."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.cli import entry
from modelfetch.engine.known_digests import HistoryDigests
from modelfetch.errors import StoreError, UsageError
from modelfetch.pins.find import Found, FoundFile, Target, find, target_of
from modelfetch.workspace import Workspace
from tests.schemas.checking import check_output

CONTENT, OTHER = b"weights", b"{}"
SHA256, OTHER_SHA256 = (hashlib.sha256(content).hexdigest() for content in (CONTENT, OTHER))
WHEN = datetime(2026, 11, 20, tzinfo=UTC)
MANIFEST = f"""schema = 1
name = "{{name}}"
version = "1"
[huggingface]
repo = "org/repo"
revision = "{"c" * 40}"
[mirrors]
urls = ["https://mirror.example/{{{{path}}}}?key=canary"]
[[files]]
path = "onnx/model.onnx"
size = {len(CONTENT)}
sha256 = "{SHA256}"
urls = ["https://a.example/model.onnx"]
[[files]]
path = "config.json"
size = {len(OTHER)}
sha256 = "{OTHER_SHA256}"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {
        "HOME": ".",
        "MODELFETCH_CACHE_DIR": "cache",
        "MODELFETCH_CATALOG": "catalog",
        "MODELFETCH_CONFIG": "config.toml",
        "HF_HUB_CACHE": "hub",
        "OLLAMA_MODELS": "ollama",
    }.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    for name in ("HF_ENDPOINT", "HF_HOME", "MODELFETCH_SOURCES_MIRRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").touch()
    (tmp_path / "catalog").mkdir()
    return tmp_path


def pin(home: Path, name: str = "m") -> None:
    (home / f"catalog/{name}.toml").write_text(MANIFEST.format(name=name))


def store(name: str = "m") -> None:
    """Make a model present."""
    workspace = Workspace.open()
    [manifest] = workspace.manifests([name])
    cache = workspace.store
    for file, content in zip(manifest.files, (CONTENT, OTHER), strict=True):
        with cache.intake(file.size) as intake:
            intake.write(content)
            intake.finish()
        cache.place(manifest, file)
    paths = [file.path for file in manifest.files]
    cache.write_receipt(manifest, dict.fromkeys(paths, "url a"), dict.fromkeys(paths, WHEN))


def look(sha256: str = SHA256) -> Found:
    return find(Workspace.open(), Target(sha256, None))


# What is looked for


@pytest.mark.parametrize(
    "text", [SHA256, SHA256.upper(), f"sha256:{SHA256}", f"sha256-{SHA256}", f" {SHA256}\n"]
)
def test_a_digest(text: str) -> None:
    assert target_of(text) == Target(SHA256, None)


def test_a_file_is_hashed(home: Path) -> None:
    (home / "model.bin").write_bytes(CONTENT)
    assert target_of("model.bin") == Target(SHA256, len(CONTENT))


@pytest.mark.parametrize("text", ["", "nosuch", ".", SHA256[:-1], f"md5:{SHA256}", "a\0b", "x" * 5000])
def test_neither(home: Path, text: str) -> None:
    with pytest.raises(UsageError, match="neither a SHA-256"):
        target_of(text)


def test_a_file_that_cannot_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "model.bin").write_bytes(CONTENT)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("modelfetch.pins.find.open_regular", refuse)
    with pytest.raises(StoreError, match="permission denied"):
        target_of("model.bin")


# Where it is found


def test_nowhere(home: Path) -> None:
    pin(home)
    found = look("0" * 64)
    assert found.is_empty
    assert found.sources == ()


def test_models_and_sources_of_all_catalogs(home: Path) -> None:
    pin(home, "m")
    pin(home, "n")
    found = look()
    assert [(model.name, model.path, model.catalog, model.is_present) for model in found.models] == [
        ("m", "onnx/model.onnx", "environment", False),
        ("n", "onnx/model.onnx", "environment", False),
    ]
    assert [(source.kind, source.host) for source in found.sources] == [
        ("mirror", "mirror.example"),
        ("huggingface", "huggingface.co"),
        ("url", "a.example"),
    ]
    assert found.target == Target(SHA256, len(CONTENT))
    assert not (home / "cache").exists()


def test_a_kind_that_is_not_in_use_is_left_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(home)
    monkeypatch.setenv("MODELFETCH_SOURCES_ORDER", "url,mirror")
    assert [source.kind for source in look().sources] == ["url", "mirror"]


def test_the_cache(home: Path) -> None:
    pin(home)
    store()
    found = look()
    assert found.models[0].is_present
    assert found.blob == home / f"cache/blobs/sha256/{SHA256[:2]}/{SHA256}"
    assert found.placed == (home / "cache/models/m/1/onnx/model.onnx",)


def test_a_model_that_no_catalog_has_any_more(home: Path) -> None:
    pin(home)
    store()
    (home / "catalog/m.toml").unlink()
    [model] = look().models
    assert (model.name, model.catalog, model.is_present) == ("m", "", True)


def test_caches_of_other_programs_are_searched_by_name(home: Path) -> None:
    for path in (f"hub/models--any--thing/blobs/{SHA256}", f"ollama/blobs/sha256-{SHA256}"):
        (home / path).parent.mkdir(parents=True)
        (home / path).write_bytes(CONTENT)
    found = look()
    assert [each.program for each in found.elsewhere] == ["huggingface", "ollama"]
    assert not found.is_empty
    assert found.target.size is None


def test_a_file_that_an_earlier_run_hashed_is_found(home: Path) -> None:
    path = home / "nas" / "a.gguf"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert look().is_empty
    assert not (home / "cache").exists(), "nothing is written"
    digests = HistoryDigests(home / "cache", 30, Cancellation())
    digests.put(path, path.stat(), SHA256)
    digests.close()
    assert look().elsewhere == (FoundFile("local", path),)


def test_a_wrong_manifest_is_reported_and_passed_over(home: Path) -> None:
    pin(home)
    (home / "catalog/broken.toml").write_text("schema = 1")
    found = look()
    assert len(found.models) == 1
    assert "broken.toml" in found.faults[0]


# The command

Called = Callable[..., tuple[int, str, str]]


@pytest.fixture
def called(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Called:
    """Call the command in this process: exit code, stdout, stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modelfetch", "find", *words])
        code = entry._call()
        out, err = capsys.readouterr()
        check_output(["find", *words], code, out)
        return code, out, err

    return call


def test_the_command_prints_facts(home: Path, called: Called) -> None:
    pin(home)
    store()
    (home / "model.bin").write_bytes(CONTENT)
    code, out, err = called("model.bin")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"sha256 {SHA256}",
        "size   7 B (7 bytes)",
        "model  m 1: onnx/model.onnx (environment catalog, present)",
        f"blob   {home}/cache/blobs/sha256/{SHA256[:2]}/{SHA256}",
        f"file   {home}/cache/models/m/1/onnx/model.onnx",
        "source mirror https://mirror.example/onnx/model.onnx?***",
        f"source huggingface https://huggingface.co/org/repo/resolve/{'c' * 40}/onnx/model.onnx",
        "source url https://a.example/model.onnx",
    ]


def test_the_command_prints_json(home: Path, called: Called) -> None:
    pin(home)
    code, out, _ = called(SHA256, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["models"] == [
        {
            "name": "m",
            "version": "1",
            "path": "onnx/model.onnx",
            "catalog": "environment",
            "present": False,
        }
    ]
    assert (document["sha256"], document["size"], document["blob"]) == (SHA256, 7, None)
    assert [each["kind"] for each in document["sources"]] == ["mirror", "huggingface", "url"]
    assert "canary" not in out


def test_not_found_is_one_clear_line_and_code_3(called: Called) -> None:
    code, out, err = called("0" * 64)
    assert (code, out) == (3, "")
    assert err.splitlines()[0] == f"error: nothing known here has the SHA-256 {'0' * 64}"
    assert json.loads(called("0" * 64, "--json")[1])["error"]["code"] == "unknown_model"

"""The commands that look, choose and clean up."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.e2e.command import Command, assert_fails
from tests.origin import Content, Origin, ServedModel, faults, model

pytestmark = pytest.mark.slow  # real processes, one after the other


@pytest.fixture
def served(cli: Command, origin: Origin, keeps_all: None) -> ServedModel:
    """A model that is known, and not here."""
    with Origin() as mirror:
        files = {"big.bin": 4_000_000, "a/small.bin": 10}
        return cli.serve(model(origin, files, mirrors=[mirror], license="CC-BY-NC-4.0", catalog=cli.catalog))


def tree(root: Path) -> list[tuple[str, int, int]]:
    """Everything below a directory: path, size and time of change."""
    found = sorted(path for path in root.rglob("*") if "logs" not in path.parts)
    return [(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in found]


def leave_unfinished(cli: Command, origin: Origin) -> None:
    """Let the model's origin lose its large file in the middle."""
    origin.fault("big.bin", faults.cut(2_500_000), times=1)
    origin.fault("big.bin", faults.status(404))
    with pytest.raises(AssertionError):
        cli.prepare("m")


def test_a_plan_tells_who_is_asked_by_proxy(cli: Command) -> None:
    proxies = {
        "https_proxy": "http://user:secret@proxy.example:3128",
        "ALL_PROXY": "socks5://proxy.example:1080",
        "HTTP_PROXY": "",
    }
    order = {
        "MODELFETCH_SOURCES_ORDER": "mirror,huggingface",
        "MODELFETCH_SOURCES_MIRRORS": "http://h.example/{path}",
    }
    hub = {"HF_ENDPOINT": "https://hub.example"}
    planned = cli("plan", "whisper-base", **proxies, **order, **hub)
    assert planned.stderr_lines("huggingface hub.example: through the proxy in https_proxy")
    assert planned.stderr_lines("mirror h.example: the proxy in ALL_PROXY uses socks5")
    assert "secret" not in planned.err
    document = cli("plan", "whisper-base", "--json", **proxies, **order, **hub, NO_PROXY=".example").document
    assert {each["proxy"] for each in document["sources"]} == {None}


def test_plan_says_what_ensure_would_do_and_does_none_of_it(
    cli: Command, origin: Origin, served: ServedModel
) -> None:
    before = tree(cli.home)
    result = cli("plan", "m")
    assert result.code == 0, result.err
    assert result.lines[0].split() == ["file", "state", "size", "to", "fetch", "sources", "in", "order"]
    big = next(line for line in result.lines if line.startswith("big.bin"))
    assert "missing" in big
    assert big.count("4.00 MB") == 2
    assert big.index("mirror 127.0.0.1:") < big.index(f"huggingface 127.0.0.1:{origin.port}")
    assert result.stderr_lines("license: CC-BY-NC-4.0")
    assert result.stderr_lines("disk: ", "to write", "free")
    assert tree(cli.home) == before
    assert not cli.cache.exists()
    assert origin.requests == []


def test_plan_knows_what_is_kept_and_what_is_partial(
    cli: Command, origin: Origin, served: ServedModel
) -> None:
    leave_unfinished(cli, origin)
    before = tree(cli.home)
    plan = cli("plan", "m", "--json").document
    assert tree(cli.home) == before
    big, small = plan["models"][0]["files"]
    assert (big["state"], big["held"]) == ("partial", 2_500_000)
    assert small["held"] == small["size"], "it lies among the blobs already"
    assert plan["models"][0]["missing"] == big["size"] - 2_500_000
    assert plan["disk_free"] > 0
    origin.heal()
    cli.prepare("m")
    kept = cli("plan", "m", "--json").document["models"][0]
    assert (kept["missing"], [file["state"] for file in kept["files"]]) == (0, ["kept", "kept"])


def test_list_and_show_and_path(cli: Command, served: ServedModel) -> None:
    listed = {each["name"]: each for each in cli("list", "--json").document["models"]}
    assert {"m", "whisper-base", "tts-models", "demo"} <= listed.keys()
    assert listed["m"]["present"] is False
    assert_fails(cli("path", "m"), 4, "modelfetch ensure m")

    cli.prepare("m")
    directory = cli.directory(served)
    (here,) = cli("list", "--present", "--sort", "used").lines[1:]
    assert re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d ", here)
    assert here.split()[:4] == ["m", "yes", "4.00", "MB"]
    assert cli("path", "m", "a/small.bin", "--json").document == {
        "model": "m",
        "version": "1",
        "path": str(directory / "a/small.bin"),
    }
    assert_fails(cli("path", "m", "a/smal.bin"), 2, "Did you mean 'a/small.bin'?")
    document = cli("show", "m", "--json").document
    assert (document["present"], document["path"], document["size"]) == (True, str(directory), served.size)
    assert len(document["identity"]) == 64


def test_show_has_the_cids_that_are_known(cli: Command, served: ServedModel) -> None:
    cli.environment["MODELFETCH_CACHE_CHUNK_MAPS"] = "always"
    cids = {file["path"]: file["cid"] for file in cli("show", "m", "--json").document["files"]}
    assert cids["a/small.bin"].startswith("bafkrei")
    large = [path for path, cid in cids.items() if cid is None]
    assert large
    cli.prepare("m")
    for file in cli("show", "m", "--json").document["files"]:
        assert file["cid"].startswith("bafybei" if file["path"] in large else "bafkrei")
        assert file["cid"] in cli("show", "m").out


def test_list_is_filtered_and_sorted(cli: Command, tmp_path: Path) -> None:
    """Of the catalog that is built in; sizes and tasks are facts of its manifests."""
    rows = [line.split() for line in cli("list", "whisper-BASE", "--task", "speech", "--sort", "size").lines]
    assert rows[0] == ["model", "present", "size", "task", "format", "license", "title"]
    assert rows[1][0] == "whisper-base"
    assert {row[0] for row in rows[1:]} > {"whisper-base-q4", "ggml-whisper-base", "faster-whisper-base"}
    assert {row[4] for row in rows[1:]} == {"speech"}
    found = cli("list", "whisper-base*", "--json").document["models"]
    assert [(each["name"], each["task"], each["format"], each["used"]) for each in found] == [
        ("whisper-base", "speech", "onnx", None),
        ("whisper-base-q4", "speech", "onnx", None),
        ("whisper-base-q8", "speech", "onnx", None),
    ]
    nothing = cli("list", "no such model")
    assert (nothing.code, nothing.lines[1:], nothing.err) == (0, [], "no model matches\n")
    assert_fails(cli("list", "--task", "vison"), 2, "'vison' is not one of 'speech', 'text'")


def test_show_has_no_secret_of_an_address(cli: Command) -> None:
    mirror = "https://a.example/{path}?sig=canary"
    url = "https://b.example/f.bin?X-Amz-Signature=canary"
    text = f"""schema = 1
name = "signed"
version = "1"
[mirrors]
urls = ["{mirror}"]
[[files]]
path = "f.bin"
size = 3
sha256 = "{"a" * 64}"
urls = ["{url}"]
"""
    cli.catalog.mkdir(parents=True, exist_ok=True)
    (cli.catalog / "signed.toml").write_text(text, encoding="utf-8")
    plain, document = cli("show", "signed"), cli("show", "signed", "--json")
    assert (plain.code, document.code) == (0, 0), plain.err
    assert "mirror https://a.example/{path}?***" in plain.out
    assert document.document["mirrors"] == ["https://a.example/{path}?***"]
    assert "canary" not in plain.out + document.out


def test_show_has_every_key_of_a_pin(cli: Command) -> None:
    text = f"""schema = 1
name = "pinned"
version = "1"
task = "text"
format = "gguf"
[modelscope]
repo = "org/repo"
revision = "master"
[oci]
repository = "localhost:5000/models/pinned"
[[files]]
path = "run.sh"
size = 3
sha256 = "{"a" * 64}"
executable = true
[[files]]
path = "data"
size = 3
sha256 = "{"b" * 64}"
[upstream]
ref = "https://b.example/f.bin?signature=canary"
include = ["*.sh", "data"]
added = "2026-11-28"
stated = "computed"
"""
    cli.catalog.mkdir(parents=True, exist_ok=True)
    (cli.catalog / "pinned.toml").write_text(text, encoding="utf-8")
    plain, document = cli("show", "pinned"), cli("show", "pinned", "--json")
    lines = [" ".join(line.split()) for line in plain.out.splitlines()]
    assert {
        "task text",
        "format gguf",
        "source modelscope org/repo @ master",
        "source oci localhost:5000/models/pinned",
        "pinned from https://b.example/f.bin?*** (added 2026-11-28, digests computed here)",
        "--include *.sh --include data",
    } <= set(lines)
    assert any(line.startswith(f"run.sh executable 3 B 3 {'a' * 64} bafkrei") for line in lines)
    shown = document.document
    assert (shown["task"], shown["format"], shown["oci"]) == ("text", "gguf", "localhost:5000/models/pinned")
    assert shown["modelscope"] == {"repo": "org/repo", "revision": "master", "type": "model"}
    assert [file["executable"] for file in shown["files"]] == [True, False]
    assert shown["upstream"]["include"] == ["*.sh", "data"]
    assert "canary" not in plain.out + document.out


def test_built_in_models_are_shown_with_their_license_and_planned_without_a_network(cli: Command) -> None:
    shown = cli("show", "whisper-base")
    assert (shown.code, shown.err) == (0, "")
    assert "license Apache-2.0" in " ".join(shown.out.split())
    assert "onnx/decoder_model_merged.onnx" in shown.out
    planned = cli("plan", "whisper-base")
    assert planned.code == 0, planned.err
    assert planned.stderr_lines("whisper-base", "to fetch")
    assert not cli.cache.exists()


def test_remove_gives_back_what_no_other_model_uses(cli: Command, origin: Origin) -> None:
    shared = Content.random("shared", 5000)
    one = cli.serve(model(origin, {"own.bin": 3000, "shared.bin": shared}, name="one", catalog=cli.catalog))
    two = cli.serve(model(origin, {"shared.bin": shared}, name="two", catalog=cli.catalog))
    cli.prepare("one", "two")
    before = tree(cli.cache)

    would = cli("remove", "one", "--dry-run", "--json")
    assert tree(cli.cache) == before
    assert would.document["dry_run"] is True
    removed = cli("remove", "one", "--json")
    assert removed.code == 0, removed.err
    assert {**removed.document, "dry_run": True} == would.document
    assert removed.document["versions"] == ["1"]
    assert removed.document["freed"] == 3000 + _receipt_size(before, "one")
    assert not cli.directory(one).exists()
    assert cli.has(two)
    assert [path.name for path in cli.files("blobs")] == [shared.sha256]

    last = cli("remove", "two")
    assert last.code == 0, last.err
    assert last.stderr_lines("removed", "two", "freed")
    assert cli.files("blobs") == cli.files("models") == []
    assert_fails(cli("remove", "on"), 3, "Did you mean 'one'?")


def _receipt_size(entries: list[tuple[str, int, int]], name: str) -> int:
    return sum(size for path, size, _ in entries if path.endswith(f"{name}/1.json"))


def test_remove_also_takes_an_unfinished_download(cli: Command, origin: Origin, served: ServedModel) -> None:
    leave_unfinished(cli, origin)
    assert cli.files("partial") != []
    result = cli("remove", "m")
    assert result.code == 0, result.err
    assert cli.files("partial") == cli.files("models") == cli.files("blobs") == []


def test_config_is_set_shown_with_its_origin_and_unset(cli: Command) -> None:
    file = Path(cli("config", "path").out.rstrip("\n"))
    assert cli.home in file.parents
    assert not file.exists()
    mirrors = "https://user:canary@a.example/{path},https://b.example/{sha256}"
    assert cli("config", "set", "sources.mirrors", mirrors).code == 0
    assert cli("config", "set", "network.files", "7").code == 0
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600, "it may hold a password"

    shown = cli("config", "show", "--json", MODELFETCH_RETRY_CAP="9")
    assert "canary" not in shown.out
    settings = shown.document
    assert settings["network.files"] == {"value": "7", "origin": f"user config {file}"}
    assert settings["retry.cap"] == {"value": "9", "origin": "environment MODELFETCH_RETRY_CAP"}
    assert settings["network.connections"]["origin"] == "default"
    assert settings["cache_dir"] == {
        "value": str(cli.cache),
        "origin": "environment MODELFETCH_CACHE_DIR",
    }

    assert_fails(cli("config", "set", "network.file", "7"), 2, "Did you mean 'files'?")
    unset = cli("config", "unset", "network.files", "--json")
    assert unset.document == {"setting": "network.files", "path": str(file), "removed": True}
    assert "files" not in file.read_text()

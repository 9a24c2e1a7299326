"""What ``add`` and other commands say about references, in this process, against loopback hubs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelfetch.cli import entry
from tests.hubs.huggingface import HuggingFaceHub
from tests.hubs.modelscope import ModelScopeSite
from tests.schemas.checking import check_output

FILES = {"config.json": b'{"a": 1}', "model.safetensors": b"weights" * 500, ".gitattributes": b"*.bin lfs\n"}

Called = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hub() -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub() as server:
        server.add("org/Repo", FILES)
        yield server


@pytest.fixture
def site() -> Iterator[ModelScopeSite]:
    with ModelScopeSite() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text("")
    (tmp_path / "work").mkdir()
    return tmp_path


@pytest.fixture
def called(
    home: Path, hub: HuggingFaceHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Called:
    """Call the command in this process: exit code, stdout, stderr."""
    monkeypatch.chdir(home / "work")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MODELFETCH_CONFIG", str(home / "config" / "config.toml"))
    monkeypatch.setenv("MODELFETCH_CACHE_DIR", str(home / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "MODELFETCH_OFFLINE", "MODELFETCH_CATALOG"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modelfetch", *words])
        code = entry._call()
        out, err = capsys.readouterr()
        check_output(words, code, out)
        return code, out, err

    return call


def fails(result: tuple[int, str, str], code: int, *words: str) -> None:
    found, _, err = result
    assert found == code, err
    *_, error, hint = err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("  → ")
    for word in words:
        assert word in err


def test_what_is_pinned_is_shown(called: Called, home: Path, hub: HuggingFaceHub) -> None:
    commit = hub.repos["model", "org/Repo"].branches["main"]
    code, out, err = called("add", "hf:org/Repo", "--license", "MIT")
    assert code == 0, err
    for words in (
        f"repo {commit[:12]}",
        "MIT",
        "computed",
        "stated by huggingface",
        "8 B, to compute digests",
    ):
        assert words in out
    assert f"pinned hf:org/Repo as repo {commit[:12]} (2 files, 3.51 kB) in {home}" in err
    assert "next: modelfetch ensure repo" in err
    assert "trust on first use" in err
    assert called("add", "hf:org/Repo", "--quiet") == (0, "repo\n", "")
    again = called("add", "hf:org/Repo", "--json")
    document = json.loads(again[1])
    assert (document["written"], document["listed"], document["catalog"]) == (False, False, "user")
    assert document["files"][0]["stated_by"] is None


def test_commands_take_a_reference_that_is_pinned(called: Called) -> None:
    fails(called("verify", "hf:org/Repo"), 3, "'hf:org/Repo' is not pinned", "modelfetch add hf:org/Repo")
    called("add", "hf:org/Repo")
    for words in (
        ["plan", "org/Repo"],
        ["show", "hf:org/Repo@main"],
        ["ensure", "hf:org/Repo"],
        ["verify", "org/Repo"],
    ):
        code, _, err = called(*words)
        assert code == 0, err
    code, out, _ = called("path", "hf:org/Repo", "config.json")
    assert Path(out.strip()).read_bytes() == FILES["config.json"]
    code, out, _ = called("remove", "hf:org/Repo", "--unpin", "--dry-run", "--json")
    [manifest] = json.loads(out)["unpinned"]
    assert Path(manifest).exists()
    _, _, err = called("remove", "hf:org/Repo", "--unpin")
    assert "unpinned repo in" in err
    assert not Path(manifest).exists()


def test_what_is_new_cannot_be_pinned_offline(called: Called, hub: HuggingFaceHub) -> None:
    for verb in ("add", "ensure"):
        fails(called(verb, "hf:org/Repo", "--offline"), 4, "cannot resolve 'hf:org/Repo'")
    assert hub.targets() == []


def test_a_dry_run_shows_all_and_writes_nothing(called: Called, home: Path) -> None:
    _, out, _ = called("add", "hf:org/Repo", "--dry-run", "--json")
    document = json.loads(out)
    assert [file["stated_by"] for file in document["files"]] == [[], ["huggingface"]]
    assert (document["written"], document["dry_run"], document["fetched"]) == (True, True, 8)
    assert sorted(path.name for path in home.iterdir()) == ["config", "work"]
    assert [path.name for path in (home / "config").iterdir()] == ["config.toml"]
    assert "would pin hf:org/Repo as repo" in called("add", "hf:org/Repo", "--dry-run")[2]


def test_a_project_gets_the_pin_and_the_name(called: Called, home: Path) -> None:
    project = home / "work" / "modelfetch.toml"
    project.write_text("# ours\n\n[network]\nfiles = 2  # slow\n")
    assert called("add", "hf:org/Repo", "--name", "mine", "--quiet")[:2] == (0, "mine\n")
    added = 'catalog = ["models"]\nmodels = ["mine"]\n'
    assert project.read_text() == f"# ours\n\n{added}[network]\nfiles = 2  # slow\n"
    assert (home / "work" / "models" / "mine.toml").exists()
    assert called("ensure", "--quiet")[0] == 0
    _, _, err = called("add", "hf:org/Repo", "--to-catalog", str(home / "other"), "--name", "third")
    assert f"set MODELFETCH_CATALOG={home / 'other'}" in err


def test_a_gguf_repository_lists_its_variants_in_a_pipe(called: Called, hub: HuggingFaceHub) -> None:
    hub.add("org/M-GGUF", {"m-Q4_K_M.gguf": bytes(2000), "m-Q8_0.gguf": bytes(4000), "README.md": b"x"})
    for verb in ("add", "ensure"):
        listed = "hf:org/M-GGUF has 2 variants", "Q4_K_M  2.00 kB"
        fails(called(verb, "hf:org/M-GGUF"), 2, *listed, "modelfetch add hf:org/M-GGUF --include '*Q4_K_M*'")
    error = json.loads(called("add", "hf:org/M-GGUF", "--json")[1])["error"]
    assert error["details"] == ["Q4_K_M  2.00 kB", "Q8_0    4.00 kB"]
    assert hub.targets("/resolve/") == []
    assert called("add", "hf:org/M-GGUF", "--include", "*Q8_0*", "--name", "q8")[0] == 0


def test_two_hubs_are_two_sources_of_one_pin(
    called: Called, hub: HuggingFaceHub, site: ModelScopeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", site.endpoint)
    site.add("org/Repo", FILES)
    code, out, err = called("add", "hf:org/Repo", "ms:org/Repo")
    assert code == 0, err
    assert "ms:org/Repo agrees with hf:org/Repo on 2 files by SHA-256" in err
    assert "modelscope org/Repo @" in out
    assert [target.rpartition("/")[2] for target in hub.targets("/resolve/")] == ["config.json"]
    hub.add("org/Other", {**FILES, "model.safetensors": b"other"})
    site.add("org/Other", FILES)
    digests = "hf:org/Other has SHA-256", "ms:org/Other has SHA-256"
    clash = called("add", "hf:org/Other", "ms:org/Other")
    fails(clash, 5, "the references do not agree on 1 file", *digests, "--exclude 'model.safetensors'")


def test_what_the_hub_does_not_have_is_one_line(called: Called) -> None:
    fails(called("add", "hf:org/none"), 3, "hf:org/none")
    fails(called("ensure", "hf:org/none"), 3, "hf:org/none")
    fails(called("add", "hf:org/Repo", "--revision", "v9"), 3, "'v9'")
    fails(called("add", "nonsense"), 2)


@pytest.mark.slow
def test_many_small_files_are_pinned(called: Called, hub: HuggingFaceHub) -> None:
    hub.add("org/Many", {f"{number}.json": b"%d" % number for number in range(40)})
    code, out, err = called("add", "hf:org/Many", "--json")
    assert code == 0, err
    assert json.loads(out)["fetched"] == 70
    assert len(hub.targets("/resolve/")) == 40

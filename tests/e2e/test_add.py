"""``add`` and ``ensure`` of references, against loopback hubs."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelfetch
from tests.e2e.command import NOWHERE, Command, assert_fails
from tests.hubs.huggingface import HuggingFaceHub
from tests.hubs.modelscope import ModelScopeSite

WEIGHTS = b"weights" * 5000
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, ".gitattributes": b"*.bin lfs\n"}


class Person(Command):
    """A person with a catalog of their own, and two hubs."""

    def __init__(self, home: Path, hub: HuggingFaceHub) -> None:
        super().__init__(home)
        config = home / "config"
        config.mkdir()
        (config / "config.toml").write_text("# mine\n")
        self.pins = config / "catalog"
        self.environment |= {
            "MODELFETCH_CONFIG": str(config / "config.toml"),
            "MODELFETCH_CATALOG": "",
            "HF_ENDPOINT": hub.endpoint,
        }

    def manifest(self, name: str = "repo") -> dict[str, Any]:
        return tomllib.loads((self.pins / f"{name}.toml").read_text("utf-8"))


@pytest.fixture
def hub() -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub() as server:
        yield server


@pytest.fixture
def person(tmp_path: Path, hub: HuggingFaceHub) -> Person:
    return Person(tmp_path, hub)


def test_a_reference_is_pinned_once_and_fetched(person: Person, hub: HuggingFaceHub) -> None:
    commit = hub.add("org/Repo", FILES).branches["main"]
    added = person("add", "hf:org/Repo")
    assert added.code == 0, added.err
    assert added.stderr_lines("pinned hf:org/Repo as repo", commit[:12], str(person.pins / "repo.toml"))
    assert added.stderr_lines("trust on first use")
    assert "stated by huggingface" in added.out
    fetched = [target for target in hub.targets("/resolve/") if "safetensors" in target]
    assert fetched == []
    manifest = person.manifest()
    assert [file["path"] for file in manifest["files"]] == ["config.json", "model.safetensors"]
    assert manifest["huggingface"] == {"repo": "org/Repo", "revision": commit}
    requests = len(hub.targets())
    again = person("add", "org/Repo")
    assert again.stderr_lines("hf:org/Repo is pinned already, as repo", "nothing changed")
    assert len(hub.targets()) == requests
    ready = person("ensure", "repo", "--quiet")
    assert (Path(ready.lines[0]) / "model.safetensors").read_bytes() == WEIGHTS
    assert [target for target in hub.targets("/resolve/")[len(fetched) :] if "config" in target][1:] == []


def test_ensure_pins_and_from_then_on_asks_nobody(person: Person, hub: HuggingFaceHub) -> None:
    hub.add("org/Repo", FILES)
    first = person("ensure", "hf:org/Repo")
    assert first.code == 0, first.err
    assert len(first.stderr_lines("note: pinned hf:org/Repo as repo")) == 1
    requests = len(hub.targets())
    for more in ({}, {"HF_ENDPOINT": NOWHERE}, {"MODELFETCH_OFFLINE": "1"}):
        again = person("ensure", "hf:org/Repo", **more)
        assert (again.code, again.lines) == (0, first.lines), again.err
        assert again.stderr_lines("pinned") == []
    assert len(hub.targets()) == requests
    for words in (
        ("verify", "hf:org/Repo"),
        ("path", "hf:org/Repo"),
        ("plan", "org/Repo"),
        ("show", "org/Repo"),
    ):
        assert person(*words).code == 0
    removed = person("remove", "hf:org/Repo", "--unpin")
    assert removed.stderr_lines("unpinned repo in")
    assert not (person.pins / "repo.toml").exists()
    assert_fails(person("verify", "hf:org/Repo"), 3, "'hf:org/Repo' is not pinned")


def test_what_is_new_cannot_be_pinned_offline(person: Person, hub: HuggingFaceHub) -> None:
    hub.add("org/Repo", FILES)
    for words in (("add", "hf:org/Repo", "--offline"), ("ensure", "hf:org/Repo", "--offline")):
        assert_fails(person(*words), 4, "cannot resolve 'hf:org/Repo'")
    assert hub.targets() == []


def test_the_python_interface_takes_references(
    person: Person, hub: HuggingFaceHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/Repo", FILES)
    for name, value in person.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(person.work)
    directory = modelfetch.ensure("hf:org/Repo")
    assert (directory / "config.json").read_bytes() == FILES["config.json"]
    requests = len(hub.targets())
    assert modelfetch.ensure("hf:org/Repo", offline=True) == directory
    assert len(hub.targets()) == requests


def test_a_dry_run_shows_all_and_writes_nothing(person: Person, hub: HuggingFaceHub) -> None:
    hub.add("org/Repo", FILES)
    shown = person("add", "hf:org/Repo", "--dry-run", "--json")
    assert shown.document["files"][0]["stated_by"] == []
    assert shown.document["files"][1]["stated_by"] == ["huggingface"]
    assert (shown.document["written"], shown.document["dry_run"]) == (True, True)
    assert shown.document["fetched"] == len(FILES["config.json"])
    assert not person.pins.exists()
    assert not person.cache.exists()


def test_a_project_gets_the_pin_and_the_name(person: Person, hub: HuggingFaceHub) -> None:
    hub.add("org/Repo", FILES)
    project = person.work / "modelfetch.toml"
    project.write_text("# ours\n\n[network]\nfiles = 2  # slow\n")
    result = person("add", "hf:org/Repo", "--name", "mine", "--quiet")
    assert (result.code, result.out) == (0, "mine\n")
    assert project.read_text() == (
        '# ours\n\ncatalog = ["models"]\nmodels = ["mine"]\n[network]\nfiles = 2  # slow\n'
    )
    assert (person.work / "models" / "mine.toml").exists()
    assert person("ensure", "--quiet").code == 0


def test_a_gguf_repository_lists_its_variants_in_a_pipe(person: Person, hub: HuggingFaceHub) -> None:
    hub.add("org/M-GGUF", {"m-Q4_K_M.gguf": bytes(2000), "m-Q8_0.gguf": bytes(4000), "README.md": b"x"})
    for verb in ("add", "ensure"):
        result = person(verb, "hf:org/M-GGUF")
        assert_fails(result, 2, "hf:org/M-GGUF has 2 variants")
        assert result.stderr_lines("Q4_K_M", "2.00 kB")
        assert result.stderr_lines("modelfetch add hf:org/M-GGUF --include '*Q4_K_M*'")
    error = person("add", "hf:org/M-GGUF", "--json").document["error"]
    assert error["details"] == ["Q4_K_M  2.00 kB", "Q8_0    4.00 kB"]
    assert hub.targets("/resolve/") == []
    assert person("add", "hf:org/M-GGUF", "--include", "*Q8_0*", "--name", "q8").code == 0
    assert [file["path"] for file in person.manifest("q8")["files"]] == ["m-Q8_0.gguf"]


def on_a_terminal(person: Person, typed: bytes, *words: str) -> tuple[int, str]:
    """Run a command on a terminal; what is typed is sent when it asks."""
    leader, follower = pty.openpty()
    env = person.environment | {"TERM": "xterm", "CI": ""}
    process = subprocess.Popen(
        person.line(*words),
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        env=env,
        cwd=person.work,
        start_new_session=True,
    )
    os.close(follower)
    seen, deadline = b"", time.monotonic() + 40
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.05)[0]:
            try:
                seen += os.read(leader, 4096)
            except OSError:
                break
        if b"Which one" in seen and typed:
            if typed == b"\x03":
                process.send_signal(signal.SIGINT)
            else:
                os.write(leader, typed)
            typed = b""
        if process.poll() is not None and not select.select([leader], [], [], 0)[0]:
            break
    code = process.wait(10)
    os.close(leader)
    assert process.stdout is not None
    process.stdout.close()
    return code, seen.decode()


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals")
@pytest.mark.parametrize(
    ("typed", "code", "pinned"), [(b"2\n", 0, "m-q8_0"), (b"\x03", 130, ""), (b"\x04", 2, "")]
)
def test_a_terminal_gets_a_choice(
    typed: bytes, code: int, pinned: str, person: Person, hub: HuggingFaceHub
) -> None:
    hub.add("org/M-GGUF", {"m-Q4_K_M.gguf": bytes(2000), "m-Q8_0.gguf": bytes(4000)})
    found, seen = on_a_terminal(person, typed, "add", "hf:org/M-GGUF")
    assert found == code, seen
    assert "1  Q4_K_M  2.00 kB" in seen
    assert "Traceback" not in seen
    assert [path.stem for path in person.pins.glob("*")] == ([pinned] if pinned else [])


def test_two_hubs_are_two_sources_of_one_pin(person: Person, hub: HuggingFaceHub) -> None:
    hub.add("org/Repo", FILES)
    with ModelScopeSite() as site:
        site.add("org/Repo", FILES)
        person.environment["MODELSCOPE_ENDPOINT"] = site.endpoint
        result = person("add", "hf:org/Repo", "ms:org/Repo")
        assert result.code == 0, result.err
        assert result.stderr_lines("ms:org/Repo agrees with hf:org/Repo on 1 file by SHA-256")
        assert person.manifest()["modelscope"]["repo"] == "org/Repo"
        assert hub.targets("/resolve/") == []
        hub.add("org/Other", {**FILES, "model.safetensors": b"other"})
        site.add("org/Other", FILES)
        clash = person("add", "hf:org/Other", "ms:org/Other")
        assert_fails(clash, 5, "the references do not agree on 1 file")
        assert clash.stderr_lines(
            "'model.safetensors'", "hf:org/Other has SHA-256", "ms:org/Other has SHA-256"
        )


def test_what_the_hub_does_not_have_is_one_line(person: Person, hub: HuggingFaceHub) -> None:
    assert_fails(person("add", "hf:org/none"), 3, "org/none")
    assert_fails(person("ensure", "hf:org/none"), 3, "org/none")
    assert_fails(person("add", "nonsense"), 2)

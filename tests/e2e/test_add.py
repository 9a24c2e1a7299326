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
from tests.e2e.command import NOWHERE, PATIENCE, Command
from tests.hubs.huggingface import HuggingFaceHub

pytestmark = pytest.mark.slow  # the same is tested in one process

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
    assert len(first.stderr_lines("note: pinned hf:org/Repo as repo", "trust on first use")) == 1
    assert len(first.stderr_lines("note:")) == 1
    requests = len(hub.targets())
    for more in ({}, {"MODELFETCH_OFFLINE": "1", "HF_ENDPOINT": NOWHERE}):
        again = person("ensure", "hf:org/Repo", **more)
        assert (again.code, again.lines) == (0, first.lines), again.err
        assert again.stderr_lines("pinned") == []
    assert len(hub.targets()) == requests


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
    seen, deadline = b"", time.monotonic() + PATIENCE
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
    code = process.wait(PATIENCE)
    os.close(leader)
    assert process.stdout is not None
    process.stdout.close()
    return code, seen.decode()


@pytest.mark.slow
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
    assert ("cancelled; nothing was pinned" in seen) == (code == 130)
    assert [path.stem for path in person.pins.glob("*")] == ([pinned] if pinned else [])

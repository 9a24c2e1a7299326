"""The options of ensure: made once by each interface, and passed to the engine unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import modelfetch
import modelfetch.engine.ensure
from modelfetch.cli.app import command_line
from modelfetch.engine.events import Event, RunFinished, RunStarted
from modelfetch.engine.export import Export
from modelfetch.engine.options import EnsureOptions, Request
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.setup import RunOptions
from modelfetch.workspace import Workspace
from tests.engine.fakes import body, model

MODEL = model("m", {"f.bin": body(10)})


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Runtime, Request]]:
    """What reaches the engine, in a clean environment."""
    found: list[tuple[Runtime, Request]] = []

    def ensure(runtime: Runtime, request: Request) -> Iterator[Event]:
        found.append((runtime, request))
        yield RunStarted("ensure", ())
        yield RunFinished("completed", 0, 0.0, (), None)

    monkeypatch.setattr(modelfetch.engine.ensure, "ensure", ensure)
    monkeypatch.setattr(Workspace, "manifests", lambda _self, _names: [MODEL])
    monkeypatch.setenv("MODELFETCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MODELFETCH_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("MODELFETCH_OFFLINE", "0")
    monkeypatch.chdir(tmp_path)
    return found


def test_the_command_line_makes_them_once(requests: list[tuple[Runtime, Request]], tmp_path: Path) -> None:
    words = [
        "ensure",
        "m",
        "--force",
        "--to",
        "app",
        "--only",
        "mirror",
        "--timeout",
        "60",
        "--files",
        "3",
        "--quiet",
    ]
    assert command_line(words)(words, standalone_mode=False) == 0
    [(runtime, request)] = requests
    assert request.options == EnsureOptions(
        settings={
            "cache_dir": None,
            "network.files": 3,
            "network.connections": None,
            "network.limit_rate": None,
        },
        run=RunOptions(only=("mirror",), timeout=60),
        force=True,
        to=tmp_path / "app",
    )
    assert runtime.files == 3
    assert runtime.timeout == 60


def test_python_makes_them_once(requests: list[tuple[Runtime, Request]]) -> None:
    with pytest.raises(AssertionError):  # the engine of this test makes nothing ready
        modelfetch.ensure("m", prefer="url", force=True, lock_timeout=5)
    list(modelfetch.stream("m", options=RunOptions(prefer="url", lock_timeout=5), force=True))
    wanted = EnsureOptions({"cache_dir": None}, RunOptions(prefer="url", lock_timeout=5), force=True)
    assert [request.options for _, request in requests] == [wanted, wanted]


def test_the_workspace_passes_them_on_unchanged(
    requests: list[tuple[Runtime, Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELFETCH_OFFLINE", "1")
    options = EnsureOptions(layout_hf=False)
    list(Workspace.open(options.settings).ensure([MODEL], options))
    [(runtime, request)] = requests
    assert request.options is options
    assert runtime.offline, "the settings say so, whatever the options say"


def test_files_go_where_the_options_want_them(tmp_path: Path) -> None:
    to, hub = tmp_path / "app", tmp_path / "hub"
    assert Request([], EnsureOptions(), hub).export == Export()
    assert Request([], EnsureOptions(to=to), hub).export == Export(to)
    assert Request([], EnsureOptions(layout_hf=True), hub).export == Export(hub_cache=hub)

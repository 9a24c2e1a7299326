"""The import rules: packages form layers, foreign packages stay in their place, and a start is lean."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.origin import Origin, model
from tests.syntax import syntax

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "modelfetch"

LAYERS = (
    *(
        "version",
        "signal_exit_codes",
        "warm",
        "streams",
        "lazy_dataclass",
        "errors",
        "cancel",
        "notices",
        "threads",
        "ipfs",
        "model",
        "settings",
    ),
    "tracing",
    "catalog",
    *("net", "store"),
    "bundle",
    "swarm",
    *("sources", "upstreams"),
    *(
        "history",
        "engine",
        "reporters",
        "demo",
        "opening_report",
        "workspace",
        "doctor",
        "pins",
        "publish",
        "keep",
        "remote",
        "share",
        "server",
        "api",
        "cli",
    ),
)
"""Each may import itself and what stands before it."""

FACE = {
    "__init__": {"api", "version"},
    "__main__": {"signal_exit_codes", "warm", "cli"},
    "__pyinstaller": set[str](),
}
"""The modules at the top that belong to no layer, and what they may import."""

HOMES = {
    "filelock": {"store"},
    "h11": {"net", "server"},
    "httpcore": {"net"},
    "httpx": {"net"},
    "ifaddr": {"net"},
    "libtorrent": {"swarm"},
    "obstore": {"net"},
    "platformdirs": {"settings"},
    "rich": {"cli", "reporters"},
    "sqlite3": {"history"},
    "sse_starlette": {"server"},
    "starlette": {"server"},
    "tomli_w": {"model"},
    "tomlkit": {"pins", "settings"},
    "tomllib": {"catalog", "model", "settings"},
    "truststore": {"net"},
    "typer": {"cli"},
    "uvicorn": {"server"},
    "zeroconf": {"net"},
}
"""Packages with one reason to be imported, and the layers that have it."""

TOOLS = {"IPython", "PyInstaller"}
"""Tools that import a module of ours or run it, and so are there when they are needed."""


GENERATED = "_version"
"""Written by an editable install, and in no commit: ``version`` imports it if it is there."""


@dataclass(frozen=True)
class Import:
    """One import statement, wherever in a module it stands."""

    module: str
    """The importing file, relative to the repository, and the line."""
    layer: str
    """The layer it belongs to, or the name of a module at the top."""
    target: str
    """What is imported, with dots: ``modelfetch.model.text.sanitize``."""

    @property
    def package(self) -> str:
        """The top-level package imported."""
        return self.target.partition(".")[0]


def imports_in(source: str, module: str, layer: str) -> Iterator[Import]:
    """Find every import, also those in functions and under TYPE_CHECKING."""
    for node in (statement.node for statement in syntax(source).imports):
        where = f"{module}:{node.lineno}"
        if isinstance(node, ast.Import):
            yield from (Import(where, layer, alias.name) for alias in node.names)
        else:
            base = "." * node.level + (node.module or "")
            yield from (Import(where, layer, f"{base}.{alias.name}") for alias in node.names)


def layer_of(path: Path) -> str:
    """The first name below the package: of a module at the top, or of the package it lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def all_imports() -> list[Import]:
    return [
        found
        for path in sorted(PACKAGE.rglob("*.py"))
        for found in imports_in(path.read_text("utf-8"), str(path.relative_to(ROOT)), layer_of(path))
    ]


def breaks_layers(found: Import) -> bool:
    """Whether an import reaches to a later layer."""
    if found.package != "modelfetch":
        return False
    name = [*found.target.split("."), ""][1]
    if name == GENERATED:
        return found.layer != "version"
    if found.layer in FACE:
        return name not in FACE[found.layer]
    return name not in LAYERS[: LAYERS.index(found.layer) + 1]


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer_of(path) for path in PACKAGE.rglob("*.py")} <= {*LAYERS, *FACE, GENERATED}


def test_the_layers_are_all_there() -> None:
    there = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set(LAYERS) <= there


def test_imports_only_go_down_the_layers() -> None:
    assert [found for found in all_imports() if breaks_layers(found)] == []


def test_imports_are_absolute() -> None:
    assert [found for found in all_imports() if found.target.startswith(".")] == []


def test_dataclasses_are_made_without_the_standard_module() -> None:
    late = {"dataclasses.dataclass", "dataclasses.field", "dataclasses.replace"}
    strays = [
        found for found in all_imports() if found.target in late and "lazy_dataclass" not in found.module
    ]
    assert strays == []


@pytest.mark.parametrize("package", HOMES)
def test_a_foreign_package_stays_in_its_place(package: str) -> None:
    strays = [
        found for found in all_imports() if found.package == package and found.layer not in HOMES[package]
    ]
    assert strays == []


def test_only_declared_packages_are_imported_and_all_of_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"]]
    wanted += [text for extra in ("serve", "lan", "s3", "swarm") for text in extras[extra]]
    declared = {re.split(r"[^\w-]", text)[0].replace("-", "_") for text in wanted}
    foreign = {found.package for found in all_imports()} - sys.stdlib_module_names - {"modelfetch"}
    assert foreign - TOOLS == declared


def test_lazy_and_type_only_imports_are_seen() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from modelfetch.cli import app\n"
        "def late():\n"
        "    import modelfetch.engine.ensure\n"
    )
    found = [found for found in imports_in(source, "net/x.py", "net") if breaks_layers(found)]
    assert [entry.target for entry in found] == ["modelfetch.cli.app", "modelfetch.engine.ensure"]


def test_the_faces_at_the_top_import_nothing_else() -> None:
    below = [Import("", "__init__", "modelfetch.cli.main"), Import("", "__main__", "modelfetch.api.ensure")]
    assert all(map(breaks_layers, below))


def imported_by(*arguments: str, cache: Path) -> set[str]:
    """Run a fresh interpreter, and say which modules it imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELFETCH_")}
    environment |= {"MODELFETCH_CACHE_DIR": str(cache), "MODELFETCH_CONFIG": str(cache / "config.toml")}
    environment["MODELFETCH_CATALOG"] = str(cache)
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=cache,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if "import time:" in line]
    assert "encodings" in lines, ran.stderr
    return set(lines)


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        pytest.param("list", marks=pytest.mark.slow),
        pytest.param("show demo", marks=pytest.mark.slow),
        pytest.param("path demo", marks=pytest.mark.slow),
        pytest.param("plan demo", marks=pytest.mark.slow),
        pytest.param("config show", marks=pytest.mark.slow),
        pytest.param("remove demo --dry-run", marks=pytest.mark.slow),
        "verify",
    ],
)
def test_a_start_is_lean(command: str, tmp_path: Path) -> None:
    """What neither asks the network nor draws does not pay for it."""
    heavy = {"httpx", "rich.progress", "rich.live", "http.server", "asyncio"}
    heavy |= {"zeroconf", "modelfetch.net.mdns", "modelfetch.sources.peer", "modelfetch.engine.peer_wait"}
    heavy |= {"rich"} if command == "--help" else set()
    assert imported_by("-m", "modelfetch", *command.split(), cache=tmp_path) & heavy == set()


def test_importing_the_package_imports_nothing_else_of_it(tmp_path: Path) -> None:
    found = imported_by("-c", "import modelfetch", cache=tmp_path)
    assert [name for name in found if name.startswith("modelfetch")] == ["modelfetch"]


@pytest.mark.lean
@pytest.mark.slow
def test_a_run_without_a_swarm_loads_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Origin() as origin:
        served = model(origin, {"too-large-for-a-batch.bin": 3_000_000}, name="m", catalog=tmp_path)
        monkeypatch.setenv("HF_ENDPOINT", served.origin.endpoint)
        found = imported_by("-m", "modelfetch", "ensure", "m", cache=tmp_path)
    assert (tmp_path / "models" / "m").is_dir()
    assert "modelfetch.engine.transfer" in found
    assert [name for name in found if "swarm" in name or "torrent" in name] == []

"""Requests into a private network that the pins of a project cause are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.model.manifest import FileSpec, Manifest, PinOrigin
from modelfetch.pins.catalogs import write_pin
from modelfetch.pins.private_upstreams import private_upstreams
from modelfetch.workspace import Workspace

DEFAULT = 'catalog = ["models"]\n'
ENDPOINT = f'{DEFAULT}[huggingface]\nendpoint = "http://10.0.0.5"\n'


def hosts(root: Path, ref: str, settings: str = DEFAULT, directory: str = "work/models") -> list[str]:
    manifest = Manifest("m", "1", (FileSpec("a", 1, "00" * 32),), upstream=PinOrigin(ref))
    write_pin(manifest, root / directory)
    (root / "work" / "models").mkdir(parents=True, exist_ok=True)
    (root / "work" / "modelfetch.toml").write_text(settings)
    environ = {"HOME": str(root), "MODELFETCH_CONFIG": str(root / "config" / "config.toml")}
    workspace = Workspace.open(environ=environ, cwd=root / "work")
    return [
        line.split(", ")[0].split()[-1] for line in private_upstreams(workspace, workspace.manifests(["m"]))
    ]


@pytest.mark.parametrize(
    ("ref", "host"),
    [
        ("https://192.168.1.1/model.onnx", "192.168.1.1"),
        ("http://127.0.0.1:8080/model.onnx", "127.0.0.1:8080"),
        ("oci:10.0.0.5/lab/model:1", "10.0.0.5"),
        ("oci:localhost:5000/lab/model:1", "localhost:5000"),
        ("ollama:127.0.0.1:11434/lab/model:1", "127.0.0.1:11434"),
    ],
)
def test_a_private_upstream_is_reported(tmp_path: Path, ref: str, host: str) -> None:
    assert hosts(tmp_path, ref) == [host]


def test_an_endpoint_of_the_project_is_reported(tmp_path: Path) -> None:
    assert hosts(tmp_path, "hf:org/repo", ENDPOINT) == ["10.0.0.5"]


@pytest.mark.parametrize(
    "ref", ["hf:org/repo", "https://example.org/model.onnx", "/srv/model", "oci:a.example/b"]
)
def test_other_upstreams_are_not(tmp_path: Path, ref: str) -> None:
    assert hosts(tmp_path, ref) == []


def test_what_the_user_pinned_is_not(tmp_path: Path) -> None:
    assert hosts(tmp_path, "oci:10.0.0.5/lab/model:1", directory="config/catalog") == []

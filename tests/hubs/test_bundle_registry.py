"""A bundle on its way through tools of others: skopeo reads it, a registry gets it, and serves its model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.command import Command, InProcess, assert_fails

registries = pytest.importorskip("tests.hubs.docker_registry")

pytestmark = [
    pytest.mark.slow,  # real processes, one after the other
    pytest.mark.skipif(registries.PROGRAM is None, reason="docker-registry is not installed"),
    pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed"),
]

CONTENTS = {"onnx/model.onnx": os.urandom(2_000_000), "config.json": b"{}", "empty.txt": b""}


@pytest.fixture
def machine(tmp_path: Path) -> InProcess:
    """A machine with two models."""
    machine = InProcess(tmp_path / "machine")
    for name in ("one", "two"):
        for path, data in CONTENTS.items():
            file = machine.home / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data + (name.encode() if path == "config.json" else b""))
        assert machine("adopt", machine.home / name, "--name", name).code == 0
    return machine


@pytest.fixture
def bundle(machine: InProcess, tmp_path: Path) -> Path:
    """A bundle of both."""
    target = tmp_path / "models.tar"
    assert machine("bundle", "create", "one", "two", "-o", target, "--with-verifier").code == 0
    return target


def skopeo(*words: str) -> str:
    done = subprocess.run(["skopeo", *words], check=True, capture_output=True, encoding="utf-8")
    return done.stdout


def test_a_bundle_reaches_another_machine_through_skopeo_and_a_registry(
    cli: Command, bundle: Path, tmp_path: Path
) -> None:
    [one, two] = cli("bundle", "inspect", bundle, "--json").document["models"]
    name = f"two:{two['version']}"
    read = json.loads(skopeo("inspect", "--raw", f"oci-archive:{bundle}:{name}"))
    assert [layer["annotations"]["org.cncf.model.filepath"] for layer in read["layers"]] == [
        *sorted(CONTENTS),
        "two.toml",
    ]
    root = tmp_path / "registry"
    root.mkdir()
    with registries.DockerRegistry(root) as registry:
        target = f"docker://{registry.host}/lab/{name}"
        skopeo("copy", "-q", "--dest-tls-verify=false", f"oci-archive:{bundle}:{name}", target)
        reference = f"oci:{registry.host}/lab/{name}"
        added = cli("add", reference, "--json")
        assert added.code == 0, added.err
        ensured = cli("ensure", "two", "--quiet")
        assert ensured.code == 0, ensured.err
        back = tmp_path / "back.tar"
        skopeo("copy", "-q", "--src-tls-verify=false", target, f"oci-archive:{back}:{name}")
    directory = Path(ensured.out.strip())
    assert (directory / "onnx/model.onnx").read_bytes() == CONTENTS["onnx/model.onnx"]
    assert sorted(str(path.relative_to(directory)) for path in directory.rglob("*.*")) == sorted(CONTENTS)
    assert cli("show", "two", "--json").document["identity"] == two["identity"] != one["identity"]
    other = Command(tmp_path / "other")
    imported = other("bundle", "import", back)
    assert imported.code == 0, imported.err
    assert (Path(imported.out.strip()) / "config.json").read_bytes() == b"{}two"


def test_images_pass_through_container_tools(cli: Command, machine: InProcess, tmp_path: Path) -> None:
    image = tmp_path / "image.tar"
    assert machine("bundle", "create", "one", "two", "-o", image, "--form", "image").code == 0
    [_, two] = machine("bundle", "inspect", image, "--json").document["models"]
    name = f"two:{two['version']}"
    seen = json.loads(skopeo("inspect", f"oci-archive:{image}:{name}"))
    assert (seen["Digest"], len(seen["Layers"])) == (two["digest"], len(CONTENTS) + 1)
    root = tmp_path / "registry"
    root.mkdir()
    with registries.DockerRegistry(root) as registry:
        target, back = f"docker://{registry.host}/lab/{name}", tmp_path / "back.tar"
        copy = ["copy", "-q", "--preserve-digests", "--dest-tls-verify=false", "--src-tls-verify=false"]
        skopeo(*copy, f"oci-archive:{image}:{name}", target)
        refused = cli("add", f"oci:{registry.host}/lab/{name}")
        assert_fails(refused, 2, "is a container image of a bundle", "modelfetch bundle import")
        skopeo(*copy, target, f"oci-archive:{back}:{name}")
    imported = cli("bundle", "import", back)
    assert imported.code == 0, imported.err
    assert (Path(imported.out.strip()) / "config.json").read_bytes() == b"{}two"
    assert cli("show", "two", "--json").document["identity"] == two["identity"]


@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts an image")
def test_an_image_is_mounted(machine: InProcess, tmp_path: Path) -> None:
    image = tmp_path / "image.tar"
    assert machine("bundle", "create", "one", "-o", image, "--form", "image").code == 0
    [one] = machine("bundle", "inspect", image, "--json").document["models"]

    def buildah(*words: str) -> str:
        place = ["--root", str(tmp_path / "storage"), "--runroot", str(tmp_path / "run")]
        line = ["buildah", *place, "--storage-driver", "vfs", *words]
        return subprocess.run(line, check=True, capture_output=True, encoding="utf-8").stdout.strip()

    container = buildah("from", f"oci-archive:{image}:one:{one['version']}")
    models = Path(buildah("mount", container)) / "models"
    assert (models / "onnx/model.onnx").read_bytes() == CONTENTS["onnx/model.onnx"]
    assert (models / "config.json").read_bytes() == b"{}one"
    assert (models / "empty.txt").read_bytes() == b""
    assert (models / "one.toml").is_file()
    buildah("rm", container)


@pytest.mark.skipif(shutil.which("modelpack") is None, reason="modelpack-client is not installed")
def test_another_client_of_modelpack_pulls_it(cli: Command, bundle: Path, tmp_path: Path) -> None:
    [one, _] = cli("bundle", "inspect", bundle, "--json").document["models"]
    name = f"one:{one['version']}"
    root = tmp_path / "registry"
    root.mkdir()
    with registries.DockerRegistry(root) as registry:
        target = f"docker://{registry.host}/lab/{name}"
        skopeo("copy", "-q", "--dest-tls-verify=false", f"oci-archive:{bundle}:{name}", target)
        line = ["modelpack", "--insecure", "pull", f"{registry.host}/lab/{name}", str(tmp_path / "pulled")]
        subprocess.run(line, check=True, capture_output=True)
    assert (tmp_path / "pulled" / "onnx" / "model.onnx").read_bytes() == CONTENTS["onnx/model.onnx"]

"""The Containerfile of ``ci docker``, built as printed by buildah, with a base image made here.

The base has no files but links and stubs: programs and interpreter are those of this machine, mounted for the
build. ``pip`` does nothing, since what it installs is mounted, too. Everything else is real: COPY, RUN, ENV,
USER and the layers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.e2e.command import InProcess
from tests.origin import Origin, model

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,  # builds an image
    pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can build without user namespaces"),
]


class Buildah:
    """buildah with images of its own, and without containers of a kernel: RUN is a chroot.

    Args:
        root: Directory for its images.
    """

    def __init__(self, root: Path) -> None:
        place = ["--root", str(root / "storage"), "--runroot", str(root / "run")]
        self._line = ["buildah", *place, "--storage-driver", "vfs"]
        self._output = root / "output"
        top = [Path("/") / name for name in ("bin", "sbin", "lib", "lib64")]
        self.links = [path for path in top if path.is_symlink()]
        seen = {Path("/usr"), ROOT, Path(sys.prefix), Path(sys.base_prefix)}
        mounted = sorted(seen | {path for path in top if path.is_dir() and not path.is_symlink()})
        self.mounts = [f"--volume={path}:{path}:ro" for path in mounted]

    def __call__(self, *words: str | Path) -> str:
        line = [*self._line, *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def run(self, image: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in an image, as a user that is not in it.

        The command writes into files: buildah loses what a short command in a chroot writes to its pipes now
        and then (that of 3 of 93 runs of ``echo``).
        """
        container = self("from", image)
        self._output.mkdir(exist_ok=True)
        files = [self._output / name for name in ("stdout", "stderr")]
        for file in files:
            file.write_text("")
            file.chmod(0o666)  # for the user in the image
        line = [*self._line, "run", "--isolation", "chroot", "--user", "12345", *self.mounts]
        line += [f"--volume={self._output}:/output", container, "--"]
        line += ["/bin/sh", "-c", 'exec "$@" >/output/stdout 2>/output/stderr', "sh"]
        done = subprocess.run([*line, *words], capture_output=True, text=True, check=False)
        out, err = (file.read_text() for file in files)
        return subprocess.CompletedProcess(words, done.returncode, out, err + done.stderr)


@pytest.fixture
def buildah(tmp_path: Path) -> Buildah:
    return Buildah(tmp_path)


@pytest.fixture
def project(inside: InProcess, origin: Origin) -> InProcess:
    """A project with two models of its own, and a checkout of modelfetch where the recipe expects it."""
    models = inside.work / "models"
    models.mkdir()
    for name in ("m", "n"):
        inside.serve(model(origin, {f"{name}.json": 20, "weights.bin": 3000}, name=name, catalog=models))
    (inside.work / "modelfetch.toml").write_text('models = ["m", "n"]\ncatalog = ["models"]\n')
    (inside.work / "tools" / "modelfetch").mkdir(parents=True)
    (inside.work / "tools" / "modelfetch" / "pyproject.toml").touch()
    return inside


def make_base(buildah: Buildah, project: InProcess) -> str:
    """Make the image that stands for one with Python."""
    files = project.home / "base"
    (files / "opt" / "bin").mkdir(parents=True)
    for path in buildah.links:
        (files / path.name).symlink_to(os.readlink(path))
    for name, text in {"pip": "exit 0", "modelfetch": f'exec {sys.executable} -m modelfetch "$@"'}.items():
        (files / "opt" / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (files / "opt" / "bin" / name).chmod(0o755)
    container = buildah("from", "scratch")
    buildah("copy", "--quiet", container, files, "/")
    environment = {
        "PATH": "/opt/bin:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": project.environment["HF_ENDPOINT"],
    }
    for name, value in environment.items():
        buildah("config", "--env", f"{name}={value}", container)
    buildah("commit", "--quiet", container, "localhost/base:1")
    return "localhost/base:1"


def layers_of(buildah: Buildah, image: str, target: Path) -> list[list[str]]:
    """The files in each layer of an image."""
    buildah("push", "--quiet", image, f"oci:{target}:x")
    blobs = target / "blobs" / "sha256"

    def read(digest: str) -> Path:
        return blobs / digest.removeprefix("sha256:")

    [entry] = json.loads((target / "index.json").read_text())["manifests"]
    layers = json.loads(read(entry["digest"]).read_text())["layers"]
    found = list[list[str]]()
    for layer in layers:
        with tarfile.open(read(layer["digest"])) as tar:
            found.append([member.name for member in tar.getmembers() if not member.isdir()])
    return found


def test_the_image_is_built_and_its_models_are_used(
    buildah: Buildah, project: InProcess, tmp_path: Path
) -> None:
    recipe = project("ci", "docker")
    assert recipe.code == 0, recipe.err
    (project.work / "Containerfile").write_text(recipe.out)
    base = make_base(buildah, project)
    build = ["bud", "--isolation", "chroot", "--network", "host", "--layers", *buildah.mounts]
    buildah(
        *build,
        *("--build-arg", f"PYTHON={base}", "--file", project.work / "Containerfile"),
        *("--tag", "localhost/models:1", project.work),
    )
    for words in (["ensure", "m", "n"], ["path", "m"], ["verify"]):
        done = buildah.run("localhost/models:1", "modelfetch", *words)
        assert done.returncode == 0, done.stderr
        if words[0] != "verify":
            assert done.stdout.splitlines()[0] == "/models/models/m/1"
    layers = layers_of(buildah, "localhost/models:1", tmp_path / "oci")
    for name, other in (("m", "n"), ("n", "m")):
        [layer] = [files for files in layers if f"models/models/{name}/1/weights.bin" in files]
        assert not [path for path in layer if path.startswith(f"models/models/{other}/")]

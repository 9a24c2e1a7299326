"""``bundle`` as a person runs it: from one machine to another one that has no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.errors import UsageError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.pins.imported import pin, planned
from modelfetch.workspace import Workspace
from tests.bundle.material import archive
from tests.e2e.command import Command, InProcess, assert_fails, bend
from tests.patience import HELD

pytestmark = pytest.mark.slow  # the same is tested in one process

ONE: Mapping[str, bytes] = {"config.json": b"{}", "onnx/model.onnx": os.urandom(300_000)}
TWO: Mapping[str, bytes] = {"config.json": b"{}", "model.gguf": os.urandom(5000)}


def prepare(cli: Command, name: str, contents: Mapping[str, bytes]) -> None:
    """Make a model present, and pin it in the user's catalog."""
    source = cli.home / f"{name}-source"
    for path, data in contents.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    adopted = cli("adopt", f"{source}", "--name", name)
    assert adopted.code == 0, adopted.err


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> InProcess:
    """A machine with two models."""
    made = InProcess(tmp_path_factory.mktemp("machine"))
    prepare(made, "one", ONE)
    prepare(made, "two", TWO)
    return made


@pytest.fixture(scope="module")
def created(machine: InProcess) -> Path:
    """A bundle of both."""
    path = machine.work / "models.tar"
    made = machine("bundle", "create", "one", "two", "-o", "models.tar")
    assert (made.code, made.lines) == (0, [str(path)]), made.err
    assert made.stderr_lines("bundled 2 models, 4 files")
    return path


@pytest.fixture
def there(tmp_path: Path) -> InProcess:
    """Another machine."""
    return InProcess(tmp_path / "there")


@pytest.fixture
def bundle(created: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, which a test may damage."""
    return Path(shutil.copy(created, tmp_path / "models.tar"))


def by_size(member: tuple[str, bytes]) -> int:
    return len(member[1])


def is_filled(path: Path) -> bool:
    """Whether a path is a journal with lines of some verified MiB."""
    return path.name.startswith("journal") and path.stat().st_size > 2000


def flip(path: Path, content: bytes) -> None:
    """Change one bit of a content that a bundle has."""
    data = bytearray(path.read_bytes())
    data[data.index(content[-1000:]) + 500] ^= 4
    path.write_bytes(data)


def test_two_bundles_of_the_same_models_have_the_same_bytes(
    machine: InProcess, tmp_path: Path, bundle: Path
) -> None:
    target = tmp_path / "again.tar"
    again = machine("bundle", "create", "two", "one", "two", "-o", target, "--json").document
    assert [model["model"] for model in again["models"]] == ["two", "one"]
    assert (again["paths"], again["files"], again["blobs"]) == ([str(target)], 4, 3)
    assert bundle.read_bytes() == target.read_bytes()


def test_a_bundle_is_imported_without_the_network(there: InProcess, bundle: Path) -> None:
    imported = there("bundle", "import", bundle)
    assert imported.code == 0, imported.err
    for directory, contents in zip(map(Path, imported.lines), (ONE, TWO), strict=True):
        assert {path: (directory / path).read_bytes() for path in contents} == contents
    assert there("ensure", "one", "two", "--offline", "--quiet").lines == imported.lines
    assert there("verify").code == 0
    catalog = there.home / "config" / "modelfetch" / "catalog"
    assert sorted(path.name for path in catalog.iterdir()) == ["one.toml", "two.toml"]


def test_a_second_import_changes_nothing(there: InProcess, bundle: Path) -> None:
    first, second = (there("bundle", "import", bundle, "--json").document["models"] for _ in range(2))
    assert [model["state"] for model in first] == ["imported", "imported"]
    assert [model["state"] for model in second] == ["present", "present"]
    assert [model["path"] for model in first] == [model["path"] for model in second]
    assert [model["manifest"] for model in second] == [None, None]
    assert len(there.files("blobs")) == 3, "the file that both have is there once"


def test_an_unpacked_bundle_and_one_in_volumes_are_imported(
    machine: InProcess, there: InProcess, tmp_path: Path, bundle: Path
) -> None:
    layout = tmp_path / "layout"
    layout.mkdir()
    subprocess.run(["tar", "-xf", bundle, "-C", layout], check=True)
    assert len(there("bundle", "import", layout).lines) == 2
    there.cache.rename(tmp_path / "first")
    split = machine("bundle", "create", "one", "two", "-o", tmp_path / "s.tar", "--volume-size", "100 kB")
    volumes = [Path(line) for line in split.lines]
    assert len(volumes) == 4
    assert b"".join(path.read_bytes() for path in volumes) == bundle.read_bytes()
    for path in (volumes[0], tmp_path / "s.tar"):
        assert len(there("bundle", "import", path).lines) == 2


def test_a_cut_bundle_is_refused_and_the_whole_one_is_imported(
    there: InProcess, tmp_path: Path, bundle: Path
) -> None:
    with tarfile.open(bundle) as tar:
        members = {info.name: tar.extractfile(info) for info in tar.getmembers()}
        contents = sorted(((name, file.read()) for name, file in members.items() if file), key=by_size)
    whole = archive(contents)
    bundle.write_bytes(whole[:-150_000])  # in the largest blob, behind all documents
    assert_fails(there("bundle", "import", bundle), 5, "cut off: it lacks 1 file", "run the command again")
    assert not there.cache.exists()
    assert not there("bundle", "inspect", bundle, "--json").document["complete"]
    bundle.write_bytes(whole)
    assert len(there("bundle", "import", bundle).lines) == 2


def test_of_a_damaged_bundle_only_what_is_right_is_pinned(there: InProcess, bundle: Path) -> None:
    good = bundle.read_bytes()
    flip(bundle, ONE["onnx/model.onnx"])
    ended = there("bundle", "import", bundle)
    assert_fails(ended, 5, "onnx/model.onnx")
    assert ended.lines == there("path", "two").lines
    assert there("path", "one").code == 3, "it is not pinned"
    again = there("bundle", "import", bundle, "--json")
    assert (again.code, [model["state"] for model in again.document["models"]]) == (5, ["failed", "present"])
    bundle.write_bytes(good)
    assert len(there("bundle", "import", bundle).lines) == 2


def test_an_import_repairs_what_is_damaged_in_the_cache(there: InProcess, bundle: Path) -> None:
    assert there("bundle", "import", bundle, "--quiet").code == 0
    blob = max(there.files("blobs"), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    flip(blob, ONE["onnx/model.onnx"])
    assert there("verify", "--quiet").code == 5
    assert there("bundle", "import", bundle, "--quiet").code == 0
    assert there("verify", "--quiet").code == 0


def test_verify_finds_a_flipped_bit(machine: InProcess, bundle: Path) -> None:
    right = machine("bundle", "verify", bundle)
    assert (right.code, right.out) == (0, "")
    assert right.stderr_lines("blobs verified")
    flip(bundle, TWO["model.gguf"])
    found = machine("bundle", "verify", bundle)
    assert found.code == 5
    assert found.out.startswith("model.gguf of two:")
    document = machine("bundle", "verify", bundle, "--json").document
    assert (document["ok"], len(document["faults"])) == (False, 1)


def test_the_verifier_in_a_bundle_runs_alone(machine: InProcess, tmp_path: Path, bundle: Path) -> None:
    made = machine("bundle", "create", "one", "-o", tmp_path / "v.tar", "--with-verifier")
    assert made.code == 0, made.err
    path = tmp_path / "v.tar"
    subprocess.run(["tar", "-xf", path, "verify.py"], check=True, cwd=tmp_path)

    def check(target: Path) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-I", "-S", "verify.py", str(target)]
        return subprocess.run(line, check=False, cwd=tmp_path, env={}, capture_output=True, encoding="utf-8")

    for good in (path, bundle):
        assert check(good).returncode == 0, check(good).stderr
    flip(path, ONE["onnx/model.onnx"])
    damaged = check(path)
    assert (damaged.returncode, damaged.stderr) == (5, "")
    assert damaged.stdout.startswith("onnx/model.onnx of one:")
    assert check(tmp_path / "nowhere").returncode == 5


def test_images_are_carried_as_well(machine: InProcess, there: InProcess, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    for target in (path, tmp_path / "again.tar"):
        made = machine("bundle", "create", "one", "two", "-o", target, "--form", "image", "--json")
        # config.json is in both, but in an image it has a layer of its own for each path only
        assert (made.document["files"], made.document["blobs"]) == (4, 3)
    assert path.read_bytes() == (tmp_path / "again.tar").read_bytes()
    models = machine("bundle", "inspect", path, "--json").document["models"]
    assert [model["form"] for model in models] == ["image", "image"]
    assert machine("bundle", "verify", path).code == 0
    imported = there("bundle", "import", path)
    assert imported.code == 0, imported.err
    for directory, contents in zip(map(Path, imported.lines), (ONE, TWO), strict=True):
        assert {file: (directory / file).read_bytes() for file in contents} == contents
    layout = tmp_path / "layout"
    layout.mkdir()
    subprocess.run(["tar", "-xf", path, "-C", layout], check=True)
    for place in (path, layout):
        shutil.rmtree(there.cache)
        ensured = there("ensure", "one", "two", "--offline", "--from", place)
        assert (ensured.code, ensured.lines) == (0, imported.lines), ensured.err
    flip(path, ONE["onnx/model.onnx"])
    found = machine("bundle", "verify", path)
    assert (found.code, found.out.partition(":")[0]) == (5, "onnx/model.onnx of one")
    shutil.rmtree(there.cache)
    assert_fails(there("bundle", "import", path), 5, "onnx/model.onnx")
    assert there("path", "two").code == 0


def test_an_image_that_exists_is_refused_before_files_are_read(
    machine: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.work / "taken.tar").write_bytes(b"")
    monkeypatch.setattr("modelfetch.bundle.writer.members_of", None)
    line = ["bundle", "create", "one", "-o", "taken.tar", "--form", "image"]
    assert_fails(machine(*line), 2, "exists already")
    (machine.work / "taken.tar").unlink()


def test_inspect_lists_the_models(machine: InProcess, bundle: Path) -> None:
    listed = machine("bundle", "inspect", bundle)
    assert [line.split()[0] for line in listed.lines] == ["model", "one", "two"]
    document = machine("bundle", "inspect", bundle, "--json").document
    assert document["complete"]
    assert [model["paths"] for model in document["models"]] == [sorted(ONE), sorted(TWO)]
    index = subprocess.run(["tar", "-xOf", bundle, "index.json"], check=True, capture_output=True).stdout
    digests = [entry["digest"] for entry in json.loads(index)["manifests"]]
    assert [model["digest"] for model in document["models"]] == digests


def test_a_name_that_stands_for_other_files_is_refused_before_anything_is_read(
    machine: InProcess, there: InProcess, tmp_path: Path
) -> None:
    path = tmp_path / "b.tar"
    machine("bundle", "create", "one", "-o", path)
    prepare(there, "one", TWO)
    held = there.files("blobs")
    assert_fails(there("bundle", "import", path), 2, "'one' stands for other files", "--name")
    assert there.files("blobs") == held
    renamed = there("bundle", "import", path, "--name", "uno")
    assert renamed.code == 0, renamed.err
    assert there("path", "uno").lines == renamed.lines
    assert_fails(there("bundle", "import", path, "--name", "../x"), 2, "the name '../x'")


def test_two_imports_at_once_both_succeed(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "MODELFETCH_CONFIG": str(tmp_path / "config" / "config.toml")}
    workspace = Workspace.open(environ=environ, cwd=tmp_path)
    manifest = Manifest("tiny", "1", (FileSpec("a", 1, "00" * 32),))
    first, second = planned(workspace, [manifest]), planned(workspace, [manifest])
    (other,) = planned(workspace, [replace(manifest, files=(FileSpec("b", 1, "00" * 32),))])
    assert pin(workspace, first[0]) is not None
    assert pin(workspace, second[0]) is None
    with pytest.raises(UsageError, match="exists already"):
        pin(workspace, other)


def test_a_bundle_of_what_is_absent_or_damaged_is_not_written(inside: InProcess) -> None:
    prepare(inside, "one", ONE)
    blob = max(inside.files("blobs"), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    flip(blob, ONE["onnx/model.onnx"])
    assert_fails(inside("bundle", "create", "one", "-o", "b.tar"), 5, "is damaged", "--repair")
    assert os.listdir(inside.work) == []
    assert_fails(inside("bundle", "create", "demo", "-o", "b.tar"), 4, "demo is not present", "ensure demo")
    assert_fails(inside("bundle", "create", "nonsense-x", "-o", "b.tar"), 3)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["import", "nowhere"], 3, "does not exist"),
        (["inspect", "nowhere"], 3, "does not exist"),
        (["verify", ""], 2, "is empty"),
        (["inspect", "."], 2, "is not an OCI image layout"),
        (["import", "/dev/null"], 5, "is not a regular file"),
        (["create", "one", "-o", ""], 2, "--output is empty"),
        (["create", "one", "-o", "b.tar", "--volume-size", "x"], 2, "--volume-size"),
        (["create", "one", "-o", "b.tar", "--form", "x"], 2, "--form"),
        (["create", "one", "-o", "b.tar", "--volume-size", "1"], 2, "at least 512 bytes"),
        (["create", "one", "-o", "taken"], 2, "exists already"),
        (["create", "one", "-o", "no/such/b.tar"], 7, "cannot write"),
        (["make"], 2, "did you mean create?"),
    ],
)
def test_wrong_calls_say_what_to_do(machine: InProcess, words: list[str], code: int, message: str) -> None:
    (machine.work / "taken").write_text("mine")
    before = os.listdir(machine.work)
    assert_fails(machine("bundle", *words), code, message)
    assert os.listdir(machine.work) == before


STOPPING_DISK = f"""
import os, time
real = os.pwrite
left = int(os.environ.get("DISK_STOPS_AFTER", 1 << 40))
def pwrite(descriptor, data, offset):
    global left
    left -= len(data)
    if left < 0:
        time.sleep({HELD})
    return real(descriptor, data, offset)
os.pwrite = pwrite
"""
"""A disk that takes so many bytes and then stops: the middle of a file lasts."""


@pytest.mark.slow  # two processes
@pytest.mark.parametrize("form", ["modelpack", "image"])
def test_an_import_that_is_killed_continues_in_the_middle_of_a_file(tmp_path: Path, form: str) -> None:
    machine, cli = InProcess(tmp_path / "machine"), Command(tmp_path / "killed")
    large = os.urandom(1 << 20) * 300
    prepare(machine, "large", {"model.bin": large})
    bundle = tmp_path / "b.tar"
    assert machine("bundle", "create", "large", "-o", bundle, "--form", form).code == 0
    bend(cli, STOPPING_DISK)
    with cli.start("bundle", "import", bundle, DISK_STOPS_AFTER=f"{200 << 20}") as running:
        running.until(lambda _: any(is_filled(path) for path in cli.files("partial")))
        running.process.kill()
        running.process.wait()
    assert not cli.files("blobs")
    continued = cli("bundle", "import", bundle)
    assert continued.code == 0, continued.err
    assert continued.stderr_lines("1 to fetch", "in the cache already")
    assert (Path(continued.out.strip()) / "model.bin").read_bytes() == large


# As a source


@pytest.fixture
def pinned(machine: InProcess, there: InProcess) -> InProcess:
    """Another machine, which has the pins of both models and no file of them."""
    catalog = machine.home / "config" / "modelfetch" / "catalog"
    shutil.copytree(catalog, there.catalog, dirs_exist_ok=True)
    return there


@pytest.mark.parametrize("form", ["file", "volumes", "layout", "models"])
def test_a_bundle_is_a_source(
    machine: InProcess, pinned: InProcess, tmp_path: Path, bundle: Path, form: str
) -> None:
    place = bundle
    if form == "volumes":
        place = tmp_path / "s.tar"
        machine("bundle", "create", "one", "two", "-o", place, "--volume-size", "70 kB")
    elif form == "layout":
        place = tmp_path / "layout"
        place.mkdir()
        subprocess.run(["tar", "-xf", bundle, "-C", place], check=True)
    elif form == "models":
        place = machine.cache / "models"
    assert_fails(pinned("ensure", "one", "two", "--offline"), 4)
    ensured = pinned("ensure", "one", "two", "--offline", "--from", place)
    assert ensured.code == 0, ensured.err
    for directory, contents in zip(map(Path, ensured.lines), (ONE, TWO), strict=True):
        assert {path: (directory / path).read_bytes() for path in contents} == contents


def test_a_bundle_in_the_settings_is_a_source(pinned: InProcess, bundle: Path) -> None:
    assert pinned("config", "set", "sources.local", str(bundle)).code == 0
    assert pinned("ensure", "one", "--offline").code == 0


def test_a_damaged_bundle_gives_what_is_right(pinned: InProcess, bundle: Path) -> None:
    flip(bundle, ONE["onnx/model.onnx"])
    assert_fails(pinned("ensure", "one", "two", "--only", "local", "--from", bundle), 5, "onnx/model.onnx")
    assert pinned("path", "two").code == 0
    assert pinned("path", "one").code == 4


def test_from_needs_something_that_is_there(pinned: InProcess, bundle: Path) -> None:
    assert_fails(pinned("ensure", "one", "--from", "nowhere"), 3, "does not exist", "--from")
    assert_fails(pinned("ensure", "one", "--from", ""), 2, "--from is empty")
    bundle.write_bytes(b"no bundle" * 100)
    ended = pinned("ensure", "one", "--from", bundle, "--offline")
    assert ended.code == 4
    assert ended.stderr_lines("note:", "is not used as a source")

"""``adopt``: what another program has on this disk is pinned and made present without a request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelfetch.engine.events import RunFinished
from modelfetch.engine.options import EnsureOptions
from modelfetch.engine.setup import RunOptions
from modelfetch.errors import UnknownModelError, UsageError
from modelfetch.model.manifest import Manifest
from modelfetch.model.parse import load_manifest
from modelfetch.pins.adopt import Adopted, Adopter, models_at
from modelfetch.pins.digests import StoreDigests
from modelfetch.workspace import Workspace
from tests.pins.hub_cache import COMMIT, add_repository, blob_name, flip_a_bit, shared_place

SMALL, LARGE = b'{"a": 1}', bytes(range(256)) * 8
FILES = {"config.json": SMALL, "onnx/model.onnx": LARGE}
OTHER = "beef" + "0" * 36


class Machine:
    """A home with the caches of other programs, and a cache of our own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hub = root / "hub"
        self.ollama = root / "ollama"
        self.environ = {
            "HOME": str(root),
            "MODELFETCH_CACHE_DIR": str(root / "cache"),
            "MODELFETCH_CONFIG": str(root / "config" / "config.toml"),
            "HF_HUB_CACHE": str(self.hub),
            "OLLAMA_MODELS": str(self.ollama),
        }

    def workspace(self) -> Workspace:
        return Workspace.open(environ=self.environ, cwd=self.root)

    def adopt(self, target: str, name: str | None = None, *, dry_run: bool = False) -> list[Adopted]:
        workspace = self.workspace()
        adopter = Adopter(workspace, StoreDigests(workspace.store, keep=not dry_run), dry_run=dry_run)
        return [adopter.adopt(model, name) for model in models_at(workspace, target)]

    def ensure(self, *names: str) -> RunFinished:
        """Make pinned models present from this disk alone."""
        workspace = self.workspace()
        options = EnsureOptions(run=RunOptions(only=("local",)))
        *_, last = workspace.ensure(workspace.manifests(names), options)
        assert isinstance(last, RunFinished)
        return last

    def placed(self, name: str) -> dict[str, bytes]:
        """The files of a model in our cache."""
        workspace = self.workspace()
        [manifest] = workspace.manifests([name])
        directory = workspace.store.directory(manifest)
        return {file.path: (directory / file.path).read_bytes() for file in manifest.files}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def only(found: list[Adopted]) -> Adopted:
    [one] = found
    return one


def written(adopted: Adopted) -> Manifest:
    assert adopted.path is not None
    return load_manifest(adopted.path, adopted.path.read_bytes())


# The cache of the Hugging Face libraries


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("tree", [None, FILES])
def test_a_snapshot_is_pinned_and_made_present(
    machine: Machine, shared: bool, tree: Mapping[str, bytes] | None
) -> None:
    add_repository(machine.hub, "models--Org--Name", FILES, shared=shared, tree=tree)
    adopted = only(machine.adopt("hf"))
    assert (adopted.state, adopted.name, adopted.place) == ("adopted", "name", "hf:Org/Name")
    manifest = written(adopted)
    assert manifest.huggingface is not None
    assert (manifest.huggingface.repo, manifest.huggingface.revision) == ("Org/Name", COMMIT)
    assert (manifest.version, manifest.homepage) == (COMMIT[:12], "https://huggingface.co/Org/Name")
    assert manifest.upstream is not None
    assert (manifest.upstream.ref, manifest.upstream.stated) == ("hf:Org/Name", "huggingface")
    assert manifest.upstream.added == "", "its upstream was never asked, so a check is due"
    assert bool(adopted.notices) == (tree is None)
    assert machine.ensure("name").exit_code == 0
    assert machine.placed("name") == FILES


def test_no_blob_of_ours_is_a_file_of_the_other_program(machine: Machine) -> None:
    folder = add_repository(machine.hub, "models--org--name", FILES)
    machine.adopt("hf")
    machine.ensure("name")
    theirs = {path.stat().st_ino for path in (folder / "blobs").iterdir()}
    ours = {path.stat().st_ino for path in (machine.root / "cache" / "blobs").rglob("*") if path.is_file()}
    assert len(ours) == 2
    assert not ours & theirs


def test_a_cache_without_links_is_adopted(machine: Machine) -> None:
    add_repository(machine.hub, "models--org--name", FILES, linked=False)
    manifest = written(only(machine.adopt("hf")))
    assert manifest.upstream is not None
    assert manifest.upstream.stated == "computed"
    assert machine.ensure("name").exit_code == 0


def test_types_branches_and_licenses_are_kept(machine: Machine) -> None:
    card = b'---\ntags: [x]\nlicense: "apache-2.0"\n---\n# Name\nlicense: mit\n'
    add_repository(machine.hub, "datasets--org--data", {"README.md": card}, refs=("v1.0", "v1.1"))
    manifest = written(only(machine.adopt("hf")))
    assert (manifest.kind, manifest.license) == ("dataset", "Apache-2.0")
    assert manifest.upstream is not None
    assert manifest.upstream.ref == "hf:datasets/org/data@v1.0"


def test_other_commits_get_names_of_their_own(machine: Machine) -> None:
    add_repository(machine.hub, "models--org--name", {"a": b"1"}, commit=OTHER, refs=())
    add_repository(machine.hub, "models--org--name", {"a": b"2"})
    found = machine.adopt("hf")
    assert [(each.name, each.place) for each in found] == [
        ("name", "hf:org/name"),
        (f"name-{OTHER[:7]}", f"hf:org/name@{OTHER}"),
    ]
    assert machine.ensure("name", f"name-{OTHER[:7]}").exit_code == 0


def test_an_incomplete_snapshot_is_reported_and_skipped(machine: Machine) -> None:
    add_repository(machine.hub, "models--org--part", {"config.json": SMALL}, tree=FILES)
    broken = add_repository(machine.hub, "models--org--broken", FILES)
    (broken / "blobs" / blob_name(LARGE)).unlink()
    add_repository(machine.hub, "models--org--whole", {"x": b"x"}, tree={"x": b"x", ".gitattributes": b""})
    found = {each.place: each for each in machine.adopt("hf")}
    assert [each.state for each in found.values()] == ["incomplete", "incomplete", "adopted"]
    assert "onnx/model.onnx" in found["hf:org/part"].reason
    assert "onnx/model.onnx" in found["hf:org/broken"].reason
    assert [path.name for path in (machine.root / "config" / "catalog").iterdir()] == ["whole.toml"]


def test_a_part_of_a_repository_is_adopted_by_its_reference(machine: Machine) -> None:
    """As of `hf download --include`: without `include` the pin would pass for the whole repository."""
    here = {"m-Q4_K_M.gguf": LARGE, "config.json": SMALL, ".gitattributes": b"x"}
    add_repository(machine.hub, "models--org--part", here, tree={**here, "m-Q8_0.gguf": LARGE + b"x"})
    skipped = only(machine.adopt("hf"))
    assert (skipped.state, skipped.manifest) == ("incomplete", None)
    assert "modelfetch adopt hf:org/part" in skipped.hint
    adopted = only(machine.adopt("hf:org/part"))
    assert adopted.state == "adopted"
    assert "1 of its files" in adopted.notices[0]
    origin = written(adopted).upstream
    assert origin is not None
    assert origin.include == ("config.json", "m-Q4_K_M.gguf")
    assert machine.ensure("part").exit_code == 0
    assert set(machine.placed("part")) == {"m-Q4_K_M.gguf", "config.json"}


def test_a_snapshot_without_a_listing_may_be_a_part(machine: Machine) -> None:
    add_repository(machine.hub, "models--org--old", FILES)
    origin = written(only(machine.adopt("hf"))).upstream
    assert origin is not None
    assert origin.include == tuple(FILES)


def test_a_shard_without_the_others_is_reported(machine: Machine) -> None:
    add_repository(machine.hub, "models--org--old", {"m-00001-of-00002.safetensors": LARGE})
    assert "one of 2 parts" in only(machine.adopt("hf")).notices[1]


def test_a_damaged_small_file_is_not_pinned(machine: Machine) -> None:
    folder = add_repository(machine.hub, "models--org--name", FILES)
    flip_a_bit(folder / "blobs" / blob_name(SMALL))
    adopted = only(machine.adopt("hf"))
    assert (adopted.state, adopted.manifest) == ("damaged", None)
    assert "git blob id" in adopted.reason
    assert not (machine.root / "config").exists()


def test_a_truncated_file_is_found_by_the_listing(machine: Machine) -> None:
    folder = add_repository(machine.hub, "models--org--name", FILES, tree=FILES)
    (folder / "blobs" / blob_name(LARGE)).write_bytes(LARGE[:-1])
    assert only(machine.adopt("hf")).state == "damaged"


def test_a_damaged_large_file_never_becomes_present(machine: Machine) -> None:
    """Its digest is stated, so the pin is right, and a later run with a network can repair the model."""
    add_repository(machine.hub, "models--org--name", FILES, shared=True)
    flip_a_bit(shared_place(machine.hub, LARGE))
    assert only(machine.adopt("hf")).state == "adopted"
    assert machine.ensure("name").exit_code == 5
    assert not machine.workspace().is_present(machine.workspace().manifests(["name"])[0])


def test_adopting_again_changes_nothing_and_says_so(machine: Machine) -> None:
    add_repository(machine.hub, "models--org--name", FILES)
    before = only(machine.adopt("hf", "mine"))
    again = only(machine.adopt("hf"))
    assert (before.state, again.state, again.name, again.path) == ("adopted", "present", "mine", None)


def test_a_taken_name_is_refused_with_a_proposal(machine: Machine) -> None:
    add_repository(machine.hub, "models--a--name", {"x": b"1"})
    add_repository(machine.hub, "models--b--name", {"x": b"2"})
    add_repository(machine.hub, "models--me--whisper-base", {"x": b"3"})
    found = {each.place: each for each in machine.adopt("hf")}
    assert [each.state for each in found.values()] == ["adopted", "refused", "refused"]
    assert "modelfetch adopt hf:b/name --name" in found["hf:b/name"].hint
    assert "modelfetch adopt hf:me/whisper-base --name" in found["hf:me/whisper-base"].hint
    assert "built-in" in found["hf:me/whisper-base"].reason
    assert only(machine.adopt("hf:b/name", "b-name")).state == "adopted"


def test_several_variants_are_adopted_as_they_are(machine: Machine) -> None:
    files = {"m-Q4_K_M.gguf": LARGE, "m-Q8_0.gguf": LARGE + b"x"}
    add_repository(machine.hub, "models--org--m-gguf", files)
    manifest = written(only(machine.adopt("hf")))
    assert {file.path for file in manifest.files} == set(files)


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("hf:org/name", "hf:org/name"),
        ("hf:org/name@main", "hf:org/name"),
        (f"hf:org/name@{OTHER}", f"hf:org/name@{OTHER}"),
        (f"hf:org/name@{OTHER[:8]}", f"hf:org/name@{OTHER}"),
    ],
)
def test_one_snapshot_can_be_named(machine: Machine, target: str, place: str) -> None:
    add_repository(machine.hub, "models--org--name", {"a": b"1"}, commit=OTHER, refs=())
    add_repository(machine.hub, "models--org--name", {"a": b"2"})
    add_repository(machine.hub, "models--org--other", {"a": b"3"})
    assert only(machine.adopt(target)).place == place


@pytest.mark.parametrize("target", ["hf:org/nam", "hf:org/name@v2", "hf:datasets/org/name", "ollama:x"])
def test_what_is_not_there_is_an_unknown_model(machine: Machine, target: str) -> None:
    add_repository(machine.hub, "models--org--name", FILES)
    with pytest.raises(UnknownModelError):
        machine.adopt(target)


def test_a_repository_of_another_type_is_suggested(machine: Machine) -> None:
    add_repository(machine.hub, "datasets--org--name", FILES)
    with pytest.raises(UnknownModelError, match=r"'org/name'\. Did you mean 'datasets/org/name'\?"):
        machine.adopt("hf:org/name")


@pytest.mark.parametrize("below", ["", "snapshots", f"snapshots/{COMMIT}", f"snapshots/{COMMIT}/onnx"])
def test_directories_that_are_links_are_not_entered(machine: Machine, below: str) -> None:
    """In a shared cache another user could make any file of this user a part of a model."""
    folder = add_repository(machine.hub, "models--org--name", {"onnx/x": b"x"}, linked=False)
    (folder / below).rename(machine.root / "secrets")
    (folder / below).symlink_to(machine.root / "secrets")
    assert [each.manifest for each in machine.adopt("hf")] in ([], [None])


@pytest.mark.parametrize("name", ["models--e\x1b[31m--x", "models--..--x", "models--a b--c"])
def test_directories_that_no_library_made_are_left_out(machine: Machine, name: str) -> None:
    add_repository(machine.hub, name, FILES)
    assert machine.adopt("hf") == []


def test_a_dry_run_writes_nothing(machine: Machine) -> None:
    add_repository(machine.hub, "models--org--name", FILES)
    adopted = only(machine.adopt("hf", dry_run=True))
    assert (adopted.state, adopted.path) == ("adopted", None)
    assert sorted(path.name for path in machine.root.iterdir()) == ["hub"]


def test_an_empty_cache_has_nothing_to_adopt(machine: Machine) -> None:
    assert machine.adopt("hf") == machine.adopt("ollama") == []


# Ollama


def add_ollama(root: Path, name: str, layers: list[tuple[str, bytes]], *, partial: bool = False) -> None:
    """Write a model as ollama keeps it."""
    described = []
    for kind, data in layers:
        sha256 = hashlib.sha256(data).hexdigest()
        blob = root / "blobs" / f"sha256-{sha256}{'-partial' if partial else ''}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        described.append(
            {
                "mediaType": f"application/vnd.ollama.image.{kind}",
                "digest": f"sha256:{sha256}",
                "size": len(data),
            }
        )
    manifest = {"schemaVersion": 2, "layers": described}
    path = root / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest))


LLAMA = "registry.ollama.ai/library/llama3.2/1b"


def test_a_model_of_ollama_is_pinned_and_made_present(machine: Machine) -> None:
    layers = [("model", LARGE), ("template", b"{{ x }}"), ("license", b"one"), ("license", b"two")]
    add_ollama(machine.ollama, LLAMA, layers)
    adopted = only(machine.adopt("ollama"))
    assert (adopted.state, adopted.name, adopted.place) == ("adopted", "llama3.2-1b", "ollama:llama3.2:1b")
    manifest = written(adopted)
    assert manifest.oci == "registry.ollama.ai/library/llama3.2"
    assert manifest.upstream is not None
    assert (manifest.upstream.ref, manifest.upstream.stated) == ("ollama:llama3.2:1b", "ollama")
    assert machine.ensure(adopted.name).exit_code == 0
    assert machine.placed(adopted.name) == {
        "llama3.2-1b.gguf": LARGE,
        "template.txt": b"{{ x }}",
        "LICENSE": b"one",
        "LICENSE.2": b"two",
    }


def test_an_unfinished_model_of_ollama_is_reported(machine: Machine) -> None:
    add_ollama(machine.ollama, LLAMA, [("model", LARGE)], partial=True)
    adopted = only(machine.adopt("ollama"))
    assert (adopted.state, adopted.reason) == ("incomplete", "layers are not there: llama3.2-1b.gguf")
    assert "ollama pull llama3.2:1b" in adopted.hint


def test_a_truncated_layer_of_ollama_is_found_by_its_size(machine: Machine) -> None:
    add_ollama(machine.ollama, LLAMA, [("model", LARGE)])
    [blob] = (machine.ollama / "blobs").iterdir()
    blob.write_bytes(LARGE[:-1])
    adopted = only(machine.adopt("ollama"))
    assert (adopted.state, adopted.manifest) == ("damaged", None)
    assert adopted.reason == "layers of a wrong size: llama3.2-1b.gguf"


@pytest.mark.parametrize(
    ("target", "guess"),
    [("ollama:llama3.2", "It has: ollama:llama3.2:1b"), ("ollama:lama3.2", "Did you mean 'llama3.2'")],
)
def test_an_unknown_model_of_ollama_is_refused_with_a_guess(
    machine: Machine, target: str, guess: str
) -> None:
    add_ollama(machine.ollama, LLAMA, [("model", LARGE)])
    add_ollama(machine.ollama, "registry.ollama.ai/library/q/latest", [("model", LARGE)])
    with pytest.raises(UnknownModelError) as caught:
        machine.adopt(target)
    assert guess in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"layers": []}', '{"layers": [{"digest": "x"}]}', "[" * 100_000]
)
def test_a_damaged_manifest_of_ollama_is_reported(machine: Machine, text: str) -> None:
    path = machine.ollama / "manifests" / LLAMA
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert only(machine.adopt("ollama")).state == "damaged"


def test_other_files_among_the_manifests_are_ignored(machine: Machine) -> None:
    add_ollama(machine.ollama, "a/b/c", [("model", LARGE)])
    add_ollama(machine.ollama, "a/b/x/d/e", [("model", LARGE)])
    assert machine.adopt("ollama") == []


def test_one_model_of_ollama_can_be_named(machine: Machine) -> None:
    add_ollama(machine.ollama, LLAMA, [("model", LARGE)])
    add_ollama(machine.ollama, "example.org/me/other/latest", [("model", b"x")])
    assert only(machine.adopt("ollama:LLAMA3.2:1b")).name == "llama3.2-1b"
    assert only(machine.adopt("ollama:example.org/me/other")).name == "other"


# Directories


def test_a_directory_is_one_model(machine: Machine) -> None:
    directory = machine.root / "My Models"
    (directory / "onnx").mkdir(parents=True)
    (directory / "onnx" / "model.onnx").write_bytes(LARGE)
    (directory / "config.json").write_bytes(SMALL)
    adopted = only(machine.adopt(str(directory)))
    assert (adopted.state, adopted.name) == ("adopted", "my-models")
    manifest = written(adopted)
    assert manifest.upstream is not None
    assert (manifest.upstream.ref, manifest.upstream.stated) == (str(directory), "computed")
    (directory / "config.json").unlink()
    assert machine.ensure("my-models").exit_code == 0, "its bytes are in the cache already"
    assert machine.placed("my-models") == FILES


@pytest.mark.parametrize("place", ["missing", "org/name", "ms:org/name"])
def test_a_place_that_is_not_there_is_unknown(machine: Machine, place: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        machine.adopt(place)
    assert "hf:ORG/REPO" in caught.value.hint


def test_a_path_that_is_not_safe_is_refused_with_a_command_that_leaves_it_out(machine: Machine) -> None:
    directory = machine.root / "models"
    directory.mkdir()
    (directory / "a b").write_bytes(SMALL)
    refused = only(machine.adopt(str(directory)))
    assert (refused.state, refused.manifest) == ("refused", None)
    assert "--exclude 'a b'" in refused.hint
    assert f"modelfetch add {directory}" in refused.hint


def test_a_place_that_has_changed_is_refused_with_the_command_that_moves_its_pin(machine: Machine) -> None:
    directory = machine.root / "models"
    directory.mkdir()
    (directory / "a").write_bytes(SMALL)
    machine.adopt(str(directory))
    (directory / "b").write_bytes(LARGE)
    refused = only(machine.adopt(str(directory)))
    assert refused.state == "refused"
    assert "modelfetch upgrade models" in refused.hint
    (blob,) = [path for path in (machine.root / "cache" / "blobs").rglob("*") if path.is_file()]
    assert blob.read_bytes() == SMALL, "refused before the second file was read"


def test_an_empty_directory_has_nothing_to_pin(machine: Machine) -> None:
    (machine.root / "empty").mkdir()
    with pytest.raises(UsageError):
        machine.adopt(str(machine.root / "empty"))

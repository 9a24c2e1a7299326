"""``adopt`` and ``verify --hf`` as a person runs them, and bytes of other programs as a source."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.write import manifest_toml
from tests.e2e.command import Command, assert_fails
from tests.hubs.huggingface import HuggingFaceHub
from tests.hubs.registry import DOCKER_MANIFEST, Registry, digest_of, layer
from tests.pins.hub_cache import add_repository, blob_name, flip_a_bit

pytestmark = pytest.mark.slow  # the same is tested in one process

SMALL, LARGE = b'{"a": 1}', bytes(range(256)) * 8
FILES = {"config.json": SMALL, "onnx/model.onnx": LARGE}


def test_what_the_hugging_face_cache_has_is_adopted_and_used_without_it(cli: Command) -> None:
    hub = cli.home / "caches" / "huggingface" / "hub"
    add_repository(hub, "models--org--name", FILES)
    add_repository(hub, "models--org--part", {"config.json": b"{}"}, tree=FILES)
    adopted = cli("adopt", "hf", "--json")
    assert adopted.code == 0, adopted.err
    states = {model["from"]: (model["state"], model["present"]) for model in adopted.document["models"]}
    assert states == {"hf:org/name": ("adopted", True), "hf:org/part": ("incomplete", False)}
    hub.rename(cli.home / "elsewhere")
    found = cli("ensure", "name", "--offline", "--quiet")
    directory = Path(found.out.strip())
    assert {path: (directory / path).read_bytes() for path in FILES} == FILES


def test_a_damaged_file_ends_adopt_with_the_code_of_damage(cli: Command) -> None:
    hub = cli.home / "caches" / "huggingface" / "hub"
    folder = add_repository(hub, "models--org--name", FILES)
    flip_a_bit(folder / "blobs" / blob_name(LARGE))
    adopted = cli("adopt", "hf")
    assert adopted.code == 5, adopted.err
    assert adopted.lines[1].split()[:2] == ["name", "damaged"]
    assert adopted.stderr_lines("modelfetch ensure name")


def test_damage_in_the_hugging_face_cache_is_a_table(cli: Command) -> None:
    hub = cli.home / "caches" / "huggingface" / "hub"
    folder = add_repository(hub, "models--org--name", FILES)
    flip_a_bit(folder / "blobs" / blob_name(LARGE))
    found = cli("verify", "--hf", "org/name")
    assert_fails(found, 5, "1 of 2 files", "hf download")
    assert [line.split()[:3] for line in found.lines] == [
        ["repository", "file", "why"],
        ["org/name", "onnx/model.onnx", "hash"],
    ]
    assert not cli.cache.exists(), "the check writes nothing"


def test_bytes_of_ollama_and_of_a_directory_are_not_fetched(cli: Command) -> None:
    sha256 = hashlib.sha256(LARGE).hexdigest()
    ollama, nas = cli.home / ".ollama" / "models" / "blobs", cli.home / "nas" / "deep"
    for directory, name, data in ((ollama, f"sha256-{sha256}", LARGE), (nas, "other name", SMALL)):
        directory.mkdir(parents=True)
        (directory / name).write_bytes(data)
    files = (
        FileSpec("m.gguf", len(LARGE), sha256),
        FileSpec("x", len(SMALL), hashlib.sha256(SMALL).hexdigest()),
    )
    (cli.catalog / "m.toml").write_text(manifest_toml(Manifest("m", "1", files)), "utf-8")
    result = cli("ensure", "m", "--json", MODELFETCH_SOURCES_LOCAL=str(nas.parent))
    assert result.code == 0, result.err
    sources = {file["file"]: file["source"] for file in result.records[-1]["files"]}
    assert sources == {"m.gguf": f"local {ollama}", "x": f"local {nas}"}


def test_layers_that_ollama_has_are_not_fetched_from_its_registry(cli: Command) -> None:
    kind = "application/vnd.ollama.image."
    layers = [layer(LARGE, kind=f"{kind}model"), layer(b"{{ x }}", kind=f"{kind}template")]
    blobs = cli.home / ".ollama" / "models" / "blobs"
    blobs.mkdir(parents=True)
    for data in (LARGE, b"{{ x }}"):
        (blobs / digest_of(data).replace(":", "-")).write_bytes(data)
    with Registry() as registry:  # it has no blobs, only the manifest
        document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": layers}
        registry.push("library/llama3.2", "1b", document)
        result = cli("ensure", f"ollama:{registry.host}/library/llama3.2:1b", "--json")
        assert registry.paths() == ["GET /v2/library/llama3.2/manifests/1b"]
    assert result.code == 0, result.err
    [ready] = [record for record in result.records if record["event"] == "model_ready"]
    assert (ready["model"], ready["files"], ready["fetched"]) == ("llama3.2-1b", 2, 0)


def test_a_directory_is_adopted_and_its_large_files_are_read_from_there(cli: Command) -> None:
    big = bytes(range(256)) * 5000
    directory = cli.home / "My Model"
    directory.mkdir()
    (directory / "big.gguf").write_bytes(big)
    (directory / "config.json").write_bytes(SMALL)
    adopted = cli("adopt", directory, "--json")
    assert adopted.code == 0, adopted.err
    [model] = adopted.document["models"]
    assert (model["model"], model["state"], model["present"]) == ("my-model", "adopted", True)
    place = Path(model["path"])
    assert ((place / "big.gguf").read_bytes(), (place / "config.json").read_bytes()) == (big, SMALL)
    assert not (place / "big.gguf").samefile(directory / "big.gguf")


# With the real client


def hugging_face(home: Path, endpoint: str, code: str) -> None:
    """Run Python code with the libraries of Hugging Face and a home of their own."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": str(home)}
    environ |= {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "XDG_CACHE_HOME": str(home / "caches"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


SHARE = """
from huggingface_hub.utils._shared_blobs import publish_blob_to_shared_store
from pathlib import Path
import hashlib, os
hub = Path(os.environ["XDG_CACHE_HOME"], "huggingface", "hub")
for blob in hub.glob("models--*/blobs/*"):
    if len(blob.name) == 64:
        other = hashlib.blake2s(blob.read_bytes()).hexdigest()
        assert publish_blob_to_shared_store(
            blob_path=str(blob), xet_hash=other, cache_dir=str(hub), expected_size=blob.stat().st_size
        )
"""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed"
)
@pytest.mark.parametrize("shared", [False, True])
def test_a_cache_of_the_real_client_is_adopted_and_proven(cli: Command, shared: bool) -> None:
    with HuggingFaceHub() as hub:
        repo = hub.add("Org/Name", FILES)
        repo.tags["v1"] = repo.branches["main"]
        second = repo.commit({**FILES, "config.json": b"second"})
        hub.add("Org/Other", {"a.safetensors": LARGE, "README.md": b"---\nlicense: mit\n---\n"})
        download = "from huggingface_hub import snapshot_download as s\n"
        calls = "s('Org/Name', revision='v1'); s('Org/Name'); s('Org/Other')\n"
        hugging_face(cli.home, hub.endpoint, download + calls + (SHARE if shared else ""))
    good = cli("verify", "--hf")
    assert (good.code, good.out) == (0, ""), good.err
    adopted = cli("adopt", "hf", "--json")
    assert adopted.code == 0, adopted.err
    models = {model["from"]: model for model in adopted.document["models"]}
    assert {place: model["state"] for place, model in models.items()} == dict.fromkeys(
        ["hf:Org/Name", "hf:Org/Name@v1", "hf:Org/Other"], "adopted"
    )
    assert models["hf:Org/Name"]["version"] == second[:12]
    cache = cli.home / "caches" / "huggingface" / "hub"
    assert (cache / "blobs").exists() == shared
    damaged = [path.resolve() for path in cache.glob("models--Org--Name/blobs/*")]
    for path in damaged:
        path.chmod(0o644)
        flip_a_bit(path) if path.stat().st_size == len(LARGE) else path.write_bytes(path.read_bytes()[:-1])
    found = cli("verify", "--hf")
    assert found.code == 5
    assert len(found.lines) == 1 + len(damaged) + shared, "the shared file is in both repositories"
    cache.rename(cli.home / "gone")
    for model in models.values():
        again = cli("ensure", model["model"], "--offline", "--quiet")
        assert again.out.strip() == model["path"], again.err

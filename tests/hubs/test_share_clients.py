"""Clients of other authors use a shared cache: of Hugging Face, of registries, and of IPFS."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfetch.lazy_dataclass import replace
from tests.gateways.beds import modules, why_absent
from tests.hubs.test_real_clients import files_in, needs, run
from tests.server.shapes import Shapes
from tests.share.home import BIG, COMMIT, CONTENTS, Home, built, model
from tests.share.test_shared_blocks import directory_of

pytestmark = pytest.mark.slow

TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"hello": 0, "world": 1, "[UNK]": 2}, "unk_token": "[UNK]"},
}
TEXT = {
    "config.json": json.dumps({"model_type": "bert"}).encode(),
    "tokenizer.json": json.dumps(TOKENIZER).encode(),
    "tokenizer_config.json": json.dumps({"tokenizer_class": "BertTokenizer", "unk_token": "[UNK]"}).encode(),
}


def needs_program(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


def needs_bed(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(why_absent(name)), reason=why_absent(name) or name)


@pytest.fixture
def shapes(tmp_path: Path) -> Iterator[Shapes]:
    home = Home(tmp_path / "server")
    home.place(replace(model(oci="registry.example/models/tiny"), ipfs_cid=directory_of(CONTENTS).text))
    home.place(model("text", TEXT, "org/text"), TEXT)
    with Shapes(home) as server:
        yield server


@needs("huggingface_hub")
@pytest.mark.parametrize("way", ["snapshot_download", "hf download"])
def test_huggingface_hub_downloads_a_repository(tmp_path: Path, shapes: Shapes, way: str) -> None:
    variables = {"HF_ENDPOINT": f"http://127.0.0.1:{shapes.port}", "HF_TOKEN": "hf_secret"}
    if way == "hf download":
        run(tmp_path, "-m", "huggingface_hub.cli.hf", "download", "org/tiny", "--quiet", **variables)
    else:
        run(tmp_path, "-c", "from huggingface_hub import snapshot_download as s; s('org/tiny')", **variables)
    cache = tmp_path / ".cache/huggingface/hub/models--org--tiny"
    assert files_in(cache / "snapshots" / COMMIT) == CONTENTS
    assert (cache / "refs/main").read_text() == COMMIT
    for path in CONTENTS:  # every file is one of LFS there, so its blob has the name of its SHA-256
        blob = (cache / "snapshots" / COMMIT / path).resolve()
        assert blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()


@needs("huggingface_hub")
def test_huggingface_hub_verifies_what_it_downloaded(tmp_path: Path, shapes: Shapes) -> None:
    variables = {"HF_ENDPOINT": f"http://127.0.0.1:{shapes.port}"}
    hf = ("-m", "huggingface_hub.cli.hf")
    run(tmp_path, *hf, "download", "org/tiny", "--quiet", **variables)
    run(tmp_path, *hf, "cache", "verify", "org/tiny", **variables)


@needs("huggingface_hub")
def test_huggingface_hub_reads_the_api(tmp_path: Path, shapes: Shapes) -> None:
    code = """
import json
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
api = HfApi()
info = api.model_info("tiny", files_metadata=True)
tree = [each.path for each in api.list_repo_tree("org/tiny", recursive=True)]
refs = [each.target_commit for each in api.list_repo_refs("org/tiny").branches]
some = [each.path for each in api.get_paths_info("org/tiny", ["config.json", "none"])]
disk = HfFileSystem()
content = disk.cat("org/tiny/onnx/q4/model.onnx").decode()
size = disk.info("org/tiny/onnx/model.onnx")["size"]
errors = []
for name, revision, path in [("org/x", "main", "a"), ("org/tiny", "x", "a"), ("org/tiny", "main", "a")]:
    try:
        hf_hub_download(name, path, revision=revision)
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        errors.append(type(error).__name__)
sizes = {each.rfilename: each.size for each in info.siblings}
found = {"sizes": sizes, "tree": tree, "refs": refs, "errors": errors, "some": some, "size": size}
print(json.dumps(found | {"sha": info.sha, "content": content}))
"""
    found = json.loads(run(tmp_path, "-c", code, HF_ENDPOINT=f"http://127.0.0.1:{shapes.port}"))
    assert (found["sha"], found["refs"]) == (COMMIT, [COMMIT])
    assert found["sizes"] == {path: len(content) for path, content in CONTENTS.items()}
    assert set(found["tree"]) == {*CONTENTS, "onnx", "onnx/q4"}
    assert found["errors"] == ["RepositoryNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError"]
    assert (found["some"], found["content"], found["size"]) == (["config.json"], "small", len(BIG))
    # An absence is not remembered: a manifest may pin some files of a repository only.
    assert not list(tmp_path.rglob(".no_exist"))


@needs_bed("transformers")
def test_transformers_js_loads_a_tokenizer(tmp_path: Path, shapes: Shapes) -> None:
    script = Path(__file__).with_name("transformers.mjs")
    host = f"http://127.0.0.1:{shapes.port}/"
    line = ["node", str(script), str(modules("transformers")), host, str(tmp_path / "js"), "org/text"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"type": "bert", "ids": [0, 1]}
    for path, content in TEXT.items():
        [cached] = tmp_path.joinpath("js").rglob(path)
        assert cached.read_bytes() == content


@needs_program("skopeo")
@pytest.mark.parametrize("name", ["tiny:v1", "models/tiny:latest"])
def test_skopeo_copies_an_artifact(tmp_path: Path, shapes: Shapes, name: str) -> None:
    source = f"docker://127.0.0.1:{shapes.port}/{name}"
    line = ["skopeo", "copy", "--src-tls-verify=false", source, f"oci:{tmp_path}/copy:tiny"]
    subprocess.run(line, check=True, capture_output=True, timeout=120, env=_environment(tmp_path))
    blobs = {path.name: path.read_bytes() for path in (tmp_path / "copy/blobs/sha256").iterdir()}
    assert all(hashlib.sha256(content).hexdigest() == name for name, content in blobs.items())
    assert {hashlib.sha256(content).hexdigest() for content in CONTENTS.values()} <= blobs.keys()


@needs_program("skopeo")
def test_skopeo_lists_tags_and_reads_a_digest(tmp_path: Path, shapes: Shapes) -> None:
    def skopeo(*words: str) -> bytes:
        line = ["skopeo", words[0], "--tls-verify=false", *words[1:]]
        done = subprocess.run(line, check=True, capture_output=True, timeout=120, env=_environment(tmp_path))
        return done.stdout

    place = f"docker://127.0.0.1:{shapes.port}/tiny"
    assert json.loads(skopeo("list-tags", place))["Tags"] == ["latest", "v1"]
    manifest = skopeo("inspect", "--raw", f"{place}:latest")
    assert skopeo("inspect", "--raw", f"{place}@sha256:{hashlib.sha256(manifest).hexdigest()}") == manifest


@needs_program("modelpack")
def test_another_client_of_modelpack_pulls_a_model(tmp_path: Path, shapes: Shapes) -> None:
    line = [
        "modelpack",
        "--insecure",
        "pull",
        f"127.0.0.1:{shapes.port}/tiny:latest",
        str(tmp_path / "pulled"),
    ]
    subprocess.run(line, check=True, capture_output=True, timeout=120, env=_environment(tmp_path))
    pulled = files_in(tmp_path / "pulled")
    assert pulled.pop("tiny.toml").startswith(b"schema = 1")
    assert pulled == CONTENTS


@needs_bed("helia_client")
@pytest.mark.parametrize("target", [built(BIG).root.text, f"{directory_of(CONTENTS).text}/onnx/model.onnx"])
def test_helia_reads_a_file_through_the_gateway(shapes: Shapes, target: str) -> None:
    script = Path(__file__).parents[1] / "gateways" / "beds" / "helia_client.mjs"
    line = ["node", str(script), str(modules("helia_client")), f"http://127.0.0.1:{shapes.port}", target]
    done = subprocess.run(line, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == BIG


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home)}

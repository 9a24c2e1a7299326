"""The loopback hubs are accepted by the real clients of Hugging Face and ModelScope, and agree with them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.model.reference import RepoReference
from modelfetch.net.client import Client
from modelfetch.net.hub_client import HubClient
from modelfetch.net.time_limits import Limits
from modelfetch.upstreams.huggingface import HuggingFace
from modelfetch.upstreams.modelscope import ModelScope
from tests.hubs.huggingface import Cdn, HuggingFaceHub
from tests.hubs.modelscope import ModelScopeSite

FILES = {
    "config.json": b'{"a": 1}\n',
    "empty.txt": b"",
    "onnx/model.onnx": bytes(range(256)) * 400,
    "tokenizer/vocab.txt": "ä\n".encode() * 50,
}

pytestmark = pytest.mark.slow


def needs(package: str) -> pytest.MarkDecorator:
    is_missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(is_missing, reason=f"{package} is not installed")


@pytest.fixture
def requests() -> Iterator[HubClient]:
    client = Client(Limits(), Cancellation())
    yield HubClient(client, Cancellation())
    client.close()


def run(home: Path, *arguments: str, **variables: str) -> str:
    """Run Python with a home of its own, and return what it prints."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **variables,
    }
    done = subprocess.run(
        [sys.executable, *arguments], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def files_in(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    }


@needs("huggingface_hub")
@pytest.mark.parametrize("way", ["snapshot_download", "hf download"])
def test_huggingface_hub_downloads_from_the_loopback_hub(
    tmp_path: Path, way: str, requests: HubClient
) -> None:
    with Cdn() as cdn, HuggingFaceHub(page_size=2, cdn=cdn) as hub:
        repo = hub.add("org/repo", FILES)
        repo.tags["v1"] = repo.branches["main"]
        repo.commit({"config.json": b"new"})
        cdn.add(FILES["onnx/model.onnx"])
        variables = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_x"}
        if way == "hf download":
            command = ("-m", "huggingface_hub.cli.hf", "download", "org/repo", "--revision", "v1", "--quiet")
            run(tmp_path, *command, **variables)
        else:
            code = "from huggingface_hub import snapshot_download as s; s('org/repo', revision='v1')"
            run(tmp_path, "-c", code, **variables)
        cache = tmp_path / ".cache/huggingface/hub/models--org--repo"
        [snapshot] = (cache / "snapshots").iterdir()
        assert files_in(snapshot) == FILES
        assert {request.token for request in cdn.requests} == {""}
        listing = HuggingFace(requests, hub.endpoint, None).resolve(RepoReference("hf", "org/repo", "v1"))
    assert listing.revision == snapshot.name
    blobs = {path: (snapshot / path).resolve().name for path in FILES}
    assert {file.path: file.sha256 or file.git_blob for file in listing.files} == blobs
    [tree] = (cache / "trees").glob("*.json")
    theirs = json.loads(tree.read_text())["files"]
    assert {path: facts.get("lfs_sha256") for path, facts in theirs.items()} == {
        file.path: file.sha256 for file in listing.files
    }


@needs("huggingface_hub")
def test_huggingface_hub_reads_datasets_and_private_repositories(tmp_path: Path) -> None:
    with HuggingFaceHub() as hub:
        hub.add("org/data", FILES, kind="dataset").token = "hf_secret"
        code = "from huggingface_hub import snapshot_download as s; print(s('org/data', repo_type='dataset'))"
        found = run(tmp_path, "-c", code, HF_ENDPOINT=hub.endpoint, HF_TOKEN="hf_secret")
    assert files_in(Path(found.strip())) == FILES


@needs("modelscope_hub")
def test_modelscope_hub_downloads_from_the_loopback_site(tmp_path: Path, requests: HubClient) -> None:
    with ModelScopeSite() as site:
        site.add("org/repo", FILES)
        code = (
            "from modelscope_hub import HubApi; print(HubApi().download_repo('org/repo', repo_type='model'))"
        )
        variables = {"MODELSCOPE_ENDPOINT": site.endpoint, "MODELSCOPE_CACHE": str(tmp_path / "cache")}
        found = run(tmp_path, "-c", code, **variables)
        listing = ModelScope(requests, site.endpoint, None).resolve(RepoReference("ms", "org/repo"))
    assert files_in(Path(found.strip().splitlines()[-1])) == FILES
    assert {file.path: file.sha256 for file in listing.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()
    }

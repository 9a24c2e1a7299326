"""Real clients, cold, through a server that fetches: what they get, and what the origin sees."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.ipfs.cid import RAW, cid_of
from modelfetch.model.reference import RepoReference
from modelfetch.server.pin_on_demand import PinOnDemand
from tests.gateways.beds import modules
from tests.hubs.huggingface import HuggingFaceHub
from tests.hubs.server import Reply, Request
from tests.hubs.test_real_clients import files_in, needs, run
from tests.hubs.test_share_clients import TEXT, needs_bed
from tests.server.pulling import Pulling, pulling

FILES = {
    "config.json": b'{"a": 1}\n',
    "empty.txt": b"",
    "onnx/model.onnx": bytes(range(256)) * 4000,
    "tokenizer/vocab.txt": "ä\n".encode() * 50,
}
PATIENCE_SECONDS = 5
"""Read timeout of the clients here. Between two interim responses, the server has time for much else."""
SLOW_SECONDS = PATIENCE_SECONDS + 1.0
"""Seconds that the origin waits: longer than the clients would."""

pytestmark = pytest.mark.slow


@pytest.fixture
def hub() -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub() as running:
        running.add("org/repo", FILES)
        yield running


@pytest.fixture
def server(tmp_path: Path, hub: HuggingFaceHub) -> Iterator[Pulling]:
    with pulling(tmp_path, None, HF_ENDPOINT=hub.endpoint) as running:
        running.share_state.on_demand = PinOnDemand(running.server.workspace)
        running.share_state.waiting.interim_seconds = 0.3
        yield running


def endpoint(server: Pulling) -> str:
    return f"http://127.0.0.1:{server.server.port}"


def slow(hub: HuggingFaceHub, path: str) -> None:
    """Have the origin send a file only after some seconds."""

    def wait(request: Request) -> Reply:
        time.sleep(SLOW_SECONDS)
        return hub.answer(request)

    hub.script(path, wait)


def download(server: Pulling, home: Path, way: str, **environ: str) -> dict[str, bytes]:
    """Download the repository with a client of Hugging Face; returns its files."""
    to = home / "files"
    if way == "hf download":
        arguments = ["-m", "huggingface_hub.cli.hf", "download", "org/repo", "--local-dir", str(to)]
    else:
        call = f"huggingface_hub.snapshot_download('org/repo', local_dir={str(to)!r})"
        arguments = ["-c", f"import huggingface_hub; {call}"]
    run(home, *arguments, HF_ENDPOINT=endpoint(server), **environ)
    return files_in(to)


@needs("huggingface_hub")
@pytest.mark.parametrize("way", ["snapshot_download", "hf download"])
def test_huggingface_hub_downloads_cold_and_warm(
    tmp_path: Path, hub: HuggingFaceHub, server: Pulling, way: str
) -> None:
    for state in ("cold", "warm"):
        assert download(server, tmp_path / state, way) == FILES
    # One request for each file: the small ones when they were pinned, the large one when it was asked for.
    assert sorted(hub.targets("/resolve/")) == sorted(set(hub.targets("/resolve/")))
    server.until_idle()
    hub.is_dead = True
    assert download(server, tmp_path / "without the origin", way) == FILES


@needs("huggingface_hub")
@pytest.mark.parametrize("way", ["snapshot_download", "hf download"])
def test_huggingface_hub_waits_for_a_slow_origin(
    tmp_path: Path, hub: HuggingFaceHub, server: Pulling, way: str
) -> None:
    slow(hub, "onnx/model.onnx")
    limits = dict.fromkeys(("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"), f"{PATIENCE_SECONDS}")
    assert download(server, tmp_path / "slow", way, **limits) == FILES
    assert len(hub.targets("onnx/model.onnx")) == 1


@needs("huggingface_hub")
def test_huggingface_hub_waits_for_a_slow_pin(tmp_path: Path, hub: HuggingFaceHub, server: Pulling) -> None:
    slow(hub, "/tree/")
    limits = dict.fromkeys(("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"), f"{PATIENCE_SECONDS}")
    assert download(server, tmp_path / "slow", "snapshot_download", **limits) == FILES
    assert len(hub.targets("/tree/")) == 1


@needs("huggingface_hub")
def test_huggingface_hub_fetches_one_file_alone(tmp_path: Path, hub: HuggingFaceHub, server: Pulling) -> None:
    call = "huggingface_hub.hf_hub_download('org/repo', 'config.json')"
    path = run(tmp_path, "-c", f"import huggingface_hub; print({call})", HF_ENDPOINT=endpoint(server))
    assert Path(path.strip()).read_bytes() == FILES["config.json"]
    assert not hub.targets("onnx/model.onnx")


SCRIPT = """
const started = Date.now();
const answer = await fetch(process.argv[1]);
const body = await answer.arrayBuffer();
console.log(JSON.stringify({status: answer.status, size: body.byteLength, ms: Date.now() - started}));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_node_waits_for_a_slow_origin(tmp_path: Path, hub: HuggingFaceHub, server: Pulling) -> None:
    slow(hub, "onnx/model.onnx")
    url = f"{endpoint(server)}/org/repo/resolve/main/onnx/model.onnx"
    command = ["node", "--input-type=module", "-e", SCRIPT, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["status"], found["size"]) == (200, len(FILES["onnx/model.onnx"]))
    assert found["ms"] > SLOW_SECONDS * 900


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_waits_for_a_slow_origin(tmp_path: Path, hub: HuggingFaceHub, server: Pulling) -> None:
    slow(hub, "onnx/model.onnx")
    url = f"{endpoint(server)}/org/repo/resolve/main/onnx/model.onnx"
    done = subprocess.run(["curl", "-sSf", url], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, FILES["onnx/model.onnx"]), done.stderr


@needs("requests")
def test_requests_waits_for_a_slow_origin(tmp_path: Path, hub: HuggingFaceHub, server: Pulling) -> None:
    slow(hub, "onnx/model.onnx")
    url = f"{endpoint(server)}/org/repo/resolve/main/onnx/model.onnx"
    get = f"requests.get({url!r}, timeout={PATIENCE_SECONDS})"
    code = f"import requests; r = {get}; print(r.status_code, len(r.content))"
    assert run(tmp_path, "-c", code).split() == ["200", str(len(FILES["onnx/model.onnx"]))]


@needs_bed("transformers")
def test_transformers_js_loads_a_tokenizer_cold(tmp_path: Path, hub: HuggingFaceHub, server: Pulling) -> None:
    hub.add("org/text", TEXT)
    slow(hub, "/tree/")
    script = Path(__file__).with_name("transformers.mjs")
    to = str(tmp_path / "js")
    line = ["node", str(script), str(modules("transformers")), f"{endpoint(server)}/", to, "org/text"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"type": "bert", "ids": [0, 1]}
    assert len(hub.targets("/tree/")) == 1


# A registry, and a gateway


@pytest.fixture
def pinned(tmp_path: Path, hub: HuggingFaceHub) -> Iterator[Pulling]:
    """A server whose catalog pins the repository, so that it has a name in the shape of a registry."""
    with pulling(tmp_path, None, HF_ENDPOINT=hub.endpoint) as running:
        pin = PinOnDemand(running.server.workspace)
        assert pin.pin("", RepoReference("hf", "org/repo"))
        yield running


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_copies_cold_from_a_slow_origin(tmp_path: Path, hub: HuggingFaceHub, pinned: Pulling) -> None:
    slow(hub, "onnx/model.onnx")
    source = f"docker://127.0.0.1:{pinned.server.port}/org--repo:latest"
    to = tmp_path / "copied"
    command = ["skopeo", "copy", "--src-tls-verify=false", source, f"dir:{to}"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    digests = {hashlib.sha256(content).hexdigest() for content in FILES.values() if content}
    assert digests <= {path.name for path in to.iterdir()}


@pytest.mark.skipif(shutil.which("modelpack") is None, reason="modelpack is not installed")
def test_a_client_of_modelpack_pulls_cold_from_a_slow_origin(
    tmp_path: Path, hub: HuggingFaceHub, pinned: Pulling
) -> None:
    slow(hub, "onnx/model.onnx")
    to = tmp_path / "pulled"
    line = ["modelpack", "--insecure", "pull", f"127.0.0.1:{pinned.server.port}/org--repo:latest", str(to)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    pulled = files_in(to)
    assert pulled.pop("org--repo.toml").startswith(b"schema = 1")
    assert pulled == FILES
    assert len(hub.targets("onnx/model.onnx")) == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_gateway_request_fetches_the_file(hub: HuggingFaceHub, pinned: Pulling) -> None:
    content = FILES["onnx/model.onnx"]  # one chunk, so its CID follows from its SHA-256
    assert not hub.targets("onnx/model.onnx")
    name = cid_of(content, RAW).text
    url = f"{endpoint(pinned)}/ipfs/{name}?format=raw"
    done = subprocess.run(["curl", "-sSf", url], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, content), done.stderr

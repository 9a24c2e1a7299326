"""Artifacts pushed to Debian's registry by clients that are not ours: resolved, fetched, and resumed."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from modelfetch.server.pin_on_demand import PinOnDemand
from tests.e2e.command import Command, assert_fails, keep_all
from tests.e2e.relay import Relay
from tests.hubs.registry import CONFIG, FILEPATH, MODELPACK, OCI_INDEX, OCI_MANIFEST, RAW, Registry, digest_of
from tests.server.pulling import pulling

registries = pytest.importorskip("tests.hubs.docker_registry")

pytestmark = [
    pytest.mark.slow,  # real processes, one after the other
    pytest.mark.skipif(registries.PROGRAM is None, reason="docker-registry is not installed"),
]

REPOSITORY = "lab/tiny"
BIG = 8_000_000
DESCRIBED = {"name": "tiny", "title": "Tiny", "licenses": ["MIT"]}

Pusher = Callable[[str, dict[str, bytes], Path], None]


def files() -> dict[str, bytes]:
    """A model: a large file, a small one, and an empty one; modelpack-client keeps base names only."""
    return {"model.safetensors": os.urandom(BIG), "config.json": b"{}", "empty.txt": b""}


def _config(contents: dict[str, bytes]) -> dict[str, Any]:
    layers = {"type": "layers", "diffIds": [digest_of(data) for data in contents.values()]}
    return {"descriptor": DESCRIBED, "config": {"format": "safetensors"}, "modelfs": layers}


def push_by_modelpack(host: str, contents: dict[str, bytes], root: Path) -> None:
    """Push with modelpack-client (PyPI)."""
    config = root / "config"
    config.write_text(json.dumps(_config(contents)), "utf-8")
    layers = []
    for path, data in contents.items():
        file = root / "model" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        layers += ["--layer", f"{path}:{RAW}"]
    line = ["modelpack", "--insecure", "push", f"{host}/{REPOSITORY}:1", "--config", str(config), *layers]
    subprocess.run(line, check=True, cwd=root / "model", capture_output=True)


def push_by_skopeo(host: str, contents: dict[str, bytes], root: Path) -> None:
    """Push with skopeo, from an OCI layout."""
    layout = root / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes) -> dict[str, Any]:
        (blobs / digest_of(data).removeprefix("sha256:")).write_bytes(data)
        return {"digest": digest_of(data), "size": len(data)}

    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": MODELPACK,
        "config": {"mediaType": CONFIG} | blob(json.dumps(_config(contents)).encode()),
        "layers": [
            {"mediaType": RAW, "annotations": {FILEPATH: path}} | blob(data)
            for path, data in contents.items()
        ],
    }
    named = {"annotations": {"org.opencontainers.image.ref.name": "1"}, "mediaType": OCI_MANIFEST}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX}
    index["manifests"] = [named | blob(json.dumps(document).encode())]
    (layout / "index.json").write_text(json.dumps(index), "utf-8")
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', "utf-8")
    target = f"docker://{host}/{REPOSITORY}:1"
    line = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:1", target]
    subprocess.run(line, check=True, capture_output=True)


PUSHERS = [
    pytest.param(
        push, id=program, marks=pytest.mark.skipif(shutil.which(program) is None, reason="not installed")
    )
    for program, push in (("modelpack", push_by_modelpack), ("skopeo", push_by_skopeo))
]


class Lab:
    """A registry with one artifact, and a relay before it that records requests."""

    def __init__(self, root: Path, stack: ExitStack, push: Pusher, auth: str) -> None:
        self.contents = files()
        self.root = root
        root.mkdir()
        with registries.DockerRegistry(root) as open_to_all:
            push(open_to_all.host, self.contents, root)
        self.service = stack.enter_context(Registry(login=(registries.USER, registries.PASSWORD)))
        served = stack.enter_context(registries.DockerRegistry(root, self._auth(auth)))
        self.relay = Relay(served.port)
        stack.callback(self.relay.close)
        self.host = f"127.0.0.1:{self.relay.port}"

    def _auth(self, auth: str) -> dict[str, Any] | None:
        if auth == "token":
            tokens = registries.TokenService(self.root)
            self.service.token_answer = {"token": tokens.token(REPOSITORY)}
            section: dict[str, Any] = tokens.auth(f"{self.service.endpoint}/token")
            return section
        return registries.htpasswd(self.root) if auth == "htpasswd" else None

    def log_in(self, home: Path) -> dict[str, str]:
        """Write a login as Docker does; returns the environment that names it."""
        pair = base64.b64encode(f"{registries.USER}:{registries.PASSWORD}".encode()).decode()
        home.mkdir(exist_ok=True)
        (home / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": pair}}}), "utf-8")
        return {"DOCKER_CONFIG": str(home)}


@pytest.mark.parametrize("auth", ["open", "htpasswd", "token"])
@pytest.mark.parametrize("push", PUSHERS)
def test_what_another_client_pushed_is_pinned_fetched_and_resumed(
    cli: Command, tmp_path: Path, push: Pusher, auth: str
) -> None:
    with ExitStack() as stack:
        lab = Lab(tmp_path / "lab", stack, push, auth)
        reference = f"oci:{lab.host}/{REPOSITORY}:1"
        if auth != "open":
            assert_fails(cli("add", reference), 3, "private and needs a login", "docker login")
        login = {} if auth == "open" else lab.log_in(tmp_path / "docker")
        added = cli("add", reference, "--name", "tiny", "--json", **login)
        assert added.code == 0, added.err
        pinned = (cli.home / "config/modelfetch/catalog/tiny.toml").read_text("utf-8")
        for path, data in lab.contents.items():
            assert f'path = "{path}"\nsize = {len(data)}\nsha256 = "{digest_of(data)[7:]}"' in pinned
        assert 'license = "MIT"' in pinned
        blobs = [each for each in lab.relay.requests if "/blobs/" in each]
        assert len(blobs) <= 2, "the config alone, with and without a credential"
        interrupted(cli, login)
        lab.relay.requests.clear()
        result = cli("ensure", "tiny", **login)
        assert result.code == 0, result.err
        place = Path(result.lines[0])
        assert {path: (place / path).read_bytes() for path in lab.contents} == lab.contents
        starts = [
            int(found) for found in re.findall(r"range: bytes=(\d+)-", "".join(lab.relay.requests), re.I)
        ]
        assert max(starts) > 0, "resumed in the middle"
        assert cli("ensure", "tiny", "--offline").code == 0


def interrupted(cli: Command, login: dict[str, str]) -> None:
    """Start a transfer, and interrupt it in the middle of the large file."""
    keep_all(cli)
    env = login | {"MODELFETCH_NETWORK_LIMIT_RATE": "200kB", "MODELFETCH_NETWORK_CONNECTIONS": "1"}
    with cli.start("ensure", "tiny", "--json", **env) as running:
        running.until(lambda each: re.search(r'"received":[1-9]\d{5}', each.out) is not None)
        running.interrupt()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Any]:
    """A registry whose name has no port: container tools take none for a part of a name."""
    root, pid = tmp_path / "registry", os.getpid()
    root.mkdir()
    try:
        made = registries.DockerRegistry(root, address=(f"127.83.{pid >> 8 & 255}.{pid & 255 | 1}", 80))
    except OSError as error:
        pytest.skip(f"no registry can listen on port 80: {error}")
    with made as running:
        yield running


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="not installed")
def test_skopeo_copies_an_artifact_that_is_pinned_for_it(tmp_path: Path, registry: Any) -> None:
    contents = files()
    push_by_skopeo(registry.host, contents, tmp_path)
    with pulling(tmp_path / "server", None) as server:
        server.share_state.on_demand = PinOnDemand(server.server.workspace, [f"{registry.host}/*"])
        source = f"docker://127.0.0.1:{server.server.port}/{registry.host}/{REPOSITORY}:1"
        line = ["skopeo", "copy", "-q", "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}"]
        subprocess.run(line, check=True, capture_output=True, timeout=120)
        raw = ["skopeo", "inspect", "--tls-verify=false", "--raw"]
        own, theirs = (
            subprocess.run([*raw, place], check=True, capture_output=True, timeout=120).stdout
            for place in (source, f"docker://{registry.host}/{REPOSITORY}:1")
        )
    copied = {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()}
    assert {digest_of(data)[7:]: data for data in contents.values()}.items() <= copied.items()
    assert (copied["manifest.json"], own != theirs) == (own, True)

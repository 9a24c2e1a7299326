"""``bundle push`` to Debian's registry: cut connections, a killed process, and what skopeo reads."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from tests.e2e.command import Command, assert_fails
from tests.hubs.push_registry import PushRegistry
from tests.hubs.registry import digest_of
from tests.patience import IN_TIME

registries = pytest.importorskip("tests.hubs.docker_registry")

pytestmark = pytest.mark.slow  # real processes, one after the other
needs_registry = pytest.mark.skipif(registries.PROGRAM is None, reason="docker-registry is not installed")

MEBIBYTE = 1 << 20
BIG = 80 * MEBIBYTE
"""Two chunks and a half."""


class Counting:
    """A connection to a port of this machine that counts what a client sends, and can be cut."""

    def __init__(self, target: int) -> None:
        self.passed = 0
        self.cut_at: int | None = None
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._serving: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() alone does not
        self._thread.join()
        self._listener.close()
        for thread in self._serving:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._serving.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._serving[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
            back.start()
            self._pump(client, server, True)
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket, is_counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.passed += len(data) * is_counted  # before whoever gets the bytes can act on them
                target.sendall(data)
                if self.cut_at is not None and self.passed >= self.cut_at:
                    self.cut_at = None
                    break
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def files() -> dict[str, bytes]:
    return {"onnx/model.onnx": os.urandom(BIG), "config.json": b"{}", "empty.txt": b""}


@pytest.fixture
def machine(tmp_path: Path, files: dict[str, bytes]) -> Command:
    """A machine that has the model tiny."""
    machine = Command(tmp_path / "machine")
    for path, data in files.items():
        file = machine.home / "tiny" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    adopted = machine("adopt", machine.home / "tiny", "--name", "tiny", "--quiet")
    assert adopted.code == 0, adopted.err
    return machine


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "registry").mkdir()
    with registries.DockerRegistry(tmp_path / "registry") as registry:
        yield registry


def pushed(machine: Command, host: str) -> dict[str, Any]:
    result = machine("bundle", "push", "tiny", f"oci:{host}/lab/tiny:1", "--json")
    assert result.code == 0, result.out
    [model] = result.document["models"]
    return dict(model)


@needs_registry
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_what_is_pushed_is_read_by_skopeo_skipped_then_and_fetched(
    machine: Command, files: dict[str, bytes], registry: Any, tmp_path: Path
) -> None:
    first = pushed(machine, registry.host)
    assert first["sent"] == first["size"] > BIG
    second = pushed(machine, registry.host)
    assert (second["sent"], second["tagged"]) == (0, True)
    place = f"docker://{registry.host}/lab/tiny"
    for tag in (":1", f"@{first['digest']}"):
        line = ["skopeo", "inspect", "--raw", "--tls-verify=false", place + tag]
        raw = subprocess.run(line, check=True, capture_output=True).stdout
        assert digest_of(raw) == first["digest"]
    bundle = tmp_path / "tiny.tar"
    assert machine("bundle", "create", "tiny", "-o", bundle).code == 0
    [bundled] = machine("bundle", "inspect", bundle, "--json").document["models"]
    assert bundled["digest"] == first["digest"]
    other = Command(tmp_path / "other")
    pulled = other("bundle", "pull", f"oci:{registry.host}/lab/tiny:1", "--quiet")
    assert pulled.code == 0, pulled.err
    assert {path: (Path(pulled.out.strip()) / path).read_bytes() for path in files} == files
    assert other("show", "tiny", "--json").document["identity"] == bundled["identity"]


@needs_registry
def test_a_cut_costs_one_blob_where_the_registry_drops_the_upload(
    machine: Command, files: dict[str, bytes], registry: Any
) -> None:
    with Counting(registry.port) as network:
        network.cut_at = 50 * MEBIBYTE
        model = pushed(machine, network.host)
        sent = {blob["path"]: blob["sent"] for blob in model["blobs"]}
        assert 49 * MEBIBYTE + BIG < sent["onnx/model.onnx"] < 65 * MEBIBYTE + BIG
        assert sent["config.json"] == len(files["config.json"])
        network.passed = 0
        assert pushed(machine, network.host)["sent"] == 0
        assert network.passed < 10_000, "heads of requests alone"


@needs_registry
def test_a_login_that_docker_stored_is_used(machine: Command, tmp_path: Path) -> None:
    root = tmp_path / "registry"
    root.mkdir()
    with registries.DockerRegistry(root, registries.htpasswd(root)) as registry:
        refused = machine("bundle", "push", "tiny", f"oci:{registry.host}/lab/tiny")
        assert_fails(refused, 9, f"docker login {registry.host}")
        pair = base64.b64encode(f"{registries.USER}:{registries.PASSWORD}".encode()).decode()
        (machine.home / "config.json").write_text(
            json.dumps({"auths": {registry.host: {"auth": pair}}}), "utf-8"
        )
        machine.environment["DOCKER_CONFIG"] = str(machine.home)
        assert pushed(machine, registry.host)["sent"] > BIG


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_push_whose_process_ended_continues_in_the_middle_of_the_file(
    machine: Command, number: signal.Signals
) -> None:
    with PushRegistry(hold_at=8 * MEBIBYTE) as registry:
        with machine.start("bundle", "push", "tiny", f"oci:{registry.host}/lab/tiny:1") as running:
            assert registry.held.wait(IN_TIME)
            ended = running.interrupt(number)
        registry.go.set()
        assert registry.over.wait(IN_TIME)
        assert ended.code == (130 if number is signal.SIGINT else -9)
        if number is signal.SIGINT:
            assert ended.stderr_lines("cancelled; run the command again to continue")
        model = pushed(machine, registry.host)
        [big] = [blob for blob in model["blobs"] if blob["size"] == BIG]
        assert big["continued_at"] >= 8 * MEBIBYTE
        assert big["sent"] == BIG - big["continued_at"]
        small = [blob["state"] for blob in model["blobs"] if blob["path"] in ("config.json", "empty.txt")]
        assert small == ["present", "present"], "they were there already"
        assert digest_of(registry.blobs[big["digest"]]) == big["digest"]

"""Interim responses keep a client waiting: each kind of client gets the status that it waits on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.server.interim_responses import interim_status
from tests.origin import Origin, ServedModel, faults, model
from tests.patience import IN_TIME
from tests.server.pulling import Pulling, pulling
from tests.server.test_pull_through import data, digest

AGENTS = {
    "unknown/None; hf_hub/2.4.0; python/3.11.2": 100,
    "unknown/None; hf_hub/0.20.0; python/3.8.10; torch/2.1": 100,
    "python-requests/2.34.2": 100,
    "Python-urllib/3.11": 100,
    "python-httpx/0.28.1": 100,
    "Python/3.11 aiohttp/3.9.1": 100,
    "node": 102,
    "undici": 102,
    "transformers.js/3.8.1; is_ci/false;": 102,
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": 102,
    "Bun/1.2": 102,
    "modelfetch/0.1": None,
    "curl/8.5.0": None,
    "Go-http-client/1.1": None,
    "containers/5.36 (github.com/containers/image)": None,
    "docker/27.1 go/go1.21": None,
    "": None,
}


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(("agent", "status"), AGENTS.items())
def test_the_status_suits_the_client(agent: str, status: int | None) -> None:
    assert interim_status("1.1", {"user-agent": agent, "connection": "keep-alive"}) == status


DIRECT = {"user-agent": "python-requests/2", "connection": "keep-alive"}


def test_an_old_client_gets_none() -> None:
    assert interim_status("1.1", DIRECT) == 100
    assert interim_status("1.0", DIRECT) is None


@pytest.mark.parametrize(
    "header",
    [
        {"via": "1.1 proxy"},
        {"forwarded": "for=192.0.2.1"},
        {"x-forwarded-for": "192.0.2.1"},
        {"x-real-ip": "192.0.2.1"},
        {"connection": "close"},  # what nginx sends by default
        {"connection": "upgrade"},
    ],
)
def test_a_proxy_gets_none(header: dict[str, str]) -> None:
    """nginx takes an interim response for the final one."""
    assert interim_status("1.1", {**DIRECT, **header}) is None
    assert interim_status("1.1", {"user-agent": "python-requests/2"}) is None


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as running:
        yield running


@pytest.fixture
def served(tmp_path: Path, origin: Origin) -> ServedModel:
    return model(origin, {"big.bin": 300_000}, catalog=tmp_path / "catalog")


@pytest.fixture
def server(tmp_path: Path, served: ServedModel) -> Iterator[Pulling]:
    with pulling(tmp_path, served) as running:
        running.share_state.waiting.interim_seconds = 0.02
        yield running


def ask(server: Pulling, sha256: str, agent: str, version: str = "1.1") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.server.port), timeout=IN_TIME)
    fields = f"Host: 127.0.0.1:{server.server.port}\r\nUser-Agent: {agent}\r\nConnection: keep-alive"
    client.sendall(f"GET /blobs/sha256/{sha256} HTTP/{version}\r\n{fields}\r\n\r\n".encode())
    return client


def read_until(end: bytes, client: socket.socket, got: bytes = b"") -> bytes:
    """Read until the last bytes of a body."""
    while not got.endswith(end):
        piece = client.recv(65536)
        assert piece, got[-300:]
        got += piece
    return got


@pytest.mark.parametrize(
    ("agent", "line"),
    [("python-requests/2", b"HTTP/1.1 100 Continue"), ("node", b"HTTP/1.1 102 Processing")],
)
def test_a_client_gets_interim_responses_until_the_file_is_there(
    origin: Origin, served: ServedModel, server: Pulling, agent: str, line: bytes
) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(0.5, until=go))
    with ask(server, digest(served, "big.bin"), agent) as client:
        got = b""
        while got.count(line) < 3:
            piece = client.recv(100)
            assert piece, got
            got += piece
        go.set()
        got = read_until(data(served, "big.bin"), client, got)
    heads, _, body = got.partition(b"HTTP/1.1 200 OK")
    assert heads == (line + b"\r\n\r\n") * heads.count(line)
    assert body.endswith(data(served, "big.bin"))
    assert body.count(b"HTTP/1.1") == 0


@pytest.mark.parametrize(("agent", "version"), [("curl/8.5.0", "1.1"), ("python-requests/2", "1.0")])
def test_another_client_gets_none(
    origin: Origin, served: ServedModel, server: Pulling, agent: str, version: str
) -> None:
    origin.fault("*big.bin", faults.late(0.2))
    with ask(server, digest(served, "big.bin"), agent, version) as client:
        got = read_until(data(served, "big.bin"), client)
    assert got.startswith(b"HTTP/1.1 200 OK")


def test_a_failure_follows_interim_responses(origin: Origin, served: ServedModel, server: Pulling) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.all_of(faults.status(404), faults.stall(until=go)))
    with ask(server, digest(served, "big.bin"), "python-requests/2") as client:
        got = client.recv(100)
        go.set()
        got = read_until(b"}}\n", client, got)
    assert got.startswith(b"HTTP/1.1 100 Continue")
    assert b"HTTP/1.1 502 Bad Gateway" in got

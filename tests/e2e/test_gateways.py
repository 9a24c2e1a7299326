"""IPFS gateways with the real command: what dead ones cost, and a proven file."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.profiles import UNIXFS_V1_2025
from tests.e2e.command import InProcess
from tests.gateways.dags import Dag, random_bytes
from tests.gateways.gateway import Gateway
from tests.origin import Origin
from tests.patience import IN_TIME

DATA = random_bytes(3_000_000)


@pytest.fixture
def cli(inside: InProcess) -> InProcess:
    return inside


@pytest.fixture
def dag() -> Dag:
    return Dag()


@pytest.fixture
def silent() -> Iterator[list[socket.socket]]:
    """Three servers where connections are accepted and nothing is answered."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]


def were_asked(servers: list[socket.socket]) -> list[bool]:
    """Whether anybody connected to each server since the last look."""
    asked = []
    for server in servers:
        server.setblocking(False)
        connections = 0
        with suppress(BlockingIOError):
            while True:
                server.accept()[0].close()
                connections += 1
        asked.append(connections > 0)
    return asked


def pin(cli: InProcess, cid: Cid, url: str = "") -> None:
    """Write a manifest of DATA."""
    urls = f'urls = ["{url}"]\n' if url else ""
    sha256 = hashlib.sha256(DATA).hexdigest()
    cli.catalog.mkdir(exist_ok=True)
    (cli.catalog / "m.toml").write_text(
        f'schema = 1\nname = "m"\nversion = "1"\n\n[[files]]\npath = "a.bin"\nsize = {len(DATA)}\n'
        f'sha256 = "{sha256}"\ncid = "{cid.text}"\n{urls}',
        "utf-8",
    )


@pytest.mark.slow
def test_three_dead_gateways_cost_six_seconds_once(
    cli: InProcess, origin: Origin, dag: Dag, silent: list[socket.socket]
) -> None:
    """Two for each; without that limit each would take half a minute."""
    origin.add("a.bin", DATA)
    pin(cli, dag.file(DATA, UNIXFS_V1_2025), origin.url("/files/a.bin"))
    environment = {
        "MODELFETCH_IPFS_GATEWAYS": ",".join(
            f"http://127.0.0.1:{server.getsockname()[1]}" for server in silent
        )
    }
    first = cli("ensure", "m", **environment)
    assert first.code == 0, first.err
    assert len(first.stderr_lines("fallback: ipfs")) == 3
    assert first.seconds < IN_TIME
    assert were_asked(silent) == [True, True, True]
    second = cli("ensure", "m", "--force", **environment)
    assert second.code == 0, second.err
    assert second.stderr_lines("fallback:") == []
    assert were_asked(silent) == [False, False, False]


def test_a_wrong_chunk_of_a_gateway_costs_that_chunk(cli: InProcess, dag: Dag) -> None:
    cid = dag.file(DATA, UNIXFS_V1_2025)
    with Gateway(dag) as liar, Gateway(dag) as honest:
        liar.faults.wrong = {[each.multihash for each, _ in dag.walk(cid)][2]}
        pin(cli, cid)
        result = cli("ensure", "m", "--only", "ipfs", MODELFETCH_IPFS_GATEWAYS=f"{liar.url},{honest.url}")
        assert result.code == 0, result.err
        [line] = result.stderr_lines("fallback: ipfs")
        assert "1.0-2.0 MiB" in line
        ranges = [each.headers["range"] for each in honest.requests if each.form == "file"]
        assert ranges == [f"bytes={1 << 20}-{len(DATA) - 1}"]
        assert honest.targets("raw") == []

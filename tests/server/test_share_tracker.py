"""``GET /announce``: the tracker behind the server's rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import SwarmTorrent
from modelfetch.model.write import manifest_toml
from modelfetch.swarm import bencode
from tests.server.running import Served, manifest
from tests.server.sharing import Sharing, sharing_server

HASH = "3f" * 32
QUERY = f"info_hash={'%3f' * 20}&peer_id=-MF0100-abcdefabcdef&left=1"


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[Sharing]:
    (tmp_path / "catalog").mkdir()
    found = replace(manifest("demo-model"), swarm=SwarmTorrent(HASH))
    (tmp_path / "catalog" / "demo-model.toml").write_text(manifest_toml(found))
    (tmp_path / "modelfetch.toml").write_text('catalog = ["catalog"]\n')
    with sharing_server(tmp_path) as sharing:
        yield sharing


def test_machines_find_each_other_without_a_token(tracking: Sharing) -> None:
    first = tracking.get(f"/announce?{QUERY}&port=6881")
    assert (first.status, first.headers["cache-control"]) == (200, "no-store")
    found = bencode.decode(tracking.get(f"/announce?{QUERY}&port=6882").body)
    assert isinstance(found, dict)
    assert found[b"peers"] == bytes([127, 0, 0, 1]) + (6881).to_bytes(2, "big")


@pytest.mark.parametrize(
    "query",
    [
        f"{QUERY}&port=6881".replace("%3f", "%aa"),
        "",
        "info_hash=%zz",
        f"{QUERY}&port=-1",
        f"{QUERY}&port=6881&more={'x' * 3000}",
    ],
)
def test_what_is_not_for_us_gets_a_reason_and_nothing_else(tracking: Sharing, query: str) -> None:
    answer = tracking.get(f"/announce?{query}")
    assert answer.status == 200
    found = bencode.decode(answer.body)
    assert isinstance(found, dict)
    assert [*found] == [b"failure reason"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_is_only_read(tracking: Sharing, method: str) -> None:
    assert tracking.get(f"/announce?{QUERY}&port=6881", method=method).status == 405


def test_pages_of_other_origins_cannot_announce(tracking: Sharing) -> None:
    answer = tracking.get(f"/announce?{QUERY}&port=6881", {"Origin": "https://evil.example"})
    assert answer.status == 403


def test_a_server_that_shares_nothing_has_no_tracker(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        assert served.ask("GET", f"/announce?{QUERY}&port=6881", token=None).status == 401

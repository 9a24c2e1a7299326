"""What is shared with other machines, as the panel gets it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from modelfetch.engine.swarm_reports import Reports
from modelfetch.history import AttemptRow, Health
from modelfetch.model.json_schema import schema_of
from modelfetch.net import mdns
from modelfetch.net.mdns_records import FoundPeer
from modelfetch.server.api_sharing_documents import SharingState
from modelfetch.server.received_bytes import ReceivedBytes
from modelfetch.server.runner import ServerWorkspace
from modelfetch.server.share_counters import ShareCounters
from modelfetch.server.sharing_status import (
    ATTEMPT_SECONDS,
    MAX_CLIENTS,
    MAX_NAME,
    MAX_PEERS,
    Attempts,
    Nearby,
    SharingStatus,
    SwarmFigures,
    nearby_peers,
)
from modelfetch.store.instance import instance_of
from modelfetch.swarm.engine import Status
from tests.origin import Origin, model
from tests.server.running import Served, until
from tests.server.sharing import share

if TYPE_CHECKING:
    from modelfetch.server.swarm_seeding import Seeding

AT = datetime(2026, 11, 20, 6, tzinfo=UTC)
HOSTILE = "<b>lab</b>\x1b[31m\u202e" + "x" * 500


def health(at: datetime = AT) -> Health:
    return Health(3, 1.0, 1.0, 0.1, 1e6, 0, at)


def failure(at: datetime = AT) -> AttemptRow:
    return AttemptRow(
        "r", "m", "f", "peer", "a:1", 1, at, None, 0.1, 0, 0, 1000, "error", "connect", "refused"
    )


def received(**counts: int) -> ReceivedBytes:
    made = ReceivedBytes()
    made.add(Counter({f"peer {host}:1": count for host, count in counts.items()}))
    return made


def document(sharing: SharingStatus, named: Collection[str] = (), **options: Any) -> Mapping[str, Any]:
    attempts = Attempts(options.pop("health", {}), options.pop("failures", {}))
    return sharing.document(named, options.pop("nearby", Nearby(is_searched=False)), lambda: attempts)


def test_without_anything_all_is_zero() -> None:
    found = document(SharingStatus(ReceivedBytes()))
    assert found["sharing"] is found["finds_peers"] is False
    assert (found["upload"]["bytes"], found["download"]["bytes"], found["ratio"]) == (0, 0, None)
    assert (found["peers"], found["swarm"]) == ([], None)


def test_it_says_what_was_sent_and_to_whom() -> None:
    counters = ShareCounters()
    for number in range(MAX_CLIENTS + 1):
        counters.begin("blobs", f"192.0.2.{number}").sent(1000 + number)
    upload = document(SharingStatus(received(a=5010), counters))["upload"]
    assert (upload["requests"], upload["active"]) == (MAX_CLIENTS + 1, MAX_CLIENTS + 1)
    assert upload["endpoints"] == [{"endpoint": "blobs", "requests": 21, "bytes": 21210}]
    assert len(upload["clients"]) == MAX_CLIENTS
    assert upload["clients"][0]["client"] == f"192.0.2.{MAX_CLIENTS}"
    assert document(SharingStatus(received(a=42420), counters))["ratio"] == 0.5


def test_peers_are_those_of_the_settings_those_found_and_those_that_gave() -> None:
    sharing = SharingStatus(received(c=300), now=lambda: AT)
    peers = document(sharing, ["a:1"], nearby=Nearby(("b:1",)))["peers"]
    assert [(peer["host"], peer["origin"], peer["state"], peer["received"]) for peer in peers] == [
        ("c:1", "history", "unknown", 300),
        ("a:1", "settings", "unknown", 0),
        ("b:1", "network", "reachable", 0),
    ]
    assert [peer["last_seen"] for peer in peers] == [None, None, "2026-11-20T06:00:00.000Z"]


def test_an_attempt_says_whether_a_peer_answers() -> None:
    key, later = ("peer", "a:1"), AT + timedelta(minutes=1)
    answers = document(
        SharingStatus(ReceivedBytes()), ["a:1"], health={key: health(later)}, failures={key: failure()}
    )
    assert answers["peers"][0]["state"] == "reachable"
    assert answers["peers"][0]["last_seen"] == "2026-11-20T06:01:00.000Z"
    silent = document(
        SharingStatus(ReceivedBytes()), ["a:1"], health={key: health()}, failures={key: failure()}
    )
    assert (silent["peers"][0]["state"], silent["peers"][0]["last_seen"]) == ("unreachable", None)


def test_the_history_is_read_now_and_then_and_only_for_peers() -> None:
    asked, now = [0], [0.0]

    def attempts() -> Attempts:
        asked[0] += 1
        return Attempts({}, {})

    sharing = SharingStatus(ReceivedBytes(), clock=lambda: now[0])
    sharing.document((), Nearby(), attempts)
    assert asked == [0]
    for second in (0.0, 3.0, ATTEMPT_SECONDS - 1, ATTEMPT_SECONDS):
        now[0] = second
        sharing.document(["a:1"], Nearby(), attempts)
    assert asked == [2]


def test_a_peer_that_is_gone_was_seen() -> None:
    sharing = SharingStatus(ReceivedBytes(), now=lambda: AT)
    assert document(sharing, nearby=Nearby(("b:1",)))["peers"][0]["state"] == "reachable"
    (peer,) = document(sharing, nearby=Nearby())["peers"]
    assert (peer["state"], peer["last_seen"]) == ("unknown", "2026-11-20T06:00:00.000Z")


def test_names_of_other_machines_are_harmless_short_and_few() -> None:
    """Markup is no markup in the panel."""
    sharing = SharingStatus(ReceivedBytes())
    for n in range(5):
        document(sharing, nearby=Nearby(tuple(f"{HOSTILE}:{n}{each}" for each in range(MAX_PEERS))))
    peers = document(sharing, nearby=Nearby((HOSTILE,)))["peers"]
    assert len(peers) == MAX_PEERS
    assert len(peers[0]["host"]) <= MAX_NAME
    assert peers[0]["host"].startswith("<b>lab</b>[31mx")


def test_a_package_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings want that peers are found, and nothing can find them."""
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    monkeypatch.setattr(mdns, "_RECENT", mdns.RecentPeers(mdns.search))
    environ = {"HOME": str(tmp_path), "MODELFETCH_CACHE_DIR": str(tmp_path)}
    off = ServerWorkspace({}, environ=environ | {"MODELFETCH_LAN_ENABLED": "false"}, cwd=tmp_path)
    assert nearby_peers(off.load()) == Nearby(is_searched=False)
    on = ServerWorkspace({}, environ=environ | {"MODELFETCH_LAN_ENABLED": "true"}, cwd=tmp_path)
    assert nearby_peers(on.load()) == Nearby(notice=mdns.MISSING)


def test_the_peers_of_the_network_do_not_include_this_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = FoundPeer("http://192.0.2.1:8765", instance_of(tmp_path))
    other = FoundPeer("http://192.0.2.7:8765", "0" * 16)
    monkeypatch.setattr(mdns, "_RECENT", mdns.RecentPeers(lambda: [own, other]))
    environ = {"HOME": str(tmp_path), "MODELFETCH_CACHE_DIR": str(tmp_path), "MODELFETCH_LAN_ENABLED": "true"}
    assert nearby_peers(ServerWorkspace({}, environ=environ, cwd=tmp_path).load()).hosts == (
        "192.0.2.7:8765",
    )


class Swarm:
    """A swarm with figures."""

    def figures(self) -> SwarmFigures:
        return SwarmFigures(2, 7, 3000, 1000, 50, 10)


def test_a_swarm_has_its_figures_and_counts_for_the_ratio() -> None:
    found = document(SharingStatus(received(a=2000), None, Swarm()))
    assert found["swarm"] == {
        "torrents": 2,
        "peers": 7,
        "uploaded": 3000,
        "downloaded": 1000,
        "upload_rate": 50,
        "download_rate": 10,
        "ratio": 3.0,
    }
    assert found["ratio"] == 1.5


def test_it_has_the_form_of_its_type() -> None:
    from jsonschema import Draft202012Validator

    counters = ShareCounters()
    counters.begin("blobs", "192.0.2.1").sent(1)
    found = document(SharingStatus(received(a=1), counters, Swarm()), nearby=Nearby(("b:1",)))
    Draft202012Validator(schema_of(SharingState)).validate(found)
    assert list(found) == list(schema_of(SharingState)["properties"])


# Over HTTP


def test_it_needs_the_token(tmp_path: Path) -> None:
    with Served(tmp_path) as server:
        assert server.ask("GET", "/v1/sharing", token=None).status == 401
        assert server.ask("GET", "/v1/sharing").document["sharing"] is False


def test_what_jobs_receive_and_what_others_are_sent_is_counted(tmp_path: Path) -> None:
    """A model is fetched, and a machine without a token reads one of its files."""
    with Origin() as origin:
        served = model(origin, {"f.bin": 300_000}, catalog=tmp_path / "catalog")
        environ = served.environment | {
            "HOME": str(tmp_path),
            "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
        }
        workspace = ServerWorkspace({}, environ=environ, cwd=tmp_path)
        with Served(
            tmp_path,
            workspace,
            make_share_state=share(),
        ) as server:
            server.until_over(server.submit(served.name))
            digest = served.contents["f.bin"].sha256
            assert server.ask("GET", f"/blobs/sha256/{digest}", token=None).status == 200
            share_state = server.share_state
            assert share_state is not None
            until(lambda: share_state.counters.snapshot()["active"] == 0, "the end of the response")
            found = server.ask("GET", "/v1/sharing").document
    assert found["sharing"] is True
    assert [each["received"] for each in found["download"]["sources"]] == [300_000]
    assert (found["upload"]["requests"], found["upload"]["bytes"]) == (1, 300_000)
    assert found["ratio"] == 1.0


def test_the_swarm_of_the_server_is_part_of_it(tmp_path: Path) -> None:
    """As `serve --swarm` leaves it in the workspace."""
    environ = {"HOME": str(tmp_path), "MODELFETCH_CACHE_DIR": str(tmp_path / "cache")}
    workspace = ServerWorkspace({}, environ=environ, cwd=tmp_path)
    reports = Reports()
    reports.note(Status("0" * 64, 5, 6, 100, 250, 1))
    workspace.swarm = cast("Seeding", SimpleNamespace(session=SimpleNamespace(reports=reports)))
    with Served(tmp_path, workspace) as server:
        found = server.ask("GET", "/v1/sharing").document
    assert found["swarm"]["torrents"] == 1
    assert (found["swarm"]["uploaded"], found["swarm"]["ratio"]) == (250, 2.5)

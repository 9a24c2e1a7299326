"""What is shared with other machines, in the panel: off, on, and with whatever strangers call themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.e2e.command import bend
from tests.panel.conftest import SHORT, Open
from tests.panel.house import HOSTILE, House, house
from tests.panel.panel import Panel
from tests.panel.test_everyone import PHONE, axe, violations
from tests.peer_server import WAIT_FOR_PEERS, PeerServer

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def peer(browser: object) -> Iterator[PeerServer]:
    with PeerServer() as made:
        yield made


@pytest.fixture(scope="module")
def sharing(browser: object, peer: PeerServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that shares its cache, and has a peer."""

    def furnish(made: House) -> None:
        made.options = ("--share",)
        for content in made.serve("shared-by-us", SHORT).contents.values():
            peer.add(b"".join(content.pieces()))
        bend(made.cli, WAIT_FOR_PEERS)
        made.cli.environment["MODELFETCH_SOURCES_PEERS"] = peer.url
        made.cli.environment["MODELFETCH_SOURCES_ORDER"] = "peer,huggingface"

    with house(tmp_path_factory.mktemp("sharing"), furnish) as made:
        yield made


def section(panel: Panel) -> Any:
    return panel.page.locator("#sharing")


def figure(panel: Panel, word: str) -> Any:
    """The value of a figure."""
    found = section(panel).locator(".sharing-figure").filter(has_text=re.compile(f"^{word}"))
    return found.first.locator("dd").first


def test_what_is_off_says_how_to_turn_it_on(panel: Panel) -> None:
    panel.expect(section(panel).locator(".sharing-state")).to_have_text("Off")
    panel.expect(section(panel)).to_contain_text("Start the server with --share")
    panel.expect(section(panel).locator(".sharing-part:visible")).to_have_count(0)


def test_it_shows_what_peers_gave_and_what_others_were_sent(
    sharing: House, peer: PeerServer, tabs: Open
) -> None:
    """A peer gives a file, and a machine without a token reads it from here."""
    panel = tabs(sharing).enter()
    panel.expect(section(panel).locator(".sharing-state")).to_have_text("On")
    here = section(panel).locator(f"[data-peer='{peer.host}']")
    panel.expect(here).to_contain_text("from the settings")
    panel.expect(section(panel)).to_contain_text("No other machine has fetched anything yet.")
    panel.install("shared-by-us")
    panel.reaches("shared-by-us", "done")
    panel.expect(here).to_contain_text("Reachable")
    panel.expect(here.locator(".peer-amount")).to_have_text("52.0 kB")
    connection = HTTPConnection(sharing.local.partition("//")[2])
    digest = next(digest for digest, content in peer.files.items() if len(content) == SHORT["model.onnx"])
    connection.request("GET", f"/blobs/sha256/{digest}")
    assert len(connection.getresponse().read()) == 50_000
    connection.close()
    panel.expect(figure(panel, "Sent")).to_have_text("50.0 kB")
    panel.expect(figure(panel, "Received")).to_have_text("52.0 kB")
    panel.expect(figure(panel, "Share ratio")).to_have_text("0.96")
    panel.expect(section(panel).locator("[data-part=clients] .peer-name")).to_have_text("127.0.0.1")


DOCUMENT = {
    "sharing": True,
    "finds_peers": True,
    "notice": HOSTILE,
    "upload": {
        "bytes": 4_000_000_000,
        "rate": 23_000_000,
        "requests": 12,
        "active": 2,
        "refused": 1,
        "endpoints": [{"endpoint": HOSTILE, "requests": 1, "bytes": 1}],
        "clients": [{"client": HOSTILE, "requests": 1, "bytes": 10**9, "active": 1, "idle": 0.1}],
    },
    "download": {"bytes": 2_000_000_000, "rate": 5_000_000, "sources": []},
    "ratio": 2.0,
    "peers": [
        {"host": HOSTILE, "origin": HOSTILE, "state": HOSTILE, "last_seen": HOSTILE, "received": 300_000_000},
        *(
            {
                "host": f"192.0.2.{n}:8765",
                "origin": "network",
                "state": state,
                "last_seen": None,
                "received": 0,
            }
            for n, state in enumerate(("reachable", "unreachable", "unknown"))
        ),
    ],
    "swarm": {
        "torrents": 3,
        "peers": 11,
        "uploaded": 18_400_000_000,
        "downloaded": 5_100_000_000,
        "upload_rate": 23_000_000,
        "download_rate": 4_000_000,
        "ratio": 3.608,
    },
}
"""An answer with everything in it, and with names that strangers could have."""


@pytest.fixture
def strange(home: House, tabs: Open) -> Panel:
    """The panel of a server with all of that."""
    panel = tabs(home, reduced_motion="reduce")
    panel.page.route(
        "**/v1/sharing",
        lambda route: route.fulfill(status=200, content_type="application/json", body=json.dumps(DOCUMENT)),
    )
    return panel.enter()


def test_a_swarm_has_its_figures(strange: Panel) -> None:
    swarm = section(strange).locator("[data-part=swarm] .sharing-figure")
    strange.expect(swarm).to_have_text(
        [
            "Torrents3",
            "Connected11 peers",
            "Sent18.4 GB23.0 MB/s",
            "Received5.10 GB4.00 MB/s",
            "Share ratio3.61",
        ]
    )
    strange.expect(figure(strange, "Sent")).to_have_text("22.4 GB")


def test_names_of_other_machines_are_only_text(strange: Panel) -> None:
    """Markup in them changes nothing."""
    strange.expect(section(strange).locator(".peer-name").first).to_have_text(HOSTILE)
    strange.expect(section(strange).locator("img, script")).to_have_count(0)
    assert "broken in" not in strange.page.title()


def test_axe_finds_nothing_in_it_and_a_phone_needs_no_scrolling(strange: Panel) -> None:
    strange.expect(section(strange).locator(".peer").first).to_be_visible()
    strange.page.set_viewport_size(PHONE)
    assert strange.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    strange.page.set_viewport_size({"width": 1280, "height": 900})
    strange.page.evaluate(axe())
    assert violations(strange.page) == []

"""Where the bytes of a file come from: a strip in the colours of its sources, and a legend of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.command import bend
from tests.panel.conftest import Open
from tests.panel.house import House, house
from tests.panel.panel import Panel
from tests.panel.test_everyone import PHONE, axe, violations
from tests.peer_server import WAIT_FOR_PEERS, PeerServer

pytestmark = pytest.mark.browser

SIZE = 3_000_000
FIRST = 1_000_000
"""Bytes that the peer sends before it is gone."""


@pytest.fixture(scope="module")
def peer(browser: object) -> Iterator[PeerServer]:
    with PeerServer() as made:
        made.chunk, made.cut_after = 100_000, FIRST + 1000  # other answers of it count too
        yield made


@pytest.fixture(scope="module")
def home(browser: object, peer: PeerServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server with a peer, which cuts its answers."""

    def furnish(made: House) -> None:
        for name in ("one", "several"):
            files = {"model.onnx": SIZE} if name == "one" else {"model.onnx": SIZE, "config.json": 2_000}
            content = made.serve(name, files).contents["model.onnx"]
            peer.add(b"".join(content.pieces()))
        bend(made.cli, WAIT_FOR_PEERS)
        made.cli.environment["MODELFETCH_SOURCES_PEERS"] = peer.url
        made.cli.environment["MODELFETCH_SOURCES_ORDER"] = "peer,huggingface"

    with house(tmp_path_factory.mktemp("sources"), furnish) as made:
        yield made


@pytest.fixture
def tab(home: House, peer: PeerServer, tabs: Open) -> Panel:
    peer.sent = 0
    return tabs(home).enter()


def strip(where: Any) -> list[tuple[str, float, float]]:
    """The parts of a strip: the kind of its source, where it begins, and how long it is, in percent."""
    return [
        (found["kind"], found["left"], found["width"])
        for found in where.locator(".strip-part").evaluate_all(
            """parts => parts.map(({ className, style }) => ({
                kind: className.match(/source-(\\w+)/)[1],
                left: Math.round(parseFloat(style.left)),
                width: Math.round(parseFloat(style.width)),
            }))"""
        )
    ]


def names(peer: PeerServer, home: House) -> list[str]:
    """The legend as it should be, the larger amount first."""
    return [
        f"Hugging Face 127.0.0.1:{home.origin.port} 2.00 MB",
        f"peer 127.0.0.1:{peer.port} 1.00 MB",
    ]


def test_the_bar_of_one_file_shows_which_bytes_came_from_where(
    home: House, peer: PeerServer, tab: Panel
) -> None:
    """While it is fetched and when it is done; the legend has names and amounts."""
    tab.install("one")
    tab.reaches("one", "done")
    card = tab.card("one")
    expected = [("peer", 0, 33), ("huggingface", 33, 67)]
    assert strip(tab.bar("one")) == expected
    tab.expect(card.locator(".job-words + .legend li")).to_have_text(names(peer, home))
    tab.button(card, "Files").click()
    line = tab.lines("one").first
    assert strip(line) == expected
    tab.expect(line.locator(".file-state")).to_have_text("2 sources")
    told = line.get_by_role("progressbar").get_attribute("aria-valuetext")
    assert re.search(r"2\.00 MB from Hugging Face .+, 1\.00 MB from peer ", told), told
    tab.page.reload()
    tab.is_live()
    assert strip(tab.bar("one")) == expected


def test_each_of_several_files_has_its_own_strip_and_legend(
    home: House, peer: PeerServer, tab: Panel
) -> None:
    """A file of one source has one colour and no legend: the job names it."""
    tab.install("several")
    tab.reaches("several", "done")
    card = tab.card("several")
    tab.button(card, "Files").click()
    mixed = tab.lines("several").filter(has_text="model.onnx")
    tab.expect(mixed.locator(".legend li")).to_have_text(names(peer, home))
    plain = tab.lines("several").filter(has_text="config.json")
    tab.expect(plain.locator(".legend")).to_be_hidden()
    assert strip(plain) == [("huggingface", 0, 100)]
    shares = strip(tab.bar("several"))
    assert [kind for kind, *_ in shares] == ["huggingface", "peer"]
    assert sum(width for *_, width in shares) == 100


def test_colours_of_sources_can_be_told_from_the_ground_and_from_each_other(tab: Panel) -> None:
    """In light and dark: at least 3 to 1 against the card, as WCAG 2.2 asks for graphics (1.4.11)."""
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)
        colours = tab.page.evaluate(COLOURS)
        ground = luminance(colours.pop("surface"))
        for kind, colour in colours.items():
            assert contrast(luminance(colour), ground) >= 3, (scheme, kind)
        usual = [colours[kind] for kind in ("huggingface", "peer", "swarm", "mirror", "ipfs", "cache")]
        assert len({tuple(each) for each in usual}) == len(usual)


COLOURS = """() => Object.fromEntries(
    "surface source-cache source-local source-peer source-swarm source-mirror source-ipfs source-huggingface \
source-modelscope source-oci source-url source-other".split(" ").map((name) => {
        const probe = document.createElement("div");
        probe.style.color = `var(--${name})`;
        document.body.append(probe);
        const numbers = getComputedStyle(probe).color.match(/[0-9.]+/g).map(Number);
        probe.remove();
        return [name.replace("source-", ""), numbers.slice(0, 3)];
    }))"""


def luminance(rgb: list[float]) -> float:
    """Relative luminance, as WCAG defines it."""
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4
        for each in (value / 255 for value in rgb)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: float, other: float) -> float:
    light, dark = max(one, other), min(one, other)
    return (light + 0.05) / (dark + 0.05)


def test_axe_finds_nothing_and_a_phone_needs_no_scrolling(home: House, peer: PeerServer, tabs: Open) -> None:
    """With strips and legends open."""
    rules = axe()
    panel = tabs(home, reduced_motion="reduce").enter()
    for name in ("one", "several"):
        if panel.card(name).count() == 0:
            panel.install(name)
            panel.reaches(name, "done")
        panel.button(panel.card(name), "Files").click()
    panel.page.evaluate(rules)
    assert violations(panel.page) == []
    panel.page.set_viewport_size(PHONE)
    assert panel.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]

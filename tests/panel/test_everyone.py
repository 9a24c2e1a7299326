"""For every screen, eye and hand: narrow, dark, by keyboard, by screen reader."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.panel.conftest import Open
from tests.panel.house import House
from tests.panel.panel import Panel

pytestmark = pytest.mark.browser

PHONE = {"width": 360, "height": 740}


def test_a_phone_needs_no_scrolling_sideways(home: House, tabs: Open) -> None:
    """All fits in 360 pixels, a job with its files too; downloads come first, and few models at first."""
    panel = tabs(home, viewport=PHONE, is_mobile=True, has_touch=True).enter()
    shown = panel.page.locator(".models-list > :visible")
    panel.expect(shown).to_have_count(10)
    panel.page.get_by_role("button", name="Show all").click()
    panel.expect(shown).not_to_have_count(10)
    panel.install("carried")
    panel.reaches("carried", "done")
    panel.button(panel.card("carried"), "Files").click()
    panel.expect(panel.lines("carried").first).to_be_visible()
    assert panel.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    tops = [
        panel.page.locator(f"#{section}").bounding_box()["y"] for section in ("downloads", "models", "disk")
    ]
    assert tops == sorted(tops)


def test_it_follows_the_colours_of_the_system(panel: Panel) -> None:
    """Dark where the system is dark, at once."""
    ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    light = panel.page.evaluate(ground)
    panel.page.emulate_media(color_scheme="dark")
    dark = panel.page.evaluate(ground)
    assert max(dark) < 64 < 192 < min(light)


def test_nothing_moves_for_who_wants_no_movement(panel: Panel) -> None:
    """Bars jump, nothing turns."""
    panel.page.emulate_media(reduced_motion="reduce")
    moving = panel.page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((element) => {
            const style = getComputedStyle(element);
            return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
        }).length"""
    )
    assert moving == 0


def test_everything_can_be_done_by_keyboard(panel: Panel) -> None:
    """Search, look, install and find the focus where it was."""
    press, page = panel.page.keyboard.press, panel.page
    press("/")
    panel.expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("typed")
    panel.expect(page.locator(".model")).to_have_count(1)
    press("ArrowDown")
    panel.expect(panel.row("typed").locator(".model-open")).to_be_focused()
    press("Enter")
    panel.expect(page.get_by_role("dialog")).to_be_visible()
    press("Escape")
    panel.expect(page.get_by_role("dialog")).to_be_hidden()
    panel.expect(panel.row("typed").locator(".model-open")).to_be_focused()
    press("ArrowUp")
    press("Escape")
    panel.expect(page.locator("#search")).to_have_value("")
    page.keyboard.type("typed")
    press("ArrowDown")
    press("Tab")
    press("Enter")
    panel.reaches("typed", "done")


def test_the_focus_is_always_to_be_seen(panel: Panel) -> None:
    """Wherever Tab leads, there is an outline."""
    for _ in range(12):
        panel.page.keyboard.press("Tab")
        outline = panel.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", panel.page.evaluate("document.activeElement.outerHTML")


def test_the_focus_is_not_lost_with_what_had_it(home: House, panel: Panel) -> None:
    """Cancel becomes Retry under the finger; what is cleared hands it to the section around."""
    home.hold("focused", 1_000_000)
    panel.install("focused")
    panel.watch("focused", 5)
    panel.button(panel.card("focused"), "Cancel").focus()
    panel.page.keyboard.press("Enter")
    panel.reaches("focused", "cancelled")
    panel.expect(panel.button(panel.card("focused"), "Retry")).to_be_focused()
    panel.button(panel.card("focused"), "Clear").focus()
    panel.page.keyboard.press("Enter")
    panel.expect(panel.page.locator("#downloads")).to_be_focused()


def axe() -> str:
    """The rules of axe-core: where MODELFETCH_AXE says, or in a ``node_modules`` above."""
    places = [folder / "node_modules" / "axe-core" / "axe.min.js" for folder in Path(__file__).parents]
    given = os.environ.get("MODELFETCH_AXE")
    found = next((place for place in ([Path(given)] if given else places) if place.is_file()), None)
    if found is None:
        pytest.skip("axe-core is not there: set MODELFETCH_AXE to axe.min.js")
    return found.read_text("utf-8")


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong with the page as it is: light, dark, and on a phone."""
    wide = page.viewport_size
    found = [*_examine(page, "light")]
    page.emulate_media(color_scheme="dark")
    found += _examine(page, "dark")
    page.set_viewport_size(PHONE)
    found += _examine(page, "dark, phone")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(wide)
    return found


def _examine(page: Any, look: str) -> list[str]:
    return page.evaluate(  # type: ignore[no-any-return]
        """async look => (await axe.run()).violations.flatMap(({ id, nodes }) =>
            nodes.map(({ html, failureSummary }) => `${look}: ${id}: ${html} ${failureSummary}`))""",
        look,
    )


def test_axe_finds_nothing_at_the_door(home: House, tabs: Open) -> None:
    """Where the token is asked for, and where it was wrong."""
    rules = axe()
    page = tabs(home, reduced_motion="reduce").open(token="wrong").page
    page.get_by_role("alert").wait_for()
    page.evaluate(rules)
    assert violations(page) == []


def test_axe_finds_nothing(home: House, tabs: Open) -> None:
    """In the middle of a job, with jobs of every end, with a log, and in a dialog."""
    rules = axe()
    panel = tabs(home, reduced_motion="reduce").enter()
    panel.page.evaluate(rules)
    for name in ("axe-fails", "axe-ends", "axe-pauses"):
        panel.install(name)
    panel.reaches("axe-fails", "failed")
    panel.reaches("axe-ends", "done")
    panel.button(panel.card("axe-ends"), "Log").click()
    panel.expect(panel.card("axe-ends").locator(".log-entry").first).to_be_visible()
    panel.watch("axe-pauses", 2)
    assert violations(panel.page) == []
    panel.press("axe-pauses", "Cancel")
    panel.reaches("axe-pauses", "cancelled")
    panel.row("axe-ends").get_by_role("button").first.click()
    panel.expect(panel.page.get_by_role("dialog")).to_be_visible()
    assert violations(panel.page) == []

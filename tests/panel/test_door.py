"""Who comes in, and what may be said to whom."""

from __future__ import annotations

from urllib.parse import urldefrag

import pytest

from tests.panel.conftest import Open
from tests.panel.house import HOSTILE, TOKEN, House
from tests.panel.panel import Panel

pytestmark = pytest.mark.browser


def test_the_token_leaves_the_address_and_stays_in_the_tab(home: House, panel: Panel) -> None:
    """It is in no history and no bookmark, and a reload needs no other."""
    assert panel.page.url == home.url
    assert TOKEN not in panel.page.content()
    panel.page.reload()
    panel.is_live()


def test_the_token_travels_as_a_header_only(home: House, tabs: Open) -> None:
    """No address that is asked for has it, and every request of the interface carries it."""
    panel = tabs(home)
    sent: list[tuple[str, dict[str, str]]] = []
    panel.page.on("request", lambda request: sent.append((urldefrag(request.url).url, request.headers)))
    panel.enter()
    asked = [headers for url, headers in sent if "/v1/" in url]
    assert asked
    assert all(headers.get("authorization") == f"Bearer {TOKEN}" for headers in asked)
    assert not any(TOKEN in url + headers.get("referer", "") for url, headers in sent)


def test_without_a_token_it_is_asked_for(home: House, tabs: Open) -> None:
    """A friendly page; the whole address may be pasted."""
    panel = tabs(home)
    panel.page.goto(home.url)
    field = panel.page.get_by_label("Token")
    panel.expect(field).to_be_focused()
    panel.expect(panel.page.get_by_role("alert")).to_have_count(0)
    field.fill(f"{home.url}#token={TOKEN}")
    panel.page.keyboard.press("Enter")
    panel.is_live()


def test_a_wrong_token_is_said_to_be_wrong(home: House, tabs: Open) -> None:
    """And the right one lets in."""
    panel = tabs(home).open(token="wrong")
    panel.expect(panel.page.get_by_role("alert")).to_contain_text("does not take this token")
    panel.expect(panel.page.locator("#panel")).to_be_hidden()
    panel.page.get_by_label("Token").fill(TOKEN)
    panel.page.get_by_role("button", name="Connect").click()
    panel.is_live()


def test_names_and_errors_are_only_ever_text(panel: Panel) -> None:
    """Titles, licenses, reasons of servers: what looks like markup is shown as it is."""
    title = panel.row("hostile").locator(".model-title")
    panel.expect(title).to_have_text(HOSTILE)
    panel.install("hostile")
    dialog = panel.page.get_by_role("dialog")
    panel.expect(dialog.locator(".license")).to_contain_text(HOSTILE)
    dialog.get_by_role("button", name="Install").click()
    panel.reaches("hostile", "failed")
    panel.expect(panel.card("hostile").locator("h3")).to_have_text(HOSTILE)
    panel.button(panel.card("hostile"), "Log").click()
    panel.expect(panel.card("hostile").locator(".log-entry")).not_to_have_count(0)
    panel.row("hostile").get_by_role("button").first.click()
    panel.expect(dialog.locator("h2")).to_have_text(HOSTILE)
    assert panel.page.locator("img[src=x], main script, dialog script").count() == 0
    assert "broken in" not in panel.page.title()


def test_the_policy_holds_what_the_page_does_not_do(panel: Panel) -> None:
    """A script that got into the page all the same would not run, and nothing would go elsewhere."""
    tried = panel.page.evaluate(
        """async () => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'broken in'";
            document.body.append(script);
            const elsewhere = await fetch("http://127.0.0.1:9/").then(() => "went", (error) => error.name);
            return [document.title, elsewhere];
        }"""
    )
    assert tried[1] == "TypeError"
    assert tried[0] != "broken in"
    with panel.page.expect_console_message(lambda message: message.text == "over"):
        panel.page.evaluate("console.log('over')")  # what the browser told before has come when this has
    assert len(panel.complaints) >= 2, "the browser tells of both"
    panel.complaints.clear()

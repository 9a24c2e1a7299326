"""Adding a model by its reference, and removing one: what would be pinned is shown first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.hubs.huggingface import HuggingFaceHub
from tests.panel.conftest import Open
from tests.panel.house import HOSTILE, House, house
from tests.panel.panel import Panel
from tests.panel.test_everyone import PHONE, axe, violations

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def hub() -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub() as running:
        running.add("org/my-model", {"config.json": b"{}", "model.safetensors": bytes(30_000)})
        running.add("org/other", {"config.json": b"{}", "model.safetensors": bytes(40_000)})
        running.add("org/quants", {"m-Q4_K_M.gguf": bytes(10_000), "m-Q8_0.gguf": bytes(20_000)})
        running.add("org/whisper-base", {"model.safetensors": bytes(1_000)})
        yield running


@pytest.fixture(scope="module")
def home(browser: object, hub: HuggingFaceHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that adds models from a loopback Hub."""

    def furnish(made: House) -> None:
        made.cli.environment["HF_ENDPOINT"] = hub.endpoint

    with house(tmp_path_factory.mktemp("adding"), furnish) as made:
        yield made


@pytest.fixture
def tab(home: House, tabs: Open) -> Panel:
    return tabs(home).enter()


def look_up(panel: Panel, reference: str) -> Any:
    """Type a reference and look it up; gives the dialog that opens."""
    panel.page.fill("#reference", reference)
    panel.page.keyboard.press("Enter")
    dialog = panel.page.get_by_role("dialog")
    panel.expect(dialog).to_be_visible()
    return dialog


def test_a_model_is_shown_added_installed_and_removed(tab: Panel) -> None:
    dialog = look_up(tab, "hf:org/my-model")
    tab.expect(dialog).to_contain_text("30.0 kB in 2 files")
    tab.expect(dialog).to_contain_text("1 file stated by Hugging Face, 1 file computed here")
    tab.expect(dialog).to_contain_text("not stated")
    tab.button(dialog, "Add and install").click()
    tab.reaches("my-model", "done")
    tab.expect(tab.row("my-model").locator(".model-here")).to_be_visible()
    tab.row("my-model").locator(".model-open").click()
    tab.expect(dialog).to_contain_text("Up to date (last checked just now)")
    tab.expect(dialog.locator(".dialog-sources li")).to_contain_text(["this disk", "Hugging Face"])
    tab.expect(dialog.locator("tbody .digest")).to_have_count(2)
    tab.button(dialog, "Remove").click()
    tab.button(dialog, "Remove").click()
    tab.expect(tab.row("my-model").locator(".model-here")).to_be_hidden()
    tab.expect(tab.button(tab.row("my-model"), "Install")).to_be_visible()


def test_the_path_can_be_copied(home: House, tabs: Open) -> None:
    panel = tabs(home, permissions=["clipboard-read", "clipboard-write"]).enter()
    panel.row("demo").locator(".model-open").click()
    dialog = panel.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Copy the path").click()
    panel.expect(dialog).to_contain_text("Copied")
    shown = dialog.locator(".copyable-text").text_content()
    assert panel.page.evaluate("navigator.clipboard.readText()") == shown
    assert shown.endswith("/models/demo/1")


def test_a_variant_is_chosen(tab: Panel) -> None:
    dialog = look_up(tab, "org/quants")
    tab.expect(dialog.locator(".variant")).to_contain_text(["Q4_K_M", "Q8_0"])
    tab.button(dialog, "Q8_0").click()
    tab.expect(dialog).to_contain_text("20.0 kB in 1 file")


def test_another_name_is_asked_for_where_one_is_taken(tab: Panel) -> None:
    dialog = look_up(tab, "org/whisper-base")
    tab.expect(dialog).to_contain_text("Choose another name")
    dialog.get_by_label("Another name for it").fill("mine")
    tab.page.keyboard.press("Enter")
    tab.expect(dialog).to_contain_text("Add mine?")


@pytest.mark.parametrize("reference", ["org/nope", "/etc/passwd", HOSTILE])
def test_what_cannot_be_added_says_why(tab: Panel, reference: str) -> None:
    tab.page.fill("#reference", reference)
    tab.page.keyboard.press("Enter")
    tab.expect(tab.page.get_by_role("alert")).to_be_visible()
    assert tab.page.title() == "modelfetch"
    assert not tab.page.get_by_role("dialog").is_visible()


def test_the_field_is_only_there_where_models_may_be_added(
    home: House, tabs: Open, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def furnish(made: House) -> None:
        made.options = ("--no-allow-add",)

    with house(tmp_path_factory.mktemp("closed"), furnish) as closed:
        panel = tabs(closed).enter()
        panel.expect(panel.page.locator(".disk-total")).not_to_be_empty()
        panel.expect(panel.page.locator("#add")).to_be_hidden()


def test_the_dialogs_fit_a_phone(home: House, tabs: Open) -> None:
    panel = tabs(home, viewport=PHONE, is_mobile=True, has_touch=True).enter()
    look_up(panel, "org/other")
    assert panel.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    dialog = panel.page.get_by_role("dialog")
    assert dialog.evaluate("each => each.scrollWidth <= each.clientWidth")


def test_axe_finds_nothing_where_models_are_added(home: House, tabs: Open) -> None:
    script = axe()
    panel = tabs(home, reduced_motion="reduce").enter()
    panel.page.evaluate(script)
    assert violations(panel.page) == []
    dialog = look_up(panel, "org/other")
    assert violations(panel.page) == []
    panel.page.keyboard.press("Escape")
    panel.row("demo").locator(".model-open").click()
    panel.expect(dialog).to_be_visible()
    assert violations(panel.page) == []

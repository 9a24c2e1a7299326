"""The quarantine in the panel: only there where there is any, restored and deleted after a question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.store import Store
from tests.panel.conftest import Open
from tests.panel.house import HOSTILE, House, house
from tests.panel.panel import Panel
from tests.panel.test_everyone import PHONE, axe, violations
from tests.store.material import digest, noise, spec

pytestmark = pytest.mark.browser

WRONG = noise(5000, seed=7)


@pytest.fixture(scope="module")
def home(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server with a quarantine of its own."""
    with house(tmp_path_factory.mktemp("quarantine"), lambda _: None) as made:
        yield made


def put(where: House, right: bytes, file: str = "onnx/model.onnx", source: str = "mirror m.example") -> Path:
    """Move wrong bytes into quarantine; gives where they were."""
    path = where.cli.home / f"was-{right.decode()}.bin"
    path.write_bytes(WRONG)
    store = Store(where.cli.cache)
    store.quarantine(path, spec(right, file), actual=digest(WRONG), source=source)
    return path


@pytest.fixture
def tab(home: House, tabs: Open) -> Iterator[Panel]:
    yield tabs(home)
    for entry in Store(home.cli.cache).evidence():
        for part in ("data", "reason.json"):
            (entry.directory / part).unlink(missing_ok=True)
        entry.directory.rmdir()


def test_without_entries_there_is_no_section(tab: Panel) -> None:
    tab.enter()
    tab.expect(tab.page.locator(".disk-total")).not_to_be_empty()
    tab.expect(tab.page.locator("#quarantine")).to_be_hidden()


def test_an_entry_shows_why_it_is_there(home: House, tab: Panel) -> None:
    put(home, b"a")
    entry = tab.enter().page.locator(f"[data-entry='{digest(b'a')}']")
    tab.expect(entry).to_contain_text("onnx/model.onnx")
    tab.expect(entry).to_contain_text("Wrong data from mirror m.example.")
    tab.expect(entry).to_contain_text("5.00 kB")
    tab.expect(entry.locator("code")).to_have_text([digest(b"a")[:12], digest(WRONG)[:12]])
    assert entry.locator("code").first.get_attribute("title") == digest(b"a")


def test_data_is_restored_after_a_question(home: House, tab: Panel) -> None:
    path = put(home, b"b")
    entry = tab.enter().page.locator(".entry")
    tab.button(entry, "Restore").click()
    dialog = tab.page.get_by_role("dialog")
    tab.expect(dialog).to_contain_text(str(path))
    tab.expect(tab.button(dialog, "Cancel")).to_be_focused()
    assert not path.exists()
    tab.button(dialog, "Restore").click()
    tab.expect(tab.page.locator("#quarantine")).to_be_hidden()
    assert path.read_bytes() == WRONG


def test_data_is_deleted_after_a_question(home: House, tab: Panel) -> None:
    put(home, b"c")
    put(home, b"d")
    entries = tab.enter().page.locator(".entry")
    tab.button(entries.first, "Delete").click()
    dialog = tab.page.get_by_role("dialog")
    tab.button(dialog, "Cancel").click()
    tab.expect(entries).to_have_count(2)
    tab.button(entries.first, "Delete").click()
    tab.button(dialog, "Delete").click()
    tab.expect(entries).to_have_count(1)
    tab.expect(tab.page.locator(f"[data-entry='{digest(b'd')}']")).to_be_visible()
    assert [entry.digest for entry in Store(home.cli.cache).evidence()] == [digest(b"d")]


def test_what_cannot_go_back_says_why(home: House, tab: Panel) -> None:
    put(home, b"e").write_bytes(b"new")
    tab.enter()
    tab.button(tab.page.locator(".entry"), "Restore").click()
    tab.button(tab.page.get_by_role("dialog"), "Restore").click()
    tab.expect(tab.page.get_by_role("alert")).to_contain_text("exists already")


def test_hostile_texts_stay_texts(home: House, tab: Panel) -> None:
    put(home, b"f", file=HOSTILE, source=f"mirror {HOSTILE}")
    entry = tab.enter().page.locator(".entry")
    tab.expect(entry).to_contain_text(HOSTILE)
    assert tab.page.title() == "modelfetch"


@pytest.mark.usefixtures("tab")
def test_axe_finds_nothing_and_it_fits_a_phone(home: House, tabs: Open) -> None:
    put(home, b"g" * 60, file=f"{'long-' * 30}name.onnx")
    put(home, b"h", source="unlisted")
    script = axe()
    panel = tabs(home, reduced_motion="reduce").enter()
    panel.page.evaluate(script)
    panel.expect(panel.page.locator(".entry")).to_have_count(2)
    assert violations(panel.page) == []
    panel.page.set_viewport_size(PHONE)
    assert panel.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    panel.button(panel.page.locator(".entry").first, "Delete").click()
    assert violations(panel.page) == []
    panel.page.keyboard.press("Escape")
    panel.button(panel.page.locator(".entry").first, "Restore").click()
    dialog = panel.page.get_by_role("dialog")
    panel.expect(dialog).to_contain_text("was-ggg")
    assert dialog.evaluate("each => each.scrollWidth <= each.clientWidth")  # a path has no place to break at

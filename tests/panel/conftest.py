"""A browser, a server and tabs; without Playwright or Chromium these tests are skipped, with the reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.origin import faults
from tests.panel.house import HOSTILE, House, house
from tests.panel.panel import Panel
from tests.patience import IN_TIME

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
"""The page is our own, and in a container the browser is root; nothing is fetched behind its back."""

DESK = {"width": 1280, "height": 900}

PATIENCE_MS = 1000 * IN_TIME

Open = Callable[..., Panel]
"""Opens one more tab; keywords are options of its browser context."""


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means."""
    config.addinivalue_line("markers", "browser: drives a real browser; skipped where there is none")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """Playwright, where it is installed."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
    with api.sync_playwright() as running:
        api.expect.set_options(timeout=PATIENCE_MS)
        yield running, api.expect


@pytest.fixture(scope="session")
def browser(playwright: Any) -> Iterator[Any]:
    """Chromium: the one MODELFETCH_CHROMIUM names, or the system's."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("MODELFETCH_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("Chromium is not installed")
    running = playwright[0].chromium.launch(executable_path=found, args=ARGUMENTS)
    yield running
    running.close()


@pytest.fixture(scope="session")
def home(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The server most tests share; each test has models of its own."""
    with house(tmp_path_factory.mktemp("panel"), _furnish) as made:
        yield made


@pytest.fixture
def tabs(browser: Any, playwright: Any) -> Iterator[Open]:
    """Opens tabs that are strangers to each other; none of them may have broken a rule at the end."""
    opened: list[Panel] = []
    contexts: list[Any] = []

    def tab(where: House, **options: object) -> Panel:
        contexts.append(browser.new_context(**{"viewport": DESK, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        opened.append(Panel(page, playwright[1], where.url))
        return opened[-1]

    yield tab
    complaints = [complaint for panel in opened for complaint in panel.complaints]
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def lasting(browser: Any, playwright: Any, home: House) -> Panel:
    """A tab that stays open all day, as tabs do."""
    page = browser.new_page(viewport=DESK)
    page.set_default_timeout(PATIENCE_MS)
    return Panel(page, playwright[1], home.url).enter()


@pytest.fixture
def panel(lasting: Panel) -> Iterator[Panel]:
    """That tab, as if just opened."""
    lasting.settle()
    yield lasting
    complaints = [lasting.complaints.pop() for _ in list(lasting.complaints)]
    assert complaints == []


SHORT = {"config.json": 2_000, "model.onnx": 50_000}
LONG = {"config.json": 2_000, "model.onnx": 3_000_000}
LONGER = {"config.json": 2_000, "model.onnx": 5_000_000}

MODELS = {
    **dict.fromkeys(("repairs", "checks", "linked", "typed", "logged", "carried", "axe-ends"), SHORT),
    **dict.fromkeys(("fails", "axe-fails"), SHORT),
    **dict.fromkeys(("installs", "reloads"), LONG),
    **dict.fromkeys(("cancels", "shared", "pauses", "focused", "axe-pauses"), LONGER),
    "retries": {"model.onnx": 600_000},
    "thirteen": {f"part-{number:02}.bin": 40_000 + number for number in range(1, 14)},
    "waits": {"model.onnx": 4_000_000},
    "announced": {"model.onnx": 1_000_000},
}
"""A model for each thing that tests do."""


def _furnish(made: House) -> None:
    made.cli.environment["MODELFETCH_RETRY_ATTEMPTS"] = "100"  # the wait for a retry is looked at
    for name, files in MODELS.items():
        made.serve(name, files)
    made.serve("copyleft", SHORT, license="AGPL-3.0")
    made.serve("hostile", SHORT, title=HOSTILE, license=HOSTILE)
    made.serve("falls-back", {"model.onnx": 1_500_000}, mirrors=[made.mirror])
    made.mirror.fault("/mirror/falls-back/*", faults.flipped())
    made.origin.fault("*/axe-pauses/*/model.onnx", faults.stall(1_000_000))  # however long axe takes
    for name in ("hostile", "fails", "axe-fails"):
        made.origin.fault(f"*/{name}/*/model.onnx", faults.status(404, reason=HOSTILE, body=HOSTILE.encode()))

"""The panel in a browser, as a person sees it.

Playwright is no requirement of the other tests, so nothing here imports it; its objects come from a fixture.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from tests.panel.house import TOKEN
from tests.patience import IN_TIME

COMPLAINTS = re.compile(r"content security policy|refused to|uncaught|violat", re.IGNORECASE)
"""What a browser's console says when the page does something it must not, or breaks."""


class Panel:
    """One tab.

    Attributes:
        page: The browser's page.
        expect: Playwright's assertions, which wait until they hold.
        complaints: Errors of scripts and violations of the policy so far.
    """

    def __init__(self, page: Any, expect: Any, url: str) -> None:
        self.page = page
        self.expect = expect
        self.url = url
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        if COMPLAINTS.search(message.text):
            self.complaints.append(message.text)

    # Getting there

    def open(self, query: str = "", token: str = TOKEN) -> Panel:
        """Open the address that the server prints."""
        self.page.goto(f"{self.url}{query}#token={quote(token)}")
        return self

    def enter(self, query: str = "") -> Panel:
        """Open it and wait until it is live."""
        self.open(query)
        self.is_live()
        return self

    def is_live(self) -> None:
        """Wait until the stream stands and the catalog is there."""
        self.expect(self.page.locator("#connection")).to_have_attribute("data-phase", "live")
        self.expect(self.page.locator(".model").first).to_be_visible()

    def settle(self) -> None:
        """Leave what another test has left: dialogs, searches, filters, colours, the focus."""
        self.page.emulate_media(color_scheme="light", reduced_motion="no-preference")
        if self.page.get_by_role("dialog").is_visible():
            self.page.keyboard.press("Escape")
        self.is_live()
        self.page.fill("#search", "")
        self.page.get_by_role("button", name=re.compile("^All ")).click()
        for choice in ("Task", "Format"):
            self.page.get_by_label(choice, exact=True).select_option("")
        self.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")

    # What there is

    def row(self, model: str) -> Any:
        """A model in the catalog."""
        return self.page.locator(f".model[data-model='{model}']")

    def card(self, model: str) -> Any:
        """A model's newest job."""
        return self.page.locator(f".job[data-model='{model}']").first

    def bar(self, model: str) -> Any:
        """The bar of a job."""
        return self.card(model).locator(".bar").first

    def lines(self, model: str) -> Any:
        """The files of a job."""
        return self.card(model).locator(".file")

    def button(self, where: Any, name: str) -> Any:
        """A button by the first word a person reads on it."""
        return where.get_by_role("button", name=re.compile(f"^{name}"))

    # What is done

    def install(self, model: str) -> None:
        """Press Install in the catalog."""
        self.button(self.row(model), "Install|Resume").click()

    def press(self, model: str, name: str) -> None:
        """Press a button of a job."""
        self.button(self.card(model), name).click()

    def watch(self, model: str, at_least: float) -> float:
        """Wait until a job's bar stands at some percentage; returns where it stands then."""
        self.page.wait_for_function(
            "([model, least]) => Number(document.querySelector(`.job[data-model='${model}'] .bar`)"
            "?.getAttribute('aria-valuenow') ?? -1) >= least",
            arg=[model, at_least],
        )
        return float(self.bar(model).get_attribute("aria-valuenow"))

    def reaches(self, model: str, phase: str, seconds: float = IN_TIME) -> None:
        """Wait until a job is in a phase."""
        self.expect(self.card(model)).to_have_attribute("data-phase", phase, timeout=1000 * seconds)

    def says(self, model: str, words: str | re.Pattern[str], seconds: float = IN_TIME) -> None:
        """Wait until a job says something."""
        self.expect(self.card(model)).to_contain_text(words, timeout=1000 * seconds)

"""The panel stays in step: over a reload, a restart of the server, and in several tabs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.panel.conftest import Open
from tests.panel.house import House, house
from tests.panel.panel import Panel

pytestmark = pytest.mark.browser


def test_a_reload_in_the_middle_changes_nothing(home: House, panel: Panel) -> None:
    """The same job goes on, from where it is, without the token in the address."""
    [release] = home.hold("reloads", 1_000_000)
    panel.install("reloads")
    before = panel.watch("reloads", 20)
    panel.page.reload()
    panel.is_live()
    assert panel.watch("reloads", 0) >= before
    release.set()
    panel.reaches("reloads", "done")
    assert len(home.origin.asked("*/reloads/*/model.onnx")) == 1


def test_two_tabs_show_the_same_and_either_may_cancel(home: House, panel: Panel, tabs: Open) -> None:
    """A job of one tab is a job of the other."""
    other = tabs(home).enter()
    home.hold("shared", 2_000_000)
    panel.install("shared")
    other.watch("shared", 20)
    other.press("shared", "Cancel")
    panel.reaches("shared", "cancelled")
    panel.press("shared", "Clear")
    other.expect(other.card("shared")).to_have_count(0)


def test_a_restart_of_the_server_is_survived(tmp_path: Path, browser: object, tabs: Open) -> None:
    """Connection lost, reconnecting, there again; the job that was cut can be retried, and goes on."""

    def furnish(made: House) -> None:
        made.serve("outlives", {"model.onnx": 4_000_000})

    with house(tmp_path, furnish) as own:
        own.hold("outlives", 2_000_000)
        panel = tabs(own).enter()
        panel.install("outlives")
        panel.watch("outlives", 40)
        own.kill()
        lost = panel.page.locator("#connection")
        panel.expect(lost).to_contain_text("Connection lost, reconnecting…")
        own.start()
        panel.is_live()
        panel.reaches("outlives", "failed")
        panel.expect(panel.card("outlives").locator(".job-state")).to_contain_text("server")
        sent = own.origin.sent("*model.onnx")
        panel.press("outlives", "Retry")
        panel.reaches("outlives", "done")
        assert own.origin.sent("*model.onnx") - sent < 4_000_000


def test_a_job_that_waits_says_for_whom(home: House, panel: Panel) -> None:
    """A command got there first: its process is named, and how far it is; then the job is done too."""
    [release] = home.hold("waits", 2_000_000)
    with home.cli.start("ensure", "waits") as command:
        home.origin.until(lambda origin: bool(origin.asked("*/waits/*")))
        panel.install("waits")
        panel.says("waits", re.compile(rf"Waiting for process {command.process.pid} .*MB of 4\.00 MB"))
        release.set()
        panel.reaches("waits", "done")
        panel.says("waits", "nothing to fetch")
    assert len(home.origin.asked("*/waits/*")) == 1


def test_a_run_of_the_command_line_is_shown_and_cannot_be_touched(
    tmp_path: Path, browser: object, tabs: Open
) -> None:
    """Where nothing of the server's own is on its way, and the history says that it was otherwise before."""

    def furnish(made: House) -> None:
        made.serve("before", {"model.onnx": 50_000})
        made.serve("typed-in", {"model.onnx": 16_000_000})

    with house(tmp_path, furnish) as own:
        panel = tabs(own).enter()
        empty = panel.page.locator("#downloads .empty")
        panel.expect(empty).to_contain_text("No downloads yet")
        panel.install("before")
        panel.reaches("before", "done")
        panel.press("before", "Clear")
        panel.expect(empty).to_contain_text("Nothing is downloading")
        own.hold("typed-in", 2_000_000)
        with own.cli.start("ensure", "typed-in") as command:
            card = panel.card("typed-in")
            panel.expect(card).to_contain_text(f"On the command line: process {command.process.pid}")
            panel.expect(card).to_contain_text(re.compile(r"MB / 16\.0 MB"))
            panel.expect(card.get_by_role("button")).to_have_count(0)
            panel.expect(empty).to_be_hidden()
            command.interrupt()
        panel.expect(card).to_have_count(0)


def test_a_tab_out_of_sight_gives_its_stream_back(home: House, tabs: Open) -> None:
    """A browser has six connections for a server, over all tabs; who is not looked at does not keep one."""
    panel = tabs(home)
    streams: Counter[str] = Counter()
    panel.page.on("request", lambda request: streams.update([request.url]))
    panel.page.on("requestfailed", lambda request: streams.subtract([request.url]))
    panel.page.clock.install()
    panel.enter()
    look = """isHidden => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    connection = panel.page.locator("#connection")
    panel.page.evaluate(look, True)
    stream = f"{home.url}v1/jobs/stream"
    with panel.page.expect_event("requestfailed", lambda request: request.url == stream):
        panel.page.clock.run_for(35_000)
    panel.expect(connection).to_have_attribute("data-phase", "resting")
    assert streams[stream] == 0
    panel.page.evaluate(look, False)
    panel.expect(connection).to_have_attribute("data-phase", "live")


def test_changes_are_read_out_and_progress_is_not(home: House, panel: Panel) -> None:
    """The live region has the states, not each percentage."""
    panel.page.evaluate(
        """() => {
            window.said = [];
            const region = document.getElementById("announcer");
            const hear = () => window.said.push(region.textContent);
            new MutationObserver(hear).observe(region, { childList: true });
        }"""
    )
    [release] = home.hold("announced", 500_000)
    panel.install("announced")
    panel.page.wait_for_function("() => window.said.join().includes('Fetching')")
    release.set()
    panel.reaches("announced", "done")
    panel.page.wait_for_function("() => window.said.join().includes('Done.')")
    said = panel.page.evaluate("window.said")
    assert len(said) < 8
    assert not any(re.search(r"\d%", words) for words in said)

"""What a person does with the panel, in a real browser against a real server."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.origin import faults
from tests.panel.conftest import Open
from tests.panel.house import PACE, House
from tests.panel.panel import Panel

pytestmark = pytest.mark.browser


def test_a_model_is_installed(home: House, panel: Panel) -> None:
    """One press: the bar moves, the figures are told, and at the end there is a check mark."""
    at_first, later = home.hold("installs", 600_000, 2_000_000)
    panel.install("installs")
    first = panel.watch("installs", 10)
    at_first.set()
    second = panel.watch("installs", first + 20)
    assert first < second < 100
    panel.says("installs", re.compile(r"\d MB / 3\.00 MB"))
    panel.expect(panel.button(panel.row("installs"), r"\d+%")).to_be_visible()
    later.set()
    panel.reaches("installs", "done")
    panel.says("installs", "100%")
    panel.says("installs", "3.00 MB fetched in")
    panel.expect(panel.row("installs")).to_contain_text("Installed")
    panel.expect(panel.page.locator("#history")).to_contain_text("installs")
    panel.expect(panel.page.locator("#sources")).to_contain_text(f"127.0.0.1:{home.origin.port}")
    panel.expect(panel.page.locator("#disk")).to_contain_text("free")
    assert (home.cli.cache / "models" / "installs").is_dir()


@pytest.fixture
def slow(home: House) -> Iterator[None]:
    """Downloads that take minutes."""
    home.origin.pace = PACE / 100
    yield
    home.origin.pace = PACE


@pytest.mark.usefixtures("slow")
def test_speed_time_left_and_source_are_shown(panel: Panel) -> None:
    """While bytes come in: how fast, how long still, and from where."""
    panel.install("pauses")
    panel.says("pauses", re.compile(r"\d kB/s"))
    panel.says("pauses", re.compile(r"\ds left"))
    panel.says("pauses", "Fetching from Hugging Face 127.0.0.1")
    panel.press("pauses", "Cancel")
    panel.reaches("pauses", "cancelled")


def test_cancel_keeps_what_is_good_and_retry_goes_on(home: House, panel: Panel) -> None:
    """The retry takes its place and fetches only the rest."""
    home.hold("cancels", 2_000_000)
    panel.install("cancels")
    panel.watch("cancels", 20)
    panel.press("cancels", "Cancel")
    panel.reaches("cancels", "cancelled")
    panel.says("cancels", "Cancelled")
    panel.expect(panel.button(panel.row("cancels"), "Resume")).to_be_visible()
    panel.press("cancels", "Retry")
    panel.reaches("cancels", "done")
    assert panel.page.locator(".job[data-model='cancels']").count() == 1
    assert home.origin.sent("*/cancels/*/model.onnx") < 1.2 * 5_000_000


def test_a_source_that_lies_is_left_and_that_is_shown(home: House, panel: Panel) -> None:
    """Which source, why, and which one instead; also when all is done."""
    panel.install("falls-back")
    panel.reaches("falls-back", "done")
    panel.button(panel.card("falls-back"), "Files").click()
    mirror, origin = f"mirror 127.0.0.1:{home.mirror.port}", f"Hugging Face 127.0.0.1:{home.origin.port}"
    note = panel.lines("falls-back").locator(".file-note")
    panel.expect(note).to_have_text(re.compile(f"^{mirror}: .+ → {origin}$"))


def test_a_retry_is_counted_down(home: House, panel: Panel) -> None:
    """A source that asks for patience gets it, and the wait is shown."""
    seen = threading.Event()  # it asks until then
    busy = faults.status(503, retry_after=2)
    home.origin.fault("*/retries/*/model.onnx", busy, when=lambda _: not seen.is_set())
    panel.install("retries")
    panel.says("retries", re.compile(r"Retrying in \ds"))
    panel.says("retries", "503")
    seen.set()
    panel.reaches("retries", "done")


def test_a_failure_has_its_cause_and_a_hint_and_can_be_cleared(panel: Panel) -> None:
    """What went wrong, what to do, and two buttons."""
    panel.install("fails")
    panel.reaches("fails", "failed")
    card = panel.card("fails")
    panel.expect(card.locator(".job-state")).to_have_text("No source could deliver model.onnx.")
    panel.expect(card.locator(".job-message")).to_be_hidden()
    panel.button(card, "Details").click()
    panel.expect(card.locator(".job-message")).to_contain_text("fails: model.onnx")
    panel.expect(card.locator(".job-hint")).not_to_be_empty()
    panel.button(card, "Files").click()
    note = card.locator(".file-note:visible")
    panel.expect(note).to_have_text(re.compile("^Hugging Face [^→]+: not found$"))
    row = panel.page.locator("#history .run").first
    panel.expect(row.locator(".run-reason")).to_contain_text("no source could deliver it")
    panel.expect(row.locator(".run-when")).to_have_text(re.compile(r"^\d\d:\d\d$"))
    panel.expect(panel.button(panel.card("fails"), "Retry")).to_be_visible()
    panel.press("fails", "Clear")
    panel.expect(panel.card("fails")).to_have_count(0)
    panel.page.reload()
    panel.is_live()
    panel.expect(panel.card("fails")).to_have_count(0)


def test_a_retry_that_fails_again_leaves_one_card(panel: Panel) -> None:
    """The failed job gives way to its retry; Clear forgets both."""
    panel.install("fails")
    panel.reaches("fails", "failed")
    first = panel.card("fails").get_attribute("data-job")
    panel.press("fails", "Retry")
    panel.expect(panel.page.locator(f"[data-job='{first}']")).to_have_count(0)
    panel.reaches("fails", "failed")
    panel.press("fails", "Clear")
    panel.expect(panel.page.locator(".job[data-model='fails']")).to_have_count(0)


def test_a_license_is_shown_before_anything_is_fetched(home: House, panel: Panel) -> None:
    """Whatever is not permissive is asked about first."""
    panel.install("copyleft")
    dialog = panel.page.get_by_role("dialog")
    panel.expect(dialog).to_contain_text("AGPL-3.0")
    dialog.get_by_role("button", name="Cancel").click()
    panel.expect(dialog).to_be_hidden()
    assert home.origin.asked("*/copyleft/*") == []
    panel.install("copyleft")
    dialog.get_by_role("button", name="Install").click()
    panel.reaches("copyleft", "done")


def rot(path: Path) -> None:
    """Change bytes of a file as a bad disk does: without a trace in its times."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"damage")
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_verify_finds_damage_and_repair_mends_it(home: House, panel: Panel) -> None:
    """From the page alone: check, see what is wrong, put it right."""
    panel.install("repairs")
    panel.reaches("repairs", "done")
    damaged = home.cli.cache / "models" / "repairs" / "1" / "model.onnx"
    rot(damaged)
    panel.row("repairs").get_by_role("button").first.click()
    panel.page.get_by_role("dialog").get_by_role("button", name="Verify").click()
    panel.reaches("repairs", "failed")
    panel.press("repairs", "Repair")
    panel.reaches("repairs", "done")
    assert not damaged.read_bytes().startswith(b"damage")


def test_verify_of_what_is_right_says_so(panel: Panel) -> None:
    """Nothing wrong is an answer too."""
    panel.install("checks")
    panel.reaches("checks", "done")
    panel.row("checks").get_by_role("button").first.click()
    panel.page.get_by_role("dialog").get_by_role("button", name="Verify").click()
    panel.says("checks", "Verified: all 2 files are right")


def test_thirteen_files_have_thirteen_bars(home: House, panel: Panel) -> None:
    """Each file its line, its bar and its figures, in the order of the plan."""
    seen = threading.Event()  # the last file ends only then: the job would else be over before a look
    home.origin.fault("*/thirteen/*/part-13.bin", faults.stall(until=seen))
    panel.install("thirteen")
    panel.expect(panel.lines("thirteen")).not_to_have_count(0)
    seen.set()
    panel.reaches("thirteen", "done")
    panel.expect(panel.lines("thirteen").first).to_be_hidden()
    panel.button(panel.card("thirteen"), "Files").click()
    panel.expect(panel.lines("thirteen")).to_have_count(13)
    bars = panel.lines("thirteen").get_by_role("progressbar")
    panel.expect(bars).to_have_count(13)
    assert {bars.nth(each).get_attribute("aria-valuenow") for each in range(13)} == {"100"}
    names = panel.lines("thirteen").locator(".file-name").all_inner_texts()
    assert names == [f"part-{number:02}.bin" for number in range(1, 14)]


def test_the_log_tells_what_happened(panel: Panel) -> None:
    """Newest first, with the time, as the server words it; it can be emptied."""
    panel.install("logged")
    panel.reaches("logged", "done")
    panel.button(panel.card("logged"), "Log").click()
    entries = panel.card("logged").locator(".log-entry")
    panel.expect(entries.first).to_contain_text("Download complete")
    panel.expect(entries.last).to_contain_text("model: logged")
    panel.expect(entries.first.locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    panel.card("logged").get_by_role("button", name="Clear log", exact=True).click()
    panel.expect(panel.card("logged").locator(".log-count")).to_have_text("0 entries")


def test_search_and_filters_narrow_the_list(panel: Panel) -> None:
    """As one types; a filter counts what it would show."""
    panel.page.fill("#search", "thirt")
    panel.expect(panel.page.locator(".model")).to_have_count(1)
    panel.page.fill("#search", "no such model")
    panel.expect(panel.page.locator(".nothing")).to_contain_text("no such model")
    panel.page.fill("#search", "")
    panel.page.get_by_role("button", name=re.compile("^Not installed")).click()
    panel.expect(panel.row("fails")).to_be_visible()


def test_task_and_format_narrow_the_list_together(panel: Panel) -> None:
    """The choices are what the models state; models that state nothing are in neither."""
    panel.page.get_by_label("Task", exact=True).select_option("embedding")
    panel.page.get_by_label("Format", exact=True).select_option("safetensors")
    panel.expect(panel.row("all-minilm-l6-v2")).to_be_visible()
    panel.expect(panel.page.locator(".model")).to_have_count(2)
    panel.expect(panel.page.locator(".found")).to_have_text("2 found")
    panel.expect(panel.page.get_by_role("button", name=re.compile("^All 2$"))).to_be_visible()
    panel.page.get_by_label("Format", exact=True).select_option("")
    panel.expect(panel.row("all-minilm-l6-v2-onnx")).to_be_visible()
    panel.expect(panel.row("fails")).to_be_hidden()


def test_a_link_asks_before_it_installs_and_asks_once(home: House, tabs: Open) -> None:
    """Following a link fetches nothing by itself; the question is not in the address any more."""
    panel = tabs(home).enter("?install=linked&other=1")
    dialog = panel.page.get_by_role("dialog")
    panel.expect(dialog).to_contain_text("Install linked?")
    assert panel.page.url == f"{home.url}?other=1"
    assert home.origin.asked("*/linked/*") == []
    dialog.get_by_role("button", name="Install").click()
    panel.reaches("linked", "done")
    panel.page.reload()
    panel.is_live()
    panel.expect(dialog).to_be_hidden()


def test_a_link_to_an_unknown_model_says_so(home: House, tabs: Open) -> None:
    """And shows the name as it is, whatever is in it."""
    panel = tabs(home).enter("?install=%3Cb%3Enope")
    panel.expect(panel.page.get_by_role("alert").filter(has_text="<b>nope")).to_be_visible()
    assert panel.page.url == home.url

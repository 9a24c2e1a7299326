"""How long a check counts: 90 days by default, a failed one 7 days; never a reason to refuse."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelfetch.history import CheckRow
from modelfetch.model.manifest import PinOrigin
from modelfetch.pins.outdated import Checked, record, record_pinned
from modelfetch.pins.upstream_state import StalePolicy, upstream_state, upstream_states
from modelfetch.workspace import Workspace
from tests.pins.moving import pin

NOW = datetime(2026, 11, 28, tzinfo=UTC)
POLICY = StalePolicy(90, 7)


def days(number: float) -> datetime:
    """A time so many days ago."""
    return NOW - timedelta(days=number)


def row(checked: float | None = None, *, moved: bool = False, failed: float | None = None) -> CheckRow:
    return CheckRow(
        "hf:org/m@main",
        pin().identity,
        None if checked is None else days(checked),
        moved,
        "c0ffee",
        None if failed is None else days(failed),
        "" if failed is None else "no answer",
    )


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (row(1), "current"),
        (row(89), "current"),
        (row(91), "due"),
        (row(1, moved=True), "moved"),
        (row(400, moved=True), "moved"),
        (row(1, failed=0), "current"),
        (row(1, moved=True, failed=0), "moved"),
        (row(91, failed=0), "due"),
        (row(96.9, failed=0), "due"),
        (row(97.1, failed=0), "failed"),
        (row(97.1, failed=50), "failed"),
        (row(98, moved=True, failed=0), "failed"),
        (None, "current"),
    ],
)
def test_the_state_follows_from_the_age_of_checks(found: CheckRow | None, state: str) -> None:
    known = upstream_state(pin(), found, POLICY, NOW)
    assert known is not None
    assert known.state == state
    assert known.moved == bool(found and found.moved)


@pytest.mark.parametrize(("added", "state"), [("2026-11-01", "current"), ("2026-08-01", "due"), ("", "due")])
def test_without_a_check_the_day_of_add_counts(added: str, state: str) -> None:
    manifest = replace(pin(), upstream=PinOrigin("hf:org/m@main", added=added))
    known = upstream_state(manifest, None, POLICY, NOW)
    assert known is not None
    assert known.state == state


def test_with_an_age_of_zero_no_check_is_due() -> None:
    off = StalePolicy(0, 0)
    for found in (row(4000), row(4000, failed=0), None):
        known = upstream_state(pin(), found, off, NOW)
        assert known is not None
        assert known.state == "current"


def test_a_model_without_an_upstream_has_no_state() -> None:
    assert upstream_state(replace(pin(), upstream=None), None, POLICY, NOW) is None


def test_the_words_say_when_and_why() -> None:
    known = upstream_state(pin(), row(120, failed=1), POLICY, NOW)
    assert known is not None
    assert known.words == "check failed, last checked 2026-07-31: no answer"
    assert known.document == {
        "ref": "hf:org/m@main",
        "state": "failed",
        "checked_at": "2026-07-31T00:00:00.000Z",
        "moved": False,
        "revision": "c0ffee",
        "error": "no answer",
    }


def test_credentials_in_an_address_are_not_shown() -> None:
    origin = PinOrigin("https://user:secret@host.example/m.bin", added="2026-11-01")
    known = upstream_state(replace(pin(), upstream=origin), None, POLICY, NOW)
    assert known is not None
    assert "secret" not in known.ref


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    environ = {"HOME": str(tmp_path), "MODELFETCH_CACHE_DIR": str(tmp_path / "cache")}
    return Workspace.open(environ=environ, cwd=tmp_path)


def test_checks_are_recorded_and_read(workspace: Workspace) -> None:
    record(workspace, [Checked(pin(), "moved", "b" * 40)])
    known = upstream_states(workspace, [pin()])["m"]
    assert (known.state, known.revision) == ("moved", "b" * 40)
    record_pinned(workspace, pin())
    assert upstream_states(workspace, [pin()])["m"].state == "current"


def test_a_check_of_other_files_does_not_count(workspace: Workspace) -> None:
    record(workspace, [Checked(pin(files={"other.bin": b"1"}), "moved", "b" * 40)])
    assert not upstream_states(workspace, [pin()])["m"].moved


def test_models_without_an_upstream_do_not_open_the_history(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "history", None)
    assert upstream_states(workspace, [replace(pin(), upstream=None)]) == {}

"""Snapshots of a run in each of its phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileCommitted,
    FileKept,
    FileStarted,
    LockWaiting,
    ModelReady,
    Planned,
    PlannedFile,
    Progress,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.state import RunState
from modelfetch.server.job_snapshot import MAX_SNAPSHOT_FILES, Facts, Snapshot, brief, limit_files, snapshot
from modelfetch.server.job_state import JobState, Order

AT = datetime(2026, 11, 20, 6, tzinfo=UTC)
FILES = (
    PlannedFile("big.bin", 1000, "b" * 64, "partial", 100, ("mirror a.example",)),
    PlannedFile("small.bin", 10, "c" * 64, "missing", 0, ("mirror a.example",)),
)
BEGUN: list[Event] = [
    RunStarted("ensure", ("m",)),
    Planned("m", "1", "T", "MIT", "", "", "/x", 1010, 910, FILES),
    FileStarted("m", "big.bin", 1000, 100),
]
PROGRESS = Progress("m", "big.bin", "mirror", "a.example", 1, 400, 1000)
RETRY = RetryScheduled("m", "big.bin", "mirror", "a.example", 2, "cut", "the connection was cut", 4.0)
FALLBACK = SourceFailed(
    "m", "big.bin", "mirror", "a.example", "not_found", "not found", "", 400, "ipfs", "b.example"
)
LOST = SourceFailed("m", "big.bin", "mirror", "a.example", "not_found", "not found", "", 400, "", "")
RUNNING = JobState(AT).started(AT)


def fold(events: Sequence[Event], step: float = 1.0) -> RunState:
    state = RunState()
    for n, event in enumerate(events):
        state.apply(event, n * step)
    return state


def make_snapshot(events: Sequence[Event], state: JobState = RUNNING, now: float = 0.0) -> Snapshot:
    facts = Facts("job-1", Order("model_download", "m"), "T", None, state, 0, 3, "words")
    return snapshot(facts, fold(events) if events else None, now)


PHASES: dict[str, list[Event]] = {
    "planning": BEGUN[:1],
    "waiting": [BEGUN[0], LockWaiting("m", "", "process 1", 0.0)],
    "fetching": [*BEGUN, PROGRESS],
    "retrying": [*BEGUN, PROGRESS, RETRY],
    "falling back": [*BEGUN, PROGRESS, FALLBACK],
    "verifying": [*BEGUN, Progress("m", "big.bin", "mirror", "a.example", 1, 1000, 1000)],
}


@pytest.mark.parametrize("phase", PHASES)
def test_the_phase_follows_the_events(phase: str) -> None:
    assert make_snapshot(PHASES[phase])["phase"] == phase


def test_a_job_that_has_not_started_is_queued() -> None:
    found = make_snapshot([], JobState(AT))
    assert (found["status"], found["phase"], found["files"]) == ("queued", "queued", [])
    assert (found["received"], found["size"], found["percent"]) == (0, 0, 0.0)
    assert found["started_at"] is None


def test_between_two_files_it_is_still_fetching() -> None:
    done = FileCommitted("m", "big.bin", "/x", 1000, "b" * 64, "mirror", "a.example", 900, 1.0)
    assert make_snapshot([*BEGUN, PROGRESS, done])["phase"] == "fetching"


def test_a_verify_job_is_verifying_from_its_first_file_to_its_last() -> None:
    planned = Planned("m", "1", "T", "MIT", "", "", "/x", 1010, 0, FILES)
    assert make_snapshot([RunStarted("verify", ("m",)), planned])["phase"] == "verifying"


@pytest.mark.parametrize(
    ("outcome", "phase", "code"),
    [("completed", "done", 0), ("failed", "failed", 6), ("cancelled", "cancelled", 130)],
)
def test_an_end_has_status_phase_and_exit_code(outcome: str, phase: str, code: int) -> None:
    error = None if code == 0 else ErrorInfo("x", "y", "z")
    end = RunFinished(outcome, code, 1.0, (), error)  # type: ignore[arg-type]
    found = make_snapshot([*BEGUN, PROGRESS, RETRY], RUNNING.ended(end, AT))
    assert (found["status"], found["phase"], found["exit_code"]) == (outcome, phase, code)
    assert found["error"] == (None if error is None else {"code": "x", "message": "y", "hint": "z"})
    assert [file["status"] for file in found["files"]] == ["cancelled", "cancelled"]
    assert [file["wait"] for file in found["files"]] == [None, None]
    assert found["speed"] is found["eta"] is found["waiting"] is None


def test_a_waiting_file_has_its_remaining_wait() -> None:
    waiting = make_snapshot([*BEGUN, PROGRESS, RETRY], now=5.5)["files"][0]  # scheduled at 4, for 4 seconds
    assert (waiting["phase"], waiting["wait"], waiting["attempt"]) == ("retrying", 2.5, 2)
    assert waiting["note"] == "the connection was cut"
    assert make_snapshot([*BEGUN, PROGRESS, RETRY], now=99.0)["files"][0]["wait"] == 0.0


def test_a_fallback_names_the_next_source_and_the_reason() -> None:
    file = make_snapshot([*BEGUN, PROGRESS, FALLBACK])["files"][0]
    assert (file["source"], file["host"], file["note"]) == ("ipfs", "b.example", "not found")
    assert (file["phase"], file["received"], file["status"]) == ("falling back", 400, "running")
    again = Progress("m", "big.bin", "ipfs", "b.example", 1, 400, 1000)
    assert make_snapshot([*BEGUN, PROGRESS, FALLBACK, again])["files"][0]["phase"] == "fetching"


def test_a_failed_file_is_failed_while_others_continue() -> None:
    found = make_snapshot([*BEGUN, PROGRESS, LOST, FileStarted("m", "small.bin", 10, 0)])
    assert [file["status"] for file in found["files"]] == ["failed", "running"]
    assert found["status"] == "running"


def test_a_wait_has_the_holder_and_its_progress() -> None:
    wait = LockWaiting("m", "", "process 4711 on builder", 5.0, 130, 295)
    assert make_snapshot([BEGUN[0], wait])["waiting"] == {
        "holder": "process 4711 on builder",
        "waited": 5.0,
        "received": 130,
        "size": 295,
    }


def test_bytes_present_before_are_received_but_not_fetched() -> None:
    found = make_snapshot([*BEGUN, PROGRESS])
    assert (found["received"], found["fetched"]) == (400, 300)
    kept = [BEGUN[0], FileKept("m", "big.bin", 1000), ModelReady("m", "1", "/x", 1, 1000, 0)]
    assert make_snapshot(kept)["fetched"] == 0
    local = Progress("m", "big.bin", "local", "/models", 1, 900, 1000)
    assert make_snapshot([*BEGUN, local])["fetched"] == 0


def test_the_bytes_of_each_file_have_their_sources() -> None:
    """Also those of an earlier run, and chunks that were on this disk; by source, the largest first."""
    parts = ((0, 100, "peer b.example:8765"), (100, 150, "cache chunks"), (150, 400, "mirror a.example"))
    shared = Progress("m", "big.bin", "mirror", "a.example", 1, 400, 1000, parts)
    small = FileCommitted("m", "small.bin", "/x", 10, "c" * 64, "mirror", "a.example", 10, 1.0)
    found = make_snapshot([*BEGUN, shared, small])
    assert [file["parts"] for file in found["files"]] == [
        [list(part) for part in parts],
        [[0, 10, "mirror a.example"]],
    ]
    assert found["sources"] == [
        {"source": "mirror", "host": "a.example", "received": 260},
        {"source": "peer", "host": "b.example:8765", "received": 100},
        {"source": "cache", "host": "", "received": 50},
    ]
    assert make_snapshot([])["sources"] == []


def test_verified_bytes_came_from_nowhere() -> None:
    events = [RunStarted("verify", ("m",)), BEGUN[1], FileStarted("m", "big.bin", 1000, 0)]
    found = make_snapshot([*events, Progress("m", "big.bin", "cache", "", 1, 400, 1000)])
    assert (found["sources"], found["files"][0]["parts"]) == ([], [])


def test_percent_is_100_only_when_all_files_are_done() -> None:
    almost = Progress("m", "big.bin", "mirror", "a.example", 1, 1000, 1000)
    assert make_snapshot([*BEGUN, almost])["files"][0]["percent"] < 100


def test_a_brief_snapshot_has_all_but_the_files() -> None:
    full = make_snapshot([*BEGUN, PROGRESS])
    assert brief(full) == {key: value for key, value in full.items() if key != "files"}


def test_of_many_files_a_stream_gets_the_active_ones() -> None:
    files = tuple(PlannedFile(f"{n}", 10, "a" * 64, "missing", 0, ()) for n in range(MAX_SNAPSHOT_FILES + 1))
    events: list[Event] = [
        RunStarted("ensure", ("m",)),
        Planned("m", "1", "", "MIT", "", "", "/x", 1, 1, files),
        FileStarted("m", "7", 10, 0),
    ]
    full = make_snapshot(events)
    assert [file["file"] for file in limit_files(full)["files"]] == ["7"]
    assert limit_files(full)["files_total"] == MAX_SNAPSHOT_FILES + 1
    assert (
        limit_files(make_snapshot([*BEGUN, PROGRESS]))["files"] == make_snapshot([*BEGUN, PROGRESS])["files"]
    )


# Lives


def test_a_state_goes_from_queued_to_running_to_one_end() -> None:
    end = RunFinished("completed", 0, 1.0, (), None)
    state = JobState(AT).started(AT).ended(end, AT)
    assert (state.status, state.is_over, state.is_retryable) == ("completed", True, False)
    steps: list[Callable[[], JobState]] = [
        lambda: state.started(AT),
        lambda: state.ended(end, AT),
        lambda: RUNNING.started(AT),
    ]
    for step in steps:
        with pytest.raises(AssertionError):
            step()

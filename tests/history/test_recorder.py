"""What a run writes to the history: every row once, in batches, and nothing if nothing happened."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfetch.engine.events import (
    Event,
    FileKept,
    FileVerified,
    ModelReady,
    PlannedFile,
    RunFinished,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.record import Record
from modelfetch.history import CidRow, FileRow, History
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.reporters.history_rows import EVENTS, HistoryRows
from modelfetch.reporters.recorder import Recorder, recorded
from tests.history.material import held_by_another, rows
from tests.scripted import (
    FILES,
    MODEL,
    Script,
    Timed,
    already_there,
    at_once,
    check,
    committed,
    completed,
    download,
    failed,
    planned,
    play,
    progress,
    results,
    stamped,
    started,
)

SIZE = 1_000_000


class Counting(History):
    """A history that counts how often it was written."""

    writes = 0

    def write(self, **rows: Any) -> None:
        self.writes += 1
        super().write(**rows)


def recorder(history: History, *manifests: Manifest) -> Recorder:
    known = {manifest.name: manifest for manifest in manifests}
    return Recorder(lambda: HistoryRows(history, known.get))


def remember(history: History, timed: list[Timed], *manifests: Manifest) -> Recorder:
    """Record a run with its own clock, and return the closed history."""
    reporter = recorder(history, *manifests)
    for _ in recorded(_stream(timed), reporter):
        pass
    return reporter


def _stream(timed: list[Timed]) -> Generator[Record, None, None]:
    yield from stamped(timed)


@pytest.fixture
def history(path: Path) -> Counting:
    """Runs of scripts are of a day of their own, so nothing may be too old."""
    return Counting(path, days=36_500)


def test_a_download_leaves_its_run_files_attempts_and_events(history: Counting) -> None:
    remember(history, at_once(download()))
    [run] = history.runs()
    total = sum(size for _, size in FILES)
    assert (run.run, run.operation, run.models, run.outcome) == ("r1", "ensure", (MODEL,), "completed")
    assert (run.exit_code, run.fetched, run.error, run.failures) == (0, total, "", 0)
    assert run.finished_at is not None
    assert run.seconds == pytest.approx((run.finished_at - run.started_at).total_seconds())
    assert run.seconds > 0
    files = rows(history.path, FileRow)
    assert {(row.file, row.size) for row in files} == set(FILES)
    assert {(row.status, row.source, row.fetched == row.size) for row in files} == {
        ("completed", "huggingface hf.example", True)
    }
    assert [row.outcome for row in history.attempts(run="r1")] == ["success"] * len(FILES)


def test_the_log_has_every_event_but_progress_of_which_it_has_the_quarters(history: Counting) -> None:
    remember(history, at_once(download()))
    events = history.events("r1")
    assert [event["human"] for event in events if event["event"] == "progress"] == [
        "📊 Progress: 35.3% (104.3 MB / 295.3 MB)",
        "📊 Progress: 70.6% (208.5 MB / 295.3 MB)",
        "📊 Progress: 84.5% (249.8 MB / 295.3 MB)",
    ]
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[1], kinds[-1]) == ("run_started", "planned", "run_finished")
    assert [kinds.count(kind) for kind in ("file_started", "file_verified", "file_committed")] == [9, 9, 9]
    assert [event["n"] for event in events] == sorted(event["n"] for event in events)
    assert {event["run"] for event in events} == {"r1"}


def test_the_log_has_a_stall_and_how_long_it_was(history: Counting) -> None:
    size = 80_000_000
    still = progress("a", size // 2, size)
    begun: list[Timed] = [
        (0, RunStarted("ensure", (MODEL,))),
        (0, planned([("a", size)])),
        (0, started("a", size)),
    ]
    stall: list[Timed] = [(n, still) for n in range(1, 24)]
    remember(history, [*begun, *stall, (24.0, progress("a", size * 6 // 10, size)), (27.0, still)])
    told = [
        event["human"].partition("), ")[2] for event in history.events("r1") if event["event"] == "progress"
    ]
    assert told == ["", *(f"no data for {n} s" for n in (2, 10, 20, 3))]


def test_a_run_that_found_everything_there_does_not_even_open_the_history(history: Counting) -> None:
    reporter = remember(history, at_once(already_there()))
    assert history.writes == 0
    assert not history.path.parent.exists()
    assert reporter.notice == ""


def test_a_quick_check_that_found_everything_unchanged_leaves_no_trace(history: Counting) -> None:
    kept: list[Event] = [RunStarted("verify", (MODEL,)), FileKept(MODEL, "a", 1)]
    remember(history, at_once([*kept, RunFinished("completed", 0, 0.1, results([("a", 1)]), None)]))
    assert history.writes == 0


def test_a_verification_that_read_files_is_recorded_without_attempts(history: Counting) -> None:
    remember(history, at_once(check()))
    assert [(run.operation, run.outcome, run.fetched) for run in history.runs()] == [
        ("verify", "completed", 0)
    ]
    assert (len(rows(history.path, FileRow)), history.attempts()) == (len(FILES), [])


def test_a_run_that_failed_with_nothing_done_is_remembered(history: Counting) -> None:
    remember(history, at_once([RunStarted("ensure", (MODEL,)), failed()]))
    [run] = history.runs()
    assert (run.outcome, run.exit_code, run.error) == ("failed", 6, "no source could deliver")


def test_files_that_were_kept_beside_others_are_hits(history: Counting) -> None:
    plan = planned([("a", SIZE), ("b", SIZE)])
    kept = PlannedFile("b", SIZE, "0" * 64, "kept", SIZE, ())
    events: list[Event] = [
        RunStarted("ensure", (MODEL,)),
        type(plan)(
            **{name: getattr(plan, name) for name in plan.__slots__} | {"files": (plan.files[0], kept)}
        ),
        FileKept(MODEL, "b", SIZE),
        started("a", SIZE),
        progress("a", 0, SIZE),
        progress("a", SIZE, SIZE),
        committed("a", SIZE),
    ]
    remember(history, at_once([*events, *completed([("a", SIZE), ("b", SIZE)], SIZE)]))
    assert [(row.file, row.outcome) for row in history.attempts()] == [("b", "hit"), ("a", "cancelled")]
    assert {row.file: row.source for row in rows(history.path, FileRow)} == {
        "a": "huggingface hf.example",
        "b": "huggingface",
    }


def test_a_short_run_is_written_at_once_and_a_long_one_about_every_second(history: Counting) -> None:
    remember(history, [(n / 1000, event) for n, event in enumerate(download())])
    assert history.writes == 1
    remember(history, [(float(n), event) for n, event in enumerate(download())])
    assert history.writes == 1 + len(FILES) + 1


def test_an_active_run_is_listed(path: Path) -> None:
    history = History(path, days=36_500)
    reporter = recorder(history)
    for record in stamped([(float(n), event) for n, event in enumerate(download()[:7])]):
        if not isinstance(record.event, RunFinished):
            reporter.report(record)
    [run] = history.runs()
    assert (run.outcome, run.finished_at, run.exit_code) == ("running", None, None)
    assert len(history.attempts()) == 1
    reporter.close()
    assert [row.outcome for row in history.runs()] == ["cancelled"]


def test_a_stream_that_is_closed_in_the_middle_is_remembered_as_cancelled(history: Counting) -> None:
    stream = recorded(_stream(at_once(download())), recorder(history))
    for _ in range(4):
        next(stream)
    stream.close()
    [run] = history.runs()
    assert (run.outcome, run.exit_code) == ("cancelled", None)
    assert run.finished_at is not None
    assert [(row.outcome, row.received) for row in history.attempts()] == [("cancelled", 0)]


def test_an_interrupted_run_is_remembered_with_its_exit_code(history: Counting) -> None:
    def events() -> Iterator[Event]:
        yield from download()[:5]
        raise KeyboardInterrupt

    from modelfetch.engine.stream import follow

    assert follow(events(), [recorder(history)]).exit_code == 130
    [run] = history.runs()
    assert (run.outcome, run.exit_code) == ("cancelled", 130)
    assert run.error.startswith("cancelled")


@pytest.mark.parametrize("moment", ["before it is open", "while it is told what was held"])
def test_ctrl_c_while_the_history_is_loaded_loses_no_run(history: Counting, moment: str) -> None:
    from modelfetch.engine.stream import follow

    impatience = iter([KeyboardInterrupt])

    class Interrupted(HistoryRows):
        def report(self, record: Record) -> None:
            super().report(record)
            for interrupt in impatience:
                raise interrupt

    def begin() -> HistoryRows:
        if moment == "before it is open":
            for interrupt in impatience:
                raise interrupt
        return Interrupted(history, lambda _: None)

    assert follow(iter(download()), [Recorder(begin)]).exit_code == 130
    [run] = history.runs()
    assert (run.outcome, run.exit_code, run.models) == ("cancelled", 130, (MODEL,))
    kinds = [event["event"] for event in history.events(run.run)]
    assert (kinds[:3], kinds[-1]) == (["run_started", "planned", "file_started"], "run_finished")


def test_failed_attempts_and_all_received_bytes_are_counted(history: Counting) -> None:
    size = 1000
    events: list[Event] = [
        RunStarted("ensure", (MODEL,)),
        planned([("a", size)]),
        started("a", size),
        progress("a", 0, size, "mirror", "m.example"),
        progress("a", size, size, "mirror", "m.example"),
        SourceFailed(MODEL, "a", "mirror", "m.example", "hash", "wrong", "", 0, "", ""),
        failed(),
    ]
    remember(history, at_once(events))
    [run] = history.runs()
    assert (run.failures, run.fetched) == (1, size)


def test_what_came_from_this_disk_was_not_fetched(history: Counting) -> None:
    events: list[Event] = [
        RunStarted("ensure", (MODEL,)),
        planned([("a", 1000)]),
        progress("a", 0, 1000, "local", "/somewhere"),
        progress("a", 1000, 1000, "local", "/somewhere"),
        failed(),
    ]
    remember(history, at_once(events))
    assert [run.fetched for run in history.runs()] == [0]


def test_the_number_of_events_is_bounded_and_the_last_is_always_there(history: Counting) -> None:
    begin: list[Event] = [RunStarted("ensure", (MODEL,)), planned([("a", 1)])]
    many: list[Event] = [started("a", 1)] * (EVENTS + 50)
    remember(history, at_once([*begin, *many, *completed([("a", 1)], 0)]))
    events = history.events("r1")
    assert len(events) == EVENTS
    assert [event["event"] for event in events[-2:]] == ["file_started", "run_finished"]


# What the manifest knows


def manifest(**changes: Any) -> Manifest:
    file = FileSpec("a", SIZE, "5" * 64, cid="bafkreia")
    values = {"name": MODEL, "version": "1846881b6b3a", "files": (file,), "kind": "worker"}
    return Manifest(**values | changes)


def tried(source: str, host: str) -> list[Event]:
    """A gateway fails, and a source delivers."""
    return [
        RunStarted("ensure", (MODEL,)),
        planned([("a", SIZE)]),
        progress("a", 0, SIZE, "ipfs", "gate.example"),
        SourceFailed(MODEL, "a", "ipfs", "gate.example", "server", "failed", "", 0, source, host),
        progress("a", 0, SIZE, source, host),
        progress("a", SIZE, SIZE, source, host),
        committed("a", SIZE, source, host),
        *completed([("a", SIZE)], SIZE),
    ]


def test_attempts_know_what_their_model_is(history: Counting) -> None:
    remember(history, at_once(download()), manifest())
    assert {row.kind for row in history.attempts()} == {"worker"}


def test_a_cid_counts_what_gateways_did_with_it_and_nothing_else(history: Counting) -> None:
    remember(history, at_once(tried("huggingface", "hf.example")), manifest())
    [row] = rows(history.path, CidRow)
    assert (row.cid, row.sha256, row.model, row.file) == ("bafkreia", "5" * 64, MODEL, "a")
    assert (row.successes, row.failures) == (0, 1)


def test_a_file_of_a_directory_is_recorded_by_its_requested_address(history: Counting) -> None:
    whole = manifest(files=(FileSpec("a", SIZE, "5" * 64),), ipfs_cid="bafybeid")
    remember(history, at_once(tried("mirror", "m.example")), whole)
    assert [row.cid for row in rows(history.path, CidRow)] == ["bafybeid/a"]


def test_the_cid_of_a_file_is_recorded_when_its_chunk_map_was_made(history: Counting) -> None:
    """Also that of a model that no catalog has."""
    cids = {"a": "bafybeia", "b": "bafybeib"}
    remember(
        history,
        at_once(
            [
                planned(),
                FileVerified(MODEL, "a", SIZE, "5" * 64, cids["a"]),
                FileVerified(MODEL, "c", SIZE, "7" * 64),
                replace(committed("b", SIZE), cid=cids["b"]),
                *completed([("a", SIZE), ("b", SIZE)], SIZE),
            ]
        ),
    )
    found = [
        (row.cid, row.sha256, row.file, row.successes, row.failures) for row in rows(history.path, CidRow)
    ]
    assert found == [("bafybeia", "5" * 64, "a", 0, 0), ("bafybeib", "0" * 64, "b", 0, 0)]


def test_the_addresses_of_another_version_are_not_taken_for_those_of_this_one(history: Counting) -> None:
    remember(history, at_once(tried("mirror", "m.example")), manifest(version="2"))
    assert rows(history.path, CidRow) == []


def test_a_run_of_a_model_that_no_catalog_has_is_remembered_all_the_same(history: Counting) -> None:
    remember(history, at_once(tried("mirror", "m.example")))
    assert (len(history.runs()), rows(history.path, CidRow)) == (1, [])
    assert {row.kind for row in history.attempts()} == {"model"}


# Trouble


def test_an_unusable_history_is_a_notice_and_does_not_fail_the_run(history: Counting) -> None:
    history.path.parent.mkdir()
    history.path.mkdir()
    reporter = recorder(history)
    assert play(at_once(download()), reporter).outcome == "completed"
    assert "could not be written: it is not a regular file" in reporter.notice


@pytest.mark.slow
def test_a_locked_history_is_waited_for_once_at_the_end(path: Path) -> None:
    with History(path) as first:
        first.write(cids=[CidRow("c", "", "", "", next(stamped([])).at, 0, 0)])
    history = History(path, days=36_500, wait=0.2)
    with held_by_another(path):
        reporter = remember(history, [(float(n), event) for n, event in enumerate(download())])
        assert "another process has it locked" in reporter.notice
    assert history.runs() == []


def test_a_recorder_that_fails_is_dropped_and_the_records_continue(
    history: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> HistoryRows:
        raise ZeroDivisionError("on purpose")

    records = list(recorded(_stream(at_once(download())), Recorder(broken)))
    assert isinstance(records[-1].event, RunFinished)
    assert len(caplog.records) == 1


def test_closing_a_stream_closes_the_engine(history: Counting) -> None:
    from modelfetch.engine.stream import records

    script = Script(at_once(download()))
    stream = recorded(records(script()), recorder(history))
    next(stream)
    stream.close()
    assert script.was_closed


def test_a_model_that_became_ready_without_a_fetch_is_still_no_event(history: Counting) -> None:
    ready = ModelReady(MODEL, "1", "/cache", 0, 0, 0)
    remember(
        history, at_once([RunStarted("ensure", (MODEL,)), ready, RunFinished("completed", 0, 0, (), None)])
    )
    assert history.writes == 0

"""The sentences of the reporters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileCommitted,
    FileKept,
    FileQuarantined,
    FileResult,
    LockWaiting,
    ModelReady,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.record import Record
from modelfetch.engine.state import RunState
from modelfetch.model.manifest import NO_LICENSE
from modelfetch.notices import Notices
from modelfetch.reporters import error_lines, terminal_text
from modelfetch.reporters.failure_notes import Note, Notes
from modelfetch.reporters.terminal_text import ASCII, UNICODE, symbols_for
from tests.scripted import FILES, MODEL, at_once, committed, download, failed, planned, stamped


def last(events: list[Event]) -> Record:
    return list(stamped(at_once(events)))[-1]


def state(events: list[Event]) -> RunState:
    return last([*events, RunFinished("completed", 0, 1.0, (), None)]).state


def retry(file: str = "a", wait: float = 2.1, attempt: int = 2) -> RetryScheduled:
    return RetryScheduled(
        MODEL, file, "mirror", "m.example", attempt, "busy", "503 Service Unavailable", wait
    )


def left(
    file: str = "a", following: tuple[str, str] = ("huggingface", "hf.example"), hint: str = ""
) -> SourceFailed:
    return SourceFailed(MODEL, file, "mirror", "m.example", "not_found", "404 Not Found", hint, 0, *following)


def test_an_error_is_one_line_and_its_hint_another() -> None:
    assert error_lines(failed(hint="try --prefer url")) == [
        "error: no source could deliver",
        "  → try --prefer url",
    ]
    assert error_lines(failed()) == ["error: no source could deliver"]
    assert error_lines(failed(hint="x"), ASCII)[1] == "  -> x"


def test_a_cancelled_run_says_how_to_go_on_in_one_line() -> None:
    error = ErrorInfo("cancelled", "cancelled: 120 MB of 295 MB kept", "run the same command again to go on")
    lines = error_lines(RunFinished("cancelled", 130, 1.0, (), error))
    assert lines == ["cancelled: 120 MB of 295 MB kept; run the same command again to go on"]


def test_a_completed_run_has_no_error_lines() -> None:
    assert error_lines(RunFinished("completed", 0, 1.0, (), None)) == []


def test_error_lines_are_harmless() -> None:
    error = failed(message="bad \x1b]0;x\x07name\u202e", hint="\x9b31m[red]")
    assert error_lines(error) == ["error: bad ]0;xname", "  → 31m[red]"]


@pytest.mark.parametrize(
    ("licence", "notice", "homepage", "lines"),
    [
        ("MIT", "", "https://x.example", []),
        (
            "AGPL-3.0",
            "",
            "https://x.example",
            ["license: AGPL-3.0 (as stated by the publisher; https://x.example)"],
        ),
        ("AGPL-3.0", "Mind this.", "", ["license: AGPL-3.0 (as stated by the publisher)", "Mind this."]),
        ("MIT", "Mind this.", "", ["license: MIT (as stated by the publisher)", "Mind this."]),
        ("", NO_LICENSE, "https://x.example", ["license: not stated by the publisher; https://x.example"]),
        ("", "Mind this.", "", ["license: not stated by the publisher", "Mind this."]),
    ],
)
def test_a_licence_is_told_before_a_download_unless_it_is_permissive(
    licence: str, notice: str, homepage: str, lines: list[str]
) -> None:
    plan = replace(planned(), license=licence, license_notice=notice, homepage=homepage)
    assert terminal_text.license_lines(plan) == lines
    assert terminal_text.license_lines(replace(plan, missing=0)) == []


def test_a_plan_counts_what_is_missing_and_what_an_earlier_run_left() -> None:
    plan = planned([("a", 100_000_000), ("b", 200_000_000)])
    assert terminal_text.plan(plan) == "2 files, 300 MB; 2 to fetch, 300 MB"
    part = replace(plan.files[0], state="partial", held=40_000_000)
    resumed = replace(plan, missing=260_000_000, files=(part, plan.files[1]))
    assert terminal_text.plan(resumed) == "2 files, 300 MB; 2 to fetch, 260 MB (40.0 MB in the cache already)"
    there = replace(plan, missing=0, files=tuple(replace(file, state="kept") for file in plan.files))
    assert terminal_text.plan(there) == "2 files, 300 MB"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.04s"), (0.1, "0.1s"), (2.14, "2.1s"), (9.94, "9.9s"), (9.96, "10s"), (92, "1m 32s")],
)
def test_a_duration_has_the_fractions_that_mean_something(seconds: float, shown: str) -> None:
    assert terminal_text.exact(seconds) == shown


def test_a_retry_says_who_why_when_and_which_attempt() -> None:
    assert terminal_text.retry(retry()) == "mirror m.example: 503 Service Unavailable; attempt 2 in 2.1s"
    assert terminal_text.retry(retry(wait=0.0)) == "mirror m.example: 503 Service Unavailable; attempt 2 now"
    assert terminal_text.retry(retry(wait=92)).endswith("; attempt 2 in 1m 32s")


@pytest.mark.parametrize(
    ("following", "end"),
    [
        (("huggingface", "hf.example"), " → huggingface"),
        (("mirror", "n.example"), " → mirror n.example"),
        (("", ""), "; no source left"),
    ],
)
def test_a_fallback_says_who_is_next(following: tuple[str, str], end: str) -> None:
    assert (
        terminal_text.fallback(left(following=following), UNICODE) == f"mirror m.example: 404 Not Found{end}"
    )


def ready(fetched: int, *sources: str) -> str:
    size = 295_000_000
    events: list[Event] = [RunStarted("ensure", (MODEL,)), planned(FILES)]
    events += [committed(f"{n}", 0, source) for n, source in enumerate(sources)]
    events += [ModelReady(MODEL, "1", "/x", 9, size, fetched)]
    model = state(events).models[MODEL]
    model.seconds = 3.2
    return terminal_text.ready(model, UNICODE)


def test_a_ready_model_says_how_much_came_how_fast_and_from_where() -> None:
    assert (
        ready(295_000_000, *["huggingface"] * 8, "local")
        == "whisper-base is ready · 295 MB in 3.2s (92.2 MB/s) · from huggingface 8 files, local 1"
    )
    assert (
        ready(175_000_000, "url")
        == "whisper-base is ready · 175 MB of 295 MB in 3.2s (54.7 MB/s) · from url 1 file"
    )


def of_several(*parts: tuple[int, int, str]) -> FileCommitted:
    return committed("a", parts[-1][1], parts=parts)


HUB = "huggingface huggingface.co"


def test_a_file_of_several_sources_says_how_much_came_from_each() -> None:
    mixed = of_several((0, 112_000_000, HUB), (112_000_000, 412_000_000, "peer lab-2:8765"))
    assert terminal_text.origins(mixed) == "300 MB peer lab-2:8765, 112 MB huggingface.co"
    assert terminal_text.origins(committed("a", 1)) == "huggingface hf.example"
    assert terminal_text.origins(committed("a", 1, "swarm", "swarm")) == "swarm"
    swarm = of_several((0, 3, "swarm swarm"), (3, 5, "cache chunks"))
    assert terminal_text.origins(swarm) == "3 B swarm, 2 B this cache"
    many = of_several(*((n, n + 1, f"mirror {n}.example\x1b[31m") for n in range(9)))
    assert terminal_text.origins(many).endswith(", 1 B mirror 3.example[31m and 5 more sources")


def test_a_ready_model_says_how_much_came_from_each_of_several_sources() -> None:
    mixed = of_several((0, 100_000_000, HUB), (100_000_000, 400_000_000, "peer lab-2:8765"))
    events: list[Event] = [RunStarted("ensure", (MODEL,)), mixed, committed("b", 12_000_000, host="hf.co")]
    events += [ModelReady(MODEL, "1", "/x", 2, 412_000_000, 412_000_000)]
    model = state(events).models[MODEL]
    model.seconds = 2.0
    assert terminal_text.ready(model, UNICODE) == (
        "whisper-base is ready · 412 MB in 2.0s (206 MB/s) · "
        "from 300 MB peer lab-2:8765, 100 MB huggingface.co, 12.0 MB huggingface hf.co"
    )


def test_a_model_that_was_there_says_so() -> None:
    assert ready(0) == "whisper-base is ready · 9 files, 295 MB, already present"


def test_a_model_whose_chunks_all_were_here_is_not_called_present() -> None:
    events: list[Event] = [RunStarted("verify", (MODEL,)), committed("a", 0, "cache")]
    events += [ModelReady(MODEL, "1", "/x", 1, 5_000_000, 0, reused=5_000_000)]
    said = terminal_text.ready(state(events).models[MODEL], UNICODE)
    assert said == "whisper-base is ready · 1 file, 5.00 MB · 5.00 MB copied from this disk"


def test_files_that_were_not_read_completely_are_not_called_verified() -> None:
    good = FileResult(MODEL, "a", "completed", "", "cache", 100_000_000)
    run = state([RunStarted("verify", (MODEL,)), FileKept(MODEL, "a", 100_000_000)])
    finished = RunFinished("completed", 0, 1.0, (good,), None)
    assert terminal_text.verified(run, finished) == "1 file, 100 MB checked in 0.2s"


def test_a_check_counts_good_files_and_names_the_bad_ones_elsewhere() -> None:
    good = FileResult(MODEL, "a", "completed", "", "cache", 100_000_000)
    bad = FileResult(MODEL, "b", "failed", "hash", "cache", 100_000_000)
    run = state([RunStarted("verify", (MODEL,))])
    assert (
        terminal_text.verified(run, RunFinished("completed", 0, 1.0, (good, good), None))
        == "2 files, 200 MB verified in 0.1s"
    )
    assert (
        terminal_text.verified(run, RunFinished("failed", 5, 1.0, (good, bad), None))
        == "1 of 2 files, 100 MB verified in 0.1s"
    )


def test_a_run_of_several_models_names_the_model_of_a_file() -> None:
    assert terminal_text.subject(state([RunStarted("ensure", ("a",))]), "a", "x/y") == "x/y"
    assert terminal_text.subject(state([RunStarted("ensure", ("a", "b"))]), "a", "x/y") == "a/x/y"


def told(*events: Event) -> list[Note]:
    """Give the notes about some events, and then what was left to tell."""
    notes = Notes(UNICODE)
    heard = [
        note
        for record in stamped(at_once([*events, RunFinished("completed", 0, 1.0, (), None)]))
        for note in notes.add(record)
    ]
    return [*heard, *notes.rest(), *notes.rest()]


def test_the_same_failure_of_several_files_is_told_once_and_counted() -> None:
    text = "mirror m.example: 404 Not Found → huggingface"
    assert told(left("a"), left("b"), left("c"), left("c")) == [
        Note("fallback", MODEL, "a", text),
        Note("fallback", "", "… and 2 more files", text),
    ]


def test_every_retry_of_the_file_that_was_told_is_told() -> None:
    assert [
        note.text.rpartition(" 503 ")[2] for note in told(retry("a"), retry("a", attempt=3), retry("b"))
    ] == [
        "Service Unavailable; attempt 2 in 2.1s",
        "Service Unavailable; attempt 3 in 2.1s",
        "Service Unavailable",
    ]


def test_different_failures_are_told_apart() -> None:
    notes = told(left("a"), retry("b"), left("c", ("", "")), replace(left("d"), host="n.example"))
    assert [note.file for note in notes] == ["a", "b", "c", "d"]
    assert [note.kind for note in notes] == ["fallback", "retry", "lost", "fallback"]


def test_a_hint_follows_its_failure() -> None:
    assert told(left(hint="set HF_TOKEN"))[1] == Note("detail", MODEL, "", "set HF_TOKEN")


def test_what_comes_up_beside_the_stream_is_told_once_with_the_next_event() -> None:
    notices = Notices()
    notes = Notes(UNICODE, notices)
    notices.add("a \x1b[31mword")
    first, second, *_ = stamped(at_once([RunStarted("ensure", (MODEL,)), RunStarted("ensure", (MODEL,))]))
    assert [note.text for note in notes.add(first)] == ["note: a [31mword"]
    assert list(notes.add(second)) == []
    notices.add("the last")
    assert [note.text for note in notes.rest()] == ["note: the last"]


def test_a_quarantine_says_where_the_bytes_are() -> None:
    (note,) = told(FileQuarantined(MODEL, "a", "/cache/quarantine/x", "a" * 64, "b" * 64, "mirror m.example"))
    assert note.text == "wrong bytes moved to quarantine: /cache/quarantine/x"


def test_a_file_that_no_manifest_lists_is_put_aside_and_not_called_wrong() -> None:
    (note,) = told(FileQuarantined(MODEL, "a", "/cache/quarantine/x", "", "b" * 64, "unlisted"))
    assert note.text == "moved to quarantine: /cache/quarantine/x"


def test_a_bad_file_of_a_check_is_no_note() -> None:
    assert told(replace(left(), source="cache")) == []


def test_signs_fit_the_encoding() -> None:
    assert symbols_for("utf-8") is UNICODE
    assert symbols_for("ascii") is symbols_for("cp1252") is symbols_for("no-such-encoding") is ASCII
    assert all(len(getattr(ASCII, name)) >= 1 for name in ("done", "bar", "rest", "spinner"))


def test_nothing_is_said_of_a_whole_download_but_that_it_is_ready() -> None:
    assert told(*download()[:-1]) == []


def test_a_wait_says_how_far_the_other_one_is_where_it_is_known() -> None:
    holder = "process 4711 on builder, since 05:59:12"
    silent = LockWaiting("m", "", holder, 5.0)
    assert terminal_text.waiting(silent) == f"waiting for {holder}"
    telling = LockWaiting("m", "", holder, 5.0, 130_000_000, 295_287_109)
    assert terminal_text.waiting(telling) == f"waiting for {holder}: 44% (130 MB / 295 MB)"
    done = LockWaiting("m", "", holder, 5.0, 295_287_109, 295_287_109)
    assert terminal_text.waiting(done) == f"waiting for {holder}: 99% (295 MB / 295 MB)"

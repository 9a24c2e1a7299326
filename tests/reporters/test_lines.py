"""Plain lines and JSON lines: what is written, how often, and that it is harmless."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from unittest.mock import ANY

import pytest

from modelfetch.engine.batch import LARGEST
from modelfetch.engine.events import (
    Event,
    FileStarted,
    LockWaiting,
    Progress,
    RetryScheduled,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.stream import Reporter
from modelfetch.reporters import choose
from modelfetch.reporters.jsonl import JsonLines
from modelfetch.reporters.lines import MANY, SMALL, Lines
from tests.scripted import (
    MODEL,
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
    stamped,
    started,
)

BIG = ("onnx/encoder.onnx", 80_000_000)


def lines(timed: list[Timed]) -> list[str]:
    out = io.StringIO()
    play(timed, Lines(out))
    return out.getvalue().splitlines()


def steady(seconds: int, total: int) -> Iterator[Timed]:
    """Fetch the big file at a steady pace that would take ``total`` seconds, ten events a second."""
    yield 0.0, RunStarted("ensure", (MODEL,))
    yield 0.0, planned([BIG])
    yield 0.0, started(*BIG)
    for n in range(seconds * 10 + 1):
        yield n / 10, progress(BIG[0], BIG[1] * n // (total * 10), BIG[1])


def test_a_download_reads_like_a_log() -> None:
    size = BIG[1]
    timed = [
        *steady(seconds=4, total=10),
        (4.1, RetryScheduled(MODEL, BIG[0], "huggingface", "hf.example", 2, "cut", "cut", 2.1)),
        (
            6.2,
            SourceFailed(MODEL, BIG[0], "huggingface", "hf.example", "cut", "cut", "", size // 2, "url", "u"),
        ),
        (8.2, committed(*BIG, "url", "u.example")),
        *((8.2, event) for event in completed([BIG], fetched=size)),
    ]
    assert lines(timed) == [
        "whisper-base  1846881b6b3a  1 file, 80.0 MB; 1 to fetch, 80.0 MB",
        "whisper-base  onnx/encoder.onnx  retry: huggingface hf.example: cut; attempt 2 in 2.1s",
        "whisper-base  onnx/encoder.onnx  fallback: huggingface hf.example: cut -> url",
        "whisper-base  onnx/encoder.onnx  done in 0.4s, from url u.example",
        "whisper-base is ready - 80.0 MB in 8.2s (9.76 MB/s) - from url 1 file",
    ]


def test_the_whole_run_gets_a_line_every_ten_seconds() -> None:
    said = [line for line in lines(list(steady(seconds=35, total=40))) if "%" in line]
    assert said == [
        f"whisper-base  0 of 1 file  {line}  2.00 MB/s  ETA {eta}s  huggingface"
        for line, eta in (
            ("25%  20.0 MB / 80.0 MB", 30),
            ("50%  40.0 MB / 80.0 MB", 20),
            ("75%  60.0 MB / 80.0 MB", 10),
        )
    ]


def test_that_line_counts_files_and_names_the_sources_in_use() -> None:
    """One line, however many files and models are under way; none while no file is."""
    pair = [("a", 100), ("b", 100), ("c", 100), ("d", 100)]
    timed: list[Timed] = [
        (0.0, RunStarted("ensure", (MODEL, "other"))),
        (0.0, planned(pair)),
        (1.0, started("a", 100)),
        (1.0, progress("a", 10, 100, "mirror", "m.example")),
        (1.0, started("b", 100)),
        (1.0, progress("b", 10, 100)),
        (2.0, SourceFailed(MODEL, "c", "url", "u.example", "cut", "cut", "", 0, "", "")),
        (9.9, committed("d", 100)),
        (10.0, progress("a", 30, 100, "mirror", "m.example")),
        (19.9, progress("b", 30, 100)),
        (20.0, committed("a", 100)),
        (29.0, committed("b", 100)),
        (31.0, committed("c", 100)),
    ]
    said = [line for line in lines(timed) if "%" in line]
    assert [[*line.split("  ")[:5], line.split("  ")[-1]] for line in said] == [
        ["2 models", "1 of 4 files", "1 failed", "35%", "140 B / 400 B", "mirror, huggingface"],
        ["2 models", "2 of 4 files", "1 failed", "57%", "230 B / 400 B", "huggingface"],
    ]


def test_a_stall_is_told_in_place_of_speed_and_eta() -> None:
    still = progress(BIG[0], BIG[1] * 4 // 10, BIG[1])
    said = [
        line for line in lines([*steady(4, 10), *((4.0 + n, still) for n in range(1, 13))]) if "%" in line
    ]
    assert said == ["whisper-base  0 of 1 file  40%  32.0 MB / 80.0 MB  no data for 6 s  huggingface"]


def test_a_run_under_two_seconds_has_only_its_result() -> None:
    assert lines(under_two_seconds(download())) == [
        "whisper-base is ready - 295 MB in 1.8s (162 MB/s) - from huggingface 9 files"
    ]
    assert lines(under_two_seconds(check())) == ["9 files, 295 MB verified in 1.9s"]
    cancelled = replace(failed(code="cancelled"), outcome="cancelled")
    assert lines(under_two_seconds([*download()[:-2], cancelled])) == []


def under_two_seconds(events: list[Event]) -> list[Timed]:
    return [(1.9 * n / (len(events) - 1), event) for n, event in enumerate(events)]


def test_such_a_run_still_shows_what_must_be_seen() -> None:
    """And the lines before it, which say what it is about; those after it are still held back."""
    begun, _, *rest = download([("a", 10), ("b", 10)])
    again = RetryScheduled(MODEL, "b", "huggingface", "hf.example", 2, "cut", "cut", 0.1)
    said = lines(
        under_two_seconds(
            [begun, planned([("a", 10), ("b", 10)], licence="AGPL-3.0"), *rest[:6], again, *rest[6:]]
        )
    )
    assert [line.split("  ")[-1].partition(" ")[0] for line in said] == [
        "2",
        "license:",
        "done",
        "retry:",
        "whisper-base",
    ]
    assert said[-1].startswith("whisper-base is ready")


def test_a_model_that_is_ready_within_two_seconds_has_only_its_result() -> None:
    """The run goes on with another model, whose lines follow."""
    pair = [("a", 10)]
    first = download(pair)[:-1]
    timed = [*((n / 10, event) for n, event in enumerate(first)), (0.9, planned([BIG], model="other"))]
    progressed = Progress("other", BIG[0], "url", "u.example", 1, 5, BIG[1])
    said = lines([*timed, (1.0, FileStarted("other", *BIG, 0)), (3.0, progressed)])
    assert said == [
        "whisper-base is ready - 10 B in 0.6s (17 B/s) - from huggingface 1 file",
        "other  1846881b6b3a  1 file, 80.0 MB; 1 to fetch, 80.0 MB",
        ANY,
    ]


def test_a_failed_run_shows_what_was_held_back() -> None:
    said = lines(under_two_seconds([*download()[:4], failed()]))
    assert said == ["whisper-base  1846881b6b3a  9 files, 295 MB; 9 to fetch, 295 MB", ANY]


def test_lines_held_back_are_written_when_a_run_has_no_end() -> None:
    out = io.StringIO()
    reporter = Lines(out)
    for record in list(stamped(under_two_seconds(download())))[:3]:
        reporter.report(record)
    assert not out.getvalue()
    reporter.close()
    assert out.getvalue().startswith(f"{MODEL}  1846881b6b3a  9 files")


def unreached(path: str, host: str = "m.example", following: str = "") -> list[Event]:
    again = RetryScheduled(MODEL, path, "mirror", host, 2, "connect", "connection refused", 0.1)
    gone = SourceFailed(MODEL, path, "mirror", host, "connect", "connection refused", "", 0, following, "u")
    return [progress(path, 0, 10, "mirror", host), again, progress(path, 0, 10, "mirror", host, 2), gone]


def test_a_dead_network_is_told_by_the_error_at_the_end_alone() -> None:
    events: list[Event] = [RunStarted("ensure", (MODEL,)), planned([("a", 10), ("b", 10)])]
    for path in "ab":
        events += [started(path, 10), *unreached(path, following="url"), *unreached(path, "u.example")]
    said = lines(at_once([*events, failed()]))
    assert not [line for line in said if "refused" in line or "m.example" in line]
    cancelled = lines(at_once([*events, failed(code="cancelled")]))
    assert any("retry: mirror m.example: connection refused" in line for line in cancelled)


@pytest.mark.parametrize(
    "proof",
    [
        progress("a", 5, 10, "url", "u.example"),
        RetryScheduled(MODEL, "a", "url", "u.example", 2, "busy", "503", 0.1),
        SourceFailed(MODEL, "a", "url", "u.example", "not_found", "not found", "", 0, "", ""),
    ],
)
def test_a_host_that_was_not_reached_is_told_of_once_another_one_was(proof: Event) -> None:
    events: list[Event] = [RunStarted("ensure", (MODEL,)), planned([("a", 10)]), started("a", 10)]
    events += unreached("a", following="url")
    said = lines(at_once([*events, proof, failed()]))
    assert any("fallback: mirror m.example: connection refused -> url" in line for line in said)


def test_a_warm_run_is_one_line() -> None:
    assert lines(at_once(already_there())) == ["whisper-base is ready - 9 files, 295 MB, already present"]


def test_a_check_says_what_it_checks_and_counts_the_good_files() -> None:
    begun, *rest = check()
    said = lines(at_once([begun, planned(licence="AGPL-3.0"), *rest]))
    assert said[0] == "whisper-base  1846881b6b3a  checking 9 files, 295 MB"
    assert said[-1] == "9 files, 295 MB verified in 2.9s"
    assert not any("license" in line or "fetch" in line for line in said)


def test_a_long_check_has_the_line_for_the_run_and_one_for_each_bad_file() -> None:
    pair = [("a", 100), ("b", 100)]
    timed: list[Timed] = [
        (0.0, RunStarted("verify", (MODEL,))),
        (0.0, planned(pair)),
        (0.1, SourceFailed(MODEL, "b", "cache", "", "missing", "is not there", "", 0, "", "")),
        (0.2, started("a", 100)),
        *((n, progress("a", 4 * n, 100, "cache", "")) for n in range(1, 13)),
        (13.0, failed("integrity")),
    ]
    assert lines(timed) == [
        "whisper-base  1846881b6b3a  checking 2 files, 200 B",
        "whisper-base  b  bad: missing",
        "whisper-base  0 of 2 files  1 failed  20%  40 B / 200 B  4 B/s  ETA 15s",
        "0 files, 0 B verified in 13s",
    ]


def test_a_check_names_bad_files() -> None:
    bad = SourceFailed(MODEL, "vocab.json", "cache", "", "hash", "", "", 0, "", "")
    said = lines(at_once([*check()[:-1], bad, failed()]))
    assert "whisper-base  vocab.json  bad: hash" in said


def test_a_wait_gets_a_line_at_once_and_then_every_ten_seconds() -> None:
    waits = [(n * 5.0, LockWaiting(MODEL, "", "process 4711 on builder", n * 5.0)) for n in range(5)]
    said = [line for line in lines([(0.0, RunStarted("ensure", (MODEL,))), *waits]) if "waiting" in line]
    assert said == [
        f"whisper-base  waiting for process 4711 on builder ({seconds}s so far)" for seconds in (0, 10, 20)
    ]


def test_a_failed_run_says_what_is_there() -> None:
    events: list[Event] = [
        RunStarted("ensure", (MODEL,)),
        planned([BIG, ("a", 1_000_000)]),
        committed("a", 1_000_000),
        failed(),
    ]
    assert lines(at_once(events))[-1] == "1 of 2 files complete, 1.00 MB of 81.0 MB kept"


def test_json_is_one_object_per_line_in_order() -> None:
    out = io.StringIO()
    play(at_once(download()), JsonLines(out))
    objects = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [thing["n"] for thing in objects] == list(range(len(download())))
    assert objects[0]["event"] == "run_started"
    assert objects[-1]["event"] == "run_finished"


def test_json_is_flushed_line_by_line() -> None:
    class Pipe(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            Pipe.flushed += 1

    play(at_once(download()), JsonLines(Pipe()))
    assert Pipe.flushed >= len(download())


def test_a_reader_that_went_away_is_raised() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    reporter = JsonLines(Closed())
    heard: list[Exception] = []

    class Witness:
        def report(self, record: object) -> None:
            try:
                reporter.report(record)  # type: ignore[arg-type]
            except BrokenPipeError as error:
                heard.append(error)

        def close(self) -> None:
            reporter.close()

    play(at_once(download()), Witness())
    assert len(heard) == len(download())


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def chosen(
    stderr: io.StringIO, *, json: bool = False, quiet: bool = False, environ: Mapping[str, str] | None = None
) -> list[str]:
    reporters: tuple[Reporter, ...] = choose(
        json=json, quiet=quiet, stdout=io.StringIO(), stderr=stderr, environ=environ or {}
    )
    return [type(reporter).__name__ for reporter in reporters]


def test_the_face_fits_where_it_is_shown() -> None:
    assert chosen(Terminal()) == ["DeferredReporter"]  # and then bars
    assert chosen(io.StringIO()) == ["Lines"]
    assert chosen(Terminal(), quiet=True) == []
    assert chosen(Terminal(), json=True) == chosen(io.StringIO(), json=True, quiet=True) == ["JsonLines"]


@pytest.mark.parametrize(
    ("name", "value", "face"),
    [
        ("CI", "true", "Lines"),
        ("CI", "1", "Lines"),
        ("CI", "", "DeferredReporter"),
        ("CI", "false", "DeferredReporter"),
        ("TERM", "dumb", "Lines"),
        ("TERM", "xterm-256color", "DeferredReporter"),
    ],
)
def test_ci_and_dumb_terminals_get_lines(name: str, value: str, face: str) -> None:
    assert chosen(Terminal(), environ={name: value}) == [face]


def test_rich_is_imported_for_bars_only() -> None:
    code = (
        "import io, sys; from modelfetch.reporters import choose;"
        "choose(json=False, quiet=False, stdout=io.StringIO(), stderr=io.StringIO(), environ={});"
        "print('rich' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_every_event_is_told_without_a_complaint() -> None:
    events: list[Event] = [*download()[:-1], failed()]
    assert lines(at_once(events))


def test_of_many_small_files_there_are_only_counts() -> None:
    """Those that are fetched in batches: thousands of lines would hide the others."""
    assert SMALL == LARGEST
    names = [str(number) for number in range(MANY - 1)]
    files = [*((name, 5) for name in names), ("large", SMALL + 1)]
    said = lines([(n / 8, event) for n, event in enumerate(download(files))])
    assert [line.split("  ")[1] for line in said if "done" in line] == ["large"]
    assert sum("of 100 files" in line for line in said) == 6
    assert said[-1].endswith("from huggingface 100 files")
    few = [*((name, 5) for name in names[:3]), ("large", SMALL + 1)]
    assert sum("done" in line for line in lines([(n, event) for n, event in enumerate(download(few))])) == 4

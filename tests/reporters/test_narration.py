"""The story of a run, word by word."""

from __future__ import annotations

import re

import pytest

from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileKept,
    FileQuarantined,
    FileVerified,
    LockWaiting,
    ModelReady,
    PlannedFile,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFailed,
)
from modelfetch.reporters.narration import narrate
from tests.scripted import (
    MODEL,
    already_there,
    at_once,
    check,
    committed,
    planned,
    progress,
    stamped,
    started,
)

FILE = "onnx/encoder_model.onnx"


def told(*events: Event, operation: str = "ensure") -> list[str]:
    """What is told of some events of a run, without its begin."""
    begin = RunStarted("verify" if operation == "verify" else "ensure", (MODEL,))
    lines = [narrate(record) for record in stamped(at_once([begin, *events]))]
    return lines[1 : 1 + len(events)]


def failed(next_source: str = "", next_host: str = "", source: str = "mirror") -> SourceFailed:
    return SourceFailed(
        MODEL, FILE, source, "m.example", "cut", "the connection was cut", "", 0, next_source, next_host
    )


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (planned(), "📥 Downloading model: whisper-base"),
        (FileKept(MODEL, FILE, 1), ""),
        (started(FILE, 82_468_078), "📄 onnx/encoder_model.onnx: 82.5 MB"),
        (started(FILE, 82_468_078, 8_000_000), "📄 onnx/encoder_model.onnx: 82.5 MB, resumed at 8.00 MB"),
        (
            LockWaiting(MODEL, "", "process 1 on host since 06:00:12", 65.0),
            "⏳ Waiting for process 1 on host since 06:00:12 (1m 05s)",
        ),
        (LockWaiting(MODEL, "", "", 0.0), "⏳ Waiting for another process (0s)"),
        (
            LockWaiting(MODEL, "", "process 1", 5.0, 130_000_000, 295_287_109),
            "⏳ Waiting for process 1 (5s): 130.0 MB / 295.3 MB",
        ),
        (
            RetryScheduled(MODEL, FILE, "mirror", "m.example", 2, "cut", "the connection was cut", 0.52),
            "🔁 onnx/encoder_model.onnx: mirror m.example: the connection was cut; attempt 2 in 0.5s",
        ),
        (
            failed("huggingface", "hf.example"),
            f"🔀 {FILE}: mirror m.example: the connection was cut; falling back to huggingface hf.example",
        ),
        (failed(), "❌ onnx/encoder_model.onnx: mirror m.example: the connection was cut; no source left"),
        (FileVerified(MODEL, FILE, 1, "0" * 64), "🔒 onnx/encoder_model.onnx: verified"),
        (
            FileQuarantined(MODEL, FILE, "/cache/quarantine/x", "0" * 64, "1" * 64, "mirror m.example"),
            "🚫 onnx/encoder_model.onnx: wrong bytes moved to quarantine: /cache/quarantine/x",
        ),
        (
            FileQuarantined(MODEL, FILE, "/cache/quarantine/x", "", "1" * 64, "unlisted"),
            "🚫 onnx/encoder_model.onnx: moved to quarantine: /cache/quarantine/x",
        ),
        (committed(FILE, 1), "📦 onnx/encoder_model.onnx: done, from huggingface hf.example"),
        (committed(FILE, 1, "swarm", "swarm"), "📦 onnx/encoder_model.onnx: done, from swarm"),
        (
            committed(FILE, 10, parts=((0, 7, "peer lab-2:8765"), (7, 10, "huggingface huggingface.co"))),
            "📦 onnx/encoder_model.onnx: done, from 7 B peer lab-2:8765, 3 B huggingface.co",
        ),
        (committed(FILE, 1, "cache", ""), "📦 onnx/encoder_model.onnx: done, from cache"),
        (ModelReady(MODEL, "1", "/cache", 9, 295_000_000, 0), "✅ Model ready: whisper-base (295 MB)"),
        (RunFinished("completed", 0, 1.0, (), None), "✅ Download complete"),
        (RunFinished("cancelled", 130, 1.0, (), None), "❌ Download cancelled"),
        (
            RunFinished("failed", 6, 1.0, (), ErrorInfo("unavailable", "no source could deliver", "")),
            "❌ Download failed: no source could deliver",
        ),
    ],
)
def test_the_words_of_a_download(event: Event, line: str) -> None:
    assert told(event) == [line]


@pytest.mark.parametrize(
    ("received", "size", "line"),
    [
        (2_486_000, 5_500_000, "📊 Progress: 45.2% (2.5 MB / 5.5 MB)"),
        (5_499_999, 5_500_000, "📊 Progress: 99.9% (5.5 MB / 5.5 MB)"),
        (100_000, 2_400_000_000, "📊 Progress: 0.0% (0.0 GB / 2.4 GB)"),
        (400, 1_000, "📊 Progress: 40.0% (400 B / 1000 B)"),
    ],
)
def test_progress_is_that_of_the_run_in_one_unit(received: int, size: int, line: str) -> None:
    assert told(planned([("a", size)]), progress("a", received, size))[1] == line


def test_progress_can_be_read_by_those_who_read_the_words_of_old() -> None:
    """Nobody needs to: the event beside the line has the figures."""
    words = re.compile(r"Progress: ([\d.]+)%.*\(([\d.]+) ([A-Z]+) \/ ([\d.]+) ([A-Z]+)\)")
    [_, line] = told(planned([("a", 5_500_000)]), progress("a", 2_486_000, 5_500_000))
    found = words.search(line)
    assert found is not None
    assert found.groups() == ("45.2", "2.5", "MB", "5.5", "MB")


def test_a_model_that_is_there_is_not_said_to_be_downloaded() -> None:
    lines = [narrate(record) for record in stamped(at_once(already_there()))]
    assert [line for line in lines if line] == [
        "🔍 Looking for model: whisper-base",
        "📦 Model already present: whisper-base",
        "✅ Model ready: whisper-base (295 MB)",
        "✅ Download complete",
    ]


def test_the_words_of_a_check() -> None:
    lines = [narrate(record) for record in stamped(at_once(check([("a", 1000)])))]
    assert [line for line in lines if line] == [
        "🔍 Verifying model: whisper-base",
        "📊 Progress: 50.0% (500 B / 1000 B)",
        "🔒 a: verified",
        "✅ Verification complete",
    ]
    bad = SourceFailed(MODEL, FILE, "cache", "", "size", "has 1 bytes instead of 2", "", 0, "", "")
    assert told(bad, operation="verify") == ["❌ onnx/encoder_model.onnx: has 1 bytes instead of 2"]
    assert told(failed(), operation="verify")[0].endswith("; no source left"), "while repairing"


def test_what_came_from_elsewhere_is_made_harmless() -> None:
    evil = "\x1b[2J\u202eevil\r\n"
    events: list[Event] = [
        planned([(evil, 1)], model=evil),
        started(evil, 1),
        RetryScheduled(evil, evil, "mirror", evil, 2, "cut", evil, 0.0),
        committed(evil, 1, "mirror", evil),
        LockWaiting(evil, evil, evil, 0.0),
        RunFinished("failed", 1, 0.0, (), ErrorInfo("bug", evil, evil)),
    ]
    for line in told(*events):
        assert "evil" in line
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", line)


def test_a_partial_file_is_still_a_download() -> None:
    plan = planned([("a", 10)])
    held = PlannedFile("a", 10, "0" * 64, "partial", 5, ())
    event = type(plan)(**{name: getattr(plan, name) for name in plan.__slots__} | {"files": (held,)})
    assert told(event) == ["📥 Downloading model: whisper-base"]


def test_a_worker_is_not_called_a_model() -> None:
    events: list[Event] = [planned(), ModelReady(MODEL, "1", "/c", 1, 1000, 1000)]
    records = list(stamped(at_once([RunStarted("ensure", (MODEL,)), *events])))
    lines = [narrate(record, lambda _: "worker") for record in records[:3]]
    assert lines == [
        f"🔍 Looking for worker: {MODEL}",
        f"📥 Downloading worker: {MODEL}",
        f"✅ Worker ready: {MODEL} (1.00 kB)",
    ]
    assert narrate(next(stamped(at_once(already_there()))), lambda _: "worker").startswith("🔍")
    mixed = next(stamped(at_once([RunStarted("ensure", ("a", "b"))])))
    assert narrate(mixed, {"a": "worker", "b": "model"}.__getitem__) == "🔍 Looking for model: a, b"

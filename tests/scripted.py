"""Runs written down as lists of timed events, played without waiting through the real stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileCommitted,
    FileKept,
    FileResult,
    FileStarted,
    FileVerified,
    ModelReady,
    Part,
    Planned,
    PlannedFile,
    Progress,
    RunFinished,
    RunStarted,
)
from modelfetch.engine.record import Record
from modelfetch.engine.stream import Reporter, follow, records

Timed = tuple[float, Event]

MODEL = "whisper-base"
START = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
FILES = (
    ("onnx/decoder_model_merged.onnx", 208_521_528),
    ("onnx/encoder_model.onnx", 82_468_078),
    ("tokenizer.json", 2_480_466),
    ("vocab.json", 1_036_584),
    ("merges.txt", 493_869),
    ("tokenizer_config.json", 282_682),
    ("generation_config.json", 3_832),
    ("config.json", 2_243),
    ("preprocessor_config.json", 339),
)


class Script:
    """An engine that yields what was written down, and the clock that goes with it."""

    def __init__(self, timed: Iterable[Timed]) -> None:
        self._timed = list(timed)
        self.seconds = 0.0
        self.was_closed = False

    def __call__(self) -> Iterator[Event]:
        try:
            for seconds, event in self._timed:
                self.seconds = seconds
                yield event
        finally:
            self.was_closed = True

    def clock(self) -> float:
        return 1000.0 + self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


def play(timed: Iterable[Timed], *reporters: Reporter) -> RunFinished:
    """Let reporters follow a script."""
    script = Script(timed)
    return follow(script(), reporters, run="r1", clock=script.clock)


def stamped(timed: Iterable[Timed]) -> Iterator[Record]:
    """Give the records of a script, with its own time of day."""
    script = Script(timed)
    return records(script(), run="r1", clock=script.clock, now=script.now)


def at_once(events: Iterable[Event]) -> list[Timed]:
    """Let a tenth of a second pass between two events."""
    return [(n / 10, event) for n, event in enumerate(events)]


def planned(files: Sequence[tuple[str, int]] = FILES, *, model: str = MODEL, licence: str = "MIT") -> Planned:
    """Plan a model of which everything is missing."""
    size = sum(size for _, size in files)
    return Planned(
        model=model,
        version="1846881b6b3a",
        title="Whisper base (ONNX)",
        license=licence,
        license_notice="",
        homepage="https://huggingface.co/onnx-community/whisper-base",
        directory=f"/cache/models/{model}/1846881b6b3a",
        size=size,
        missing=size,
        files=tuple(
            PlannedFile(
                path, size, "0" * 64, "missing", 0, ("mirror models.example", "huggingface hf.example")
            )
            for path, size in files
        ),
    )


def started(file: str, size: int, offset: int = 0) -> FileStarted:
    return FileStarted(MODEL, file, size, offset)


def progress(
    file: str,
    received: int,
    size: int,
    source: str = "huggingface",
    host: str = "hf.example",
    attempt: int = 1,
    parts: tuple[Part, ...] = (),
) -> Progress:
    return Progress(MODEL, file, source, host, attempt, received, size, parts)


def committed(
    file: str,
    size: int,
    source: str = "huggingface",
    host: str = "hf.example",
    parts: tuple[Part, ...] = (),
) -> FileCommitted:
    path = f"/cache/models/{MODEL}/1846881b6b3a/{file}"
    return FileCommitted(MODEL, file, path, size, "0" * 64, source, host, size, 0.4, parts=parts)


def download(files: Sequence[tuple[str, int]] = FILES) -> list[Event]:
    """A whole run: every file comes in two halves."""
    events: list[Event] = [RunStarted("ensure", (MODEL,)), planned(files)]
    for file, size in files:
        events += [
            started(file, size),
            progress(file, size // 2, size),
            progress(file, size, size),
            FileVerified(MODEL, file, size, "0" * 64),
            committed(file, size),
        ]
    return [*events, *completed(files, fetched=sum(size for _, size in files))]


def already_there(files: Sequence[tuple[str, int]] = FILES) -> list[Event]:
    """A run with nothing to do."""
    size = sum(size for _, size in files)
    plan = Planned(
        MODEL,
        "1846881b6b3a",
        "",
        "AGPL-3.0",
        "",
        "",
        "/cache",
        size,
        0,
        tuple(PlannedFile(path, size, "0" * 64, "kept", size, ()) for path, size in files),
    )
    kept = [FileKept(MODEL, path, size) for path, size in files]
    return [RunStarted("ensure", (MODEL,)), plan, *kept, *completed(files, fetched=0)]


def check(files: Sequence[tuple[str, int]] = FILES) -> list[Event]:
    """A verification that finds everything right."""
    events: list[Event] = [RunStarted("verify", (MODEL,))]
    for file, size in files:
        events += [started(file, size), progress(file, size // 2, size, "cache", "")]
        events += [FileVerified(MODEL, file, size, "0" * 64)]
    return [*events, RunFinished("completed", 0, 0.4, results(files), None)]


def completed(files: Sequence[tuple[str, int]], fetched: int) -> list[Event]:
    ready = ModelReady(MODEL, "1846881b6b3a", "/cache", len(files), sum(size for _, size in files), fetched)
    return [ready, RunFinished("completed", 0, 3.2, results(files), None)]


def results(files: Sequence[tuple[str, int]]) -> tuple[FileResult, ...]:
    return tuple(FileResult(MODEL, file, "completed", "", "huggingface", size) for file, size in files)


def failed(
    code: str = "unavailable", message: str = "no source could deliver", hint: str = ""
) -> RunFinished:
    return RunFinished("failed", 6, 1.0, (), ErrorInfo(code, message, hint))

"""The JSON form of every kind of event, compared with a golden file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileKept,
    FileQuarantined,
    FileResult,
    FileVerified,
    LockWaiting,
    ModelReady,
    Planned,
    PlannedFile,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.record import Record, from_json, to_json
from tests.scripted import MODEL, Timed, committed, progress, stamped, started

GOLDEN = Path(__file__).parents[1] / "data" / "events.jsonl"
BIG = "onnx/encoder_model.onnx"
SIZE = 82_468_078
SHARED = ((0, 41_000_000, "peer 192.0.2.7:8765"), (41_000_000, SIZE, "huggingface hf.example"))
DIGEST = "a9f3b752833b49e880dec91ee5b6d936112be7c3ea07c221024ba493439f46fe"


def example() -> list[Timed]:
    """Write down one run in which everything happens."""
    plan = Planned(
        model=MODEL,
        version="1846881b6b3a",
        title="Whisper base (ONNX)",
        license="Apache-2.0",
        license_notice="",
        homepage="https://huggingface.co/onnx-community/whisper-base",
        directory="/cache/models/whisper-base/1846881b6b3a",
        size=SIZE + 2243,
        missing=SIZE - 8_000_000,
        files=(
            PlannedFile("config.json", 2243, "f" * 64, "kept", 2243, ()),
            PlannedFile(
                BIG, SIZE, DIGEST, "partial", 8_000_000, ("mirror models.example", "huggingface hf.example")
            ),
        ),
    )
    wrong = "sent wrong bytes: the SHA-256 does not match"
    return [
        (0.0, RunStarted("ensure", (MODEL,))),
        (
            0.001,
            LockWaiting(MODEL, "", "process 4711 on builder since 06:00:12", 0.0, 130_000_000, 295_287_109),
        ),
        (5.0, plan),
        (5.0, FileKept(MODEL, "config.json", 2243)),
        (5.1, started(BIG, SIZE, 8_000_000)),
        (5.2, progress(BIG, 8_000_000, SIZE, "mirror", "models.example")),
        *(
            (
                5.2 + n / 10,
                progress(
                    BIG,
                    8_000_000 + n * 1_234_567,
                    SIZE,
                    "mirror",
                    "models.example",
                    parts=(
                        (0, 8_000_000, "peer 192.0.2.7:8765"),
                        (8_000_000, 8_000_000 + n * 1_234_567, "mirror models.example"),
                    ),
                ),
            )
            for n in (1, 2, 3, 4)
        ),
        (5.7, RetryScheduled(MODEL, BIG, "mirror", "models.example", 2, "cut", "ended early", 0.73125)),
        (6.5, progress(BIG, SIZE, SIZE, "mirror", "models.example", attempt=2)),
        (6.6, FileQuarantined(MODEL, BIG, "/cache/quarantine/x", DIGEST, "b" * 64, "mirror models.example")),
        (
            6.6,
            SourceFailed(
                MODEL, BIG, "mirror", "models.example", "hash", wrong, "", 0, "huggingface", "hf.example"
            ),
        ),
        *((at, progress(BIG, 0, SIZE, "huggingface", "hf.example")) for at in (6.7, 8.9)),
        (9.0, FileVerified(MODEL, BIG, SIZE, DIGEST)),
        (9.1, committed(BIG, SIZE, parts=SHARED)),
        (
            9.1,
            ModelReady(
                MODEL, "1846881b6b3a", "/cache/models/whisper-base/1846881b6b3a", 2, SIZE + 2243, SIZE
            ),
        ),
        (
            9.2,
            RunFinished(
                "failed",
                1,
                9.2,
                (FileResult(MODEL, BIG, "completed", "", "huggingface", SIZE),),
                ErrorInfo("bug", "an example", "nothing"),
            ),
        ),
    ]


def lines() -> list[str]:
    return [json.dumps(to_json(record), ensure_ascii=True) for record in stamped(example())]


def test_the_form_is_the_golden_one() -> None:
    assert lines() == GOLDEN.read_text("ascii").splitlines()


def test_the_golden_file_has_every_kind_of_event() -> None:
    kinds = {json.loads(line)["event"] for line in GOLDEN.read_text("ascii").splitlines()}
    assert kinds == {kind.kind for kind in get_args(Event)}


def test_figures_are_those_of_their_own_moment() -> None:
    kept: list[Record] = list(stamped(example()))
    late = [json.dumps(to_json(record)) for record in kept]
    assert late == lines()


@pytest.mark.parametrize("odd", [float("inf"), float("-inf"), float("nan")])
def test_numbers_json_does_not_have_are_null(odd: float) -> None:
    (_, first, _) = stamped([(0, RunStarted("ensure", ())), (0, LockWaiting(MODEL, "", "", odd))])
    assert to_json(first)["waited"] is None


def test_percent_of_something_unfinished_never_rounds_to_100() -> None:
    size = 1_000_000
    run: list[Timed] = [(0, started(BIG, size)), (1, progress(BIG, size - 1, size))]
    records = [to_json(record) for record in stamped(run)]
    assert records[1]["percent"] == 99.9
    assert records[1]["totals"]["percent"] == 99.9


# Read back

DERIVED = {"v", "run", "n", "at", "event", "speed", "eta", "idle", "percent", "totals"}
"""What is not of the event itself."""
OPTIONAL = {
    ("lock_waiting", "received"),
    ("lock_waiting", "size"),
    ("model_ready", "note"),
    ("model_ready", "reused"),
    ("file_committed", "reused"),
    ("source_failed", "ranges"),
    *((kind, "parts") for kind in ("progress", "file_committed")),
    *((kind, "cid") for kind in ("file_verified", "file_committed")),
}


def golden() -> list[dict[str, Any]]:
    return [json.loads(line) for line in GOLDEN.read_text("ascii").splitlines()]


def test_what_was_written_is_read_back() -> None:
    """But for seconds beyond the third decimal, which are not written."""
    for record, line in zip(stamped(example()), golden(), strict=True):
        event = from_json(line)
        assert event is not None
        assert type(event) is type(record.event)
        assert to_json(replace(record, event=event)) == line
        if not isinstance(event, RetryScheduled):
            assert event == record.event


def test_an_unknown_kind_is_none() -> None:
    assert from_json({"v": 1, "event": "chunk_verified", "model": "m"}) is None
    assert from_json({"v": 1}) is None


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("line", golden(), ids=lambda line: f"{line['n']}-{line['event']}")
def test_unknown_fields_are_ignored(line: dict[str, Any]) -> None:
    assert from_json(line | {"human": "words", "new": [1, {"x": None}]}) == from_json(line)


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("line", golden(), ids=lambda line: f"{line['n']}-{line['event']}")
def test_a_field_that_is_wrong_or_missing_is_reported(line: dict[str, Any]) -> None:
    for field in line.keys() - DERIVED:
        with pytest.raises(ValueError, match=rf"^{field}\b"):
            from_json(line | {field: {"no": "such"}})
        if (line["event"], field) not in OPTIONAL:
            with pytest.raises(ValueError, match=f"{field} is missing"):
                from_json({key: value for key, value in line.items() if key != field})


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match="version 1"):
        from_json(golden()[0] | {"v": version})

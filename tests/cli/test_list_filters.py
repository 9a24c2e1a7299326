"""What ``list`` selects, and in which order."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from modelfetch.cli.list_filters import Sort, matcher, ordered
from modelfetch.cli.options import TaskName
from modelfetch.keep.last_use import LastUses
from modelfetch.model.manifest import FileSpec, Manifest, Task
from modelfetch.store import Store
from tests.store.material import WHEN, ensure, noise

NAMES = {
    "whisper-base": "Whisper base fp32 (ONNX)",
    "whisper-base-q8": "Whisper base 8-bit (ONNX)",
    "silero-vad": "Silero VAD v6.2.1 (ONNX)",
    "qwen3-0.6b-q8_0": "Qwen3 0.6B Q8_0 (GGUF)",
}


def manifest(name: str) -> Manifest:
    return Manifest(name, "1", (FileSpec("a", 1, "a" * 64),), title=NAMES[name])


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (None, [*NAMES]),
        ("", [*NAMES]),
        ("whisper", ["whisper-base", "whisper-base-q8"]),
        ("WHISPER", ["whisper-base", "whisper-base-q8"]),
        ("vad v6", ["silero-vad"]),
        ("gguf", ["qwen3-0.6b-q8_0"]),
        ("*-q8", ["whisper-base-q8"]),
        ("whisper-base", ["whisper-base", "whisper-base-q8"]),
        ("whisper-base*", ["whisper-base", "whisper-base-q8"]),
        ("*(onnx)", ["whisper-base", "whisper-base-q8", "silero-vad"]),
        ("qwen?-*", ["qwen3-0.6b-q8_0"]),
        ("q[0-9]", []),
        ("q8_0.", []),
    ],
)
def test_a_pattern_is_a_part_or_a_glob_of_name_or_title(pattern: str | None, found: list[str]) -> None:
    is_wanted = matcher(pattern)
    assert [name for name in NAMES if is_wanted(manifest(name))] == found


def test_a_hostile_pattern_is_fast() -> None:
    is_wanted = matcher("*a" * 40 + "b")
    long = Manifest("a" * 128, "1", (), title="a" * 1000)
    began = time.process_time()
    assert not is_wanted(long)
    assert time.process_time() - began < 1


def test_equal_models_stay_in_the_order_of_their_names() -> None:
    models: list[dict[str, Any]] = [
        {"name": "a", "size": 1, "used": None},
        {"name": "b", "size": 3, "used": "2026-11-28T05:00:00Z"},
        {"name": "c", "size": 3, "used": "2026-11-28T06:00:00Z"},
        {"name": "d", "size": 2, "used": None},
    ]
    orders: Mapping[Sort, str] = {Sort.NAME: "abcd", Sort.SIZE: "bcda", Sort.USED: "cbad"}
    for sort, names in orders.items():
        assert "".join(each["name"] for each in ordered(models, sort)) == names


def test_the_choices_of_the_option_are_the_tasks_of_manifests() -> None:
    assert [*TaskName] == [*get_args(Task)]


def test_the_last_use_is_the_latest_of_receipt_warm_runs_and_directory(tmp_path: Path) -> None:
    store = Store(tmp_path)
    present = ensure(store, {"a": noise(10)})
    os.utime(store.directory(present), (0, 0))
    assert LastUses(store).of(present) == f"{WHEN:%Y-%m-%dT%H:%M:%SZ}"
    later = int(WHEN.timestamp()) + 60
    lines = [f"{later} tiny/v1", f"{later - 120} tiny/v1", f"{later + 60} tiny/v2", f"{later + 60} other/v1"]
    (tmp_path / "hits").write_text("".join(f"{line}\n" for line in lines[1::-1] + lines[2:]))
    assert LastUses(store).of(present) == f"{WHEN:%Y-%m-%dT%H}:01:00Z"
    os.utime(store.directory(present), (later + 300, later + 300))
    assert LastUses(store).of(present) == f"{WHEN:%Y-%m-%dT%H}:06:00Z"
    absent = manifest("silero-vad")
    assert LastUses(store).of(absent) is None
    os.unlink(tmp_path / "models" / "tiny" / "v1.json")
    assert LastUses(store).of(present) is None


def test_a_time_that_no_calendar_has_is_a_use_in_the_far_future(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    present = ensure(store, {"a": noise(10)})
    monkeypatch.setattr(Store, "touched", lambda *_: 2.0**62)
    assert LastUses(store).of(present) == "3000-01-01T00:00:00Z"

"""Nothing a server or a manifest says reaches a terminal as anything but text (any reporter, any field)."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import pytest
from rich.console import Console

from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileQuarantined,
    LockWaiting,
    RetryScheduled,
    RunFinished,
    SourceFailed,
)
from modelfetch.engine.stream import Reporter
from modelfetch.reporters import error_lines
from modelfetch.reporters.bars import Bars
from modelfetch.reporters.jsonl import JsonLines
from modelfetch.reporters.lines import Lines
from tests.screen import Screen
from tests.scripted import MODEL, at_once, download, play

HOSTILE = (
    "a\x1b[2J\x1b]0;title\x07\x1b]8;;http://evil\x1b\\b\x9b31m\x90q\x9c\r\n\x00\x08\x7f"
    "\u202etxt.exe\u2066\u200b\u200f\ufeff\u2028[red]x[/red][link=http://evil]y[/link]\ud800:smile:"
    "##[error]e##vso[task.setvariable variable=x]v#\x1b#teamcity[message text='t']\n::error::g"
)
COMMAND = re.compile(r"##\w*\[|^\s*::", re.MULTILINE)
"""What CI systems obey in a log."""
SENTINEL = "a[2J]0;title]8;;http://evil"
T = TypeVar("T")


def poisoned(value: T) -> T:
    """Put the hostile text behind every text of an event, at any depth."""
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changes: dict[str, Any] = {
        field.name: _poison(field.name, getattr(value, field.name)) for field in fields(value)
    }
    return replace(value, **changes)


def _poison(name: str, value: Any) -> Any:
    if isinstance(value, str):
        is_word = name in ("operation", "state", "outcome", "status", "next_source") or value == "cache"
        return value if is_word else value + HOSTILE
    if isinstance(value, tuple):
        return tuple(_poison(name, item) for item in value)
    return poisoned(value)


def events() -> list[Event]:
    """Make a run in which everything happens, and every text is hostile."""
    ok = download()
    return [
        poisoned(event)
        for event in [
            ok[0],
            LockWaiting(MODEL, "", "process 4711", 0.0),
            *ok[1:4],
            LockWaiting(MODEL, "config.json", "process 4711", 0.0),
            RetryScheduled(MODEL, "vocab.json", "mirror", "m", 2, "busy", "503", 1.0),
            FileQuarantined(MODEL, "vocab.json", "/q", "a", "b", "mirror m"),
            SourceFailed(MODEL, "vocab.json", "mirror", "m", "hash", "wrong", "hint", 0, "url", "u"),
            SourceFailed(MODEL, "merges.txt", "mirror", "m", "hash", "wrong", "hint", 0, "url", "u"),
            SourceFailed(MODEL, "merges.txt", "cache", "", "hash", "wrong", "hint", 0, "", ""),
            *ok[4:-1],
            RunFinished("failed", 6, 1.0, (), ErrorInfo("unavailable", "message", "hint")),
        ]
    ]


def written(reporter: Callable[[io.StringIO], Reporter]) -> str:
    out = io.StringIO()
    play(at_once(events()), reporter(out))
    return out.getvalue()


def is_harmless(text: str) -> bool:
    return not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text)


def test_lines_are_harmless() -> None:
    text = written(Lines)
    assert SENTINEL in text
    assert all(is_harmless(line) for line in text.split("\n"))
    assert "[red]x[/red]" in text
    assert not COMMAND.search(text)


def test_json_is_ascii_and_valid_and_says_everything() -> None:
    text = written(JsonLines)
    assert text.isascii()
    assert all(line.isprintable() for line in text.splitlines())
    said = [json.loads(line) for line in text.splitlines()]
    assert len(said) == len(events())
    assert said[0]["models"] == [MODEL + HOSTILE]
    assert not COMMAND.search(text)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "width", [pytest.param(400, marks=pytest.mark.slow), 100, pytest.param(60, marks=pytest.mark.slow), 40]
)
def test_bars_are_harmless(width: int) -> None:
    def bars(out: io.StringIO) -> Reporter:
        drawn = Bars(out, console=Console(file=out, width=width, height=24, force_terminal=True))

        class Drawn:
            def report(self, record: Any) -> None:
                drawn.report(record)
                drawn._live.refresh()

            def close(self) -> None:
                drawn.close()

        return Drawn()

    text = written(bars)
    screen = Screen(width, 24)
    screen.feed(text)  # refuses every control but those of the live display
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert all(is_harmless(line) for line in re.split(r"[\r\n]", drawn))
    assert "[red]" in text


def test_error_lines_are_harmless() -> None:
    error = ErrorInfo("x", HOSTILE, HOSTILE)
    for outcome in ("failed", "cancelled"):
        finished = RunFinished(outcome, 6, 1.0, (), error)
        assert all(is_harmless(line) for line in error_lines(finished))

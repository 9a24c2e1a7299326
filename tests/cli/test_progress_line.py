"""Progress of commands that read files: lines of a log, ten seconds apart."""

from __future__ import annotations

import pytest

from modelfetch.cli.pinning import ProgressLine


def test_a_log_gets_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    line = ProgressLine(quiet=False, clock=lambda: now)
    for second in range(26):
        now = 100.0 + second
        line.show("copying", "a\x1b[2J.bin", second * 1_000_000, 30_000_000)
    line.clear()
    assert capsys.readouterr().err.splitlines() == [
        "copying a[2J.bin: 10.0 MB of 30.0 MB",
        "copying a[2J.bin: 20.0 MB of 30.0 MB",
    ]


def test_a_quiet_command_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    line = ProgressLine(quiet=True, clock=lambda: now)
    now = 60.0
    line.show("copying", "a", 1, None)
    assert capsys.readouterr().err == ""

"""The built-in model that needs no network: the first thing anybody runs."""

from __future__ import annotations

import pytest

from tests.e2e.command import NOWHERE, Command, bend
from tests.e2e.terminal import COLOR, on_terminal

SLOW_UNTIL = """
import os, time
real = time.sleep
def sleep(seconds):
    real(seconds if os.path.exists({path!r}) else seconds + 0.1)
time.sleep = sleep
"""
"""A machine on which the demo, which sleeps between two pieces, takes a minute until a file is there."""


@pytest.mark.slow
def test_the_demo_downloads_for_real_with_bars_and_a_fallback(cli: Command) -> None:
    """With no way out of this machine, and proxies that do not exist."""
    hurried = cli.home / "hurried"
    bend(cli, SLOW_UNTIL.format(path=str(hurried)))
    figures = ("%", "/28.8 MB", "B/s", "ETA", "mirror")

    def has_bars(picture: str) -> bool:
        rows = picture.splitlines()
        moving = [row for row in rows if "onnx/decoder_model.onnx" in row and "━" in row]
        return any(all(word in row for word in figures) for row in moving) and any(
            "of 4 files" in row and "/48.8 MB" in row for row in rows
        )

    def hurry(picture: str) -> None:
        if has_bars(picture):
            hurried.touch()

    proxy = {"http_proxy": "http://nonsense.invalid:1", "ALL_PROXY": NOWHERE, "NO_PROXY": ""}
    shown = on_terminal(cli, "ensure", "demo", columns=100, watch=hurry, **proxy)
    directory = cli.cache / "models" / "demo" / "1"
    assert (shown.code, shown.out) == (0, f"{directory}\n"), shown.written
    assert sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) == 48_766_665

    assert any(has_bars("\n".join(frame)) for frame in shown.frames), shown.frames
    assert COLOR.search(shown.written)
    stays = " ".join(" ".join(shown.screen.text).split())
    assert "onnx/encoder_model.onnx mirror 127.0.0.1" in stays
    assert "not found → url" in stays
    assert "demo is ready · 48.8 MB in" in stays
    assert "━" not in stays
    assert shown.screen.has_cursor

    (directory / "config.json").unlink()
    repaired = cli("verify", "demo", "--repair")
    assert (repaired.code, repaired.out) == (0, ""), repaired.err

"""The built-in model that needs no network: the first thing anybody runs."""

from __future__ import annotations

import pytest

from tests.e2e.command import NOWHERE, Command
from tests.e2e.terminal import COLOR, on_terminal


@pytest.mark.slow
def test_the_demo_downloads_for_real_with_bars_and_a_fallback(cli: Command) -> None:
    """With no way out of this machine, and proxies that do not exist."""
    proxy = "http://nonsense.invalid:1"
    shown = on_terminal(cli, "ensure", "demo", columns=100, http_proxy=proxy, ALL_PROXY=NOWHERE, NO_PROXY="")
    directory = cli.cache / "models" / "demo" / "1"
    assert (shown.code, shown.out) == (0, f"{directory}\n"), shown.written
    assert sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) == 48_766_665

    rows = [row for frame in shown.frames for row in frame]
    moving = [row for row in rows if "onnx/decoder_model.onnx" in row and "━" in row]
    assert any(all(word in row for word in ("%", "/28.8 MB", "B/s", "ETA", "mirror")) for row in moving)
    assert any("of 4 files" in row and "/48.8 MB" in row for row in rows)
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

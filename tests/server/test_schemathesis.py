"""A running server agrees with its OpenAPI description, as schemathesis judges it with all of its checks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from modelfetch.server import login_limits
from tests.origin import Origin, model
from tests.server.running import TOKEN
from tests.server.test_cancel import real
from tests.server.test_quarantine import put

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.slow
def test_the_server_is_what_its_description_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = shutil.which("schemathesis")
    if command is None:
        pytest.skip("schemathesis is not installed")
    # Hundreds of requests with a wrong token would each wait for a second.
    monkeypatch.setattr(login_limits, "MAX_DELAY_SECONDS", 0.0)
    with (
        Origin() as origin,
        real(tmp_path, model(origin, {"a": 100}, catalog=tmp_path / "catalog")) as served,
    ):
        for n in range(8):
            put(served, tmp_path / f"wrong-{n}", bytes([n]))
        arguments = [
            *("--config-file", str(CONFIG), "--no-color"),
            *("run", f"http://127.0.0.1:{served.port}/openapi.json"),
            *("--header", f"Authorization: Bearer {TOKEN}"),
            *("--max-examples", "5", "--request-timeout", "20", "--seed", "1", "--warnings", "off"),
        ]
        done = subprocess.run(
            [command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 selected / 30 total" in done.stdout

"""A running server agrees with its OpenAPI description, as schemathesis judges it with all of its checks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.engine.events import Event, FileStarted, RunFinished, RunStarted
from modelfetch.server import login_limits
from modelfetch.server.api_table import ENDPOINTS
from modelfetch.server.job_state import Order
from tests.server.running import TOKEN, FakeEngine, Served, manifest
from tests.server.test_life_of_a_job import CANCELLED, PLAN, at
from tests.server.test_quarantine import put

CONFIG = Path(__file__).with_name("schemathesis.toml")
HELD = 12
"""Jobs that run until they are cancelled: requests for a job, its stream and its end need one."""


def play(order: Order, cancel: Cancellation) -> Iterator[Event]:
    """Run until cancelled for some models, and end at once for all others."""
    yield RunStarted("ensure", (order.model,))
    if order.model.startswith("held"):
        yield PLAN
        yield FileStarted("m", "big.bin", 1000, 0)
        yield at(400)
        try:
            cancel.sleep(600)
        except Cancelled:
            yield CANCELLED
            return
    yield RunFinished("completed", 0, 0.0, (), None)


@pytest.mark.slow
def test_the_server_is_what_its_description_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = shutil.which("schemathesis")
    if command is None:
        pytest.skip("schemathesis is not installed")
    # Hundreds of requests with a wrong token would each wait for a second.
    monkeypatch.setattr(login_limits, "MAX_DELAY_SECONDS", 0.0)
    engine = FakeEngine(play)
    engine.models |= {name: manifest(name) for name in ("demo", *(f"held-{n}" for n in range(HELD)))}
    with Served(tmp_path, engine, parallel=HELD + 1) as served:
        for n in range(HELD):
            served.submit(f"held-{n}")
            put(served, tmp_path / f"wrong-{n}", bytes([n]))
        arguments = [
            *("--config-file", str(CONFIG), "--no-color"),
            *("run", f"http://127.0.0.1:{served.port}/openapi.json"),
            *("--header", f"Authorization: Bearer {TOKEN}"),
            *("--max-examples", "20", "--request-timeout", "20", "--seed", "1", "--warnings", "off"),
        ]
        done = subprocess.run(
            [command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ENDPOINTS)} selected / {len(ENDPOINTS)} total" in done.stdout

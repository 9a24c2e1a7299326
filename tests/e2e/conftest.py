"""A command with a home of its own, and an origin for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.engine import workers
from modelfetch.store import partial
from tests.e2e.command import PATIENCE, Command, InProcess
from tests.origin import Origin

_POSIX = ("ci", "demo", "doctor", "interrupt", "output", "streams", "surroundings")
collect_ignore = [f"test_{name}.py" for name in _POSIX] if os.name == "nt" else []
"""Signals, terminals, descriptors and limits are tested as POSIX has them."""


@pytest.fixture
def cli(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
def inside(tmp_path: Path) -> InProcess:
    return InProcess(tmp_path)


@pytest.fixture
def keeps_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of this process that ends in the middle keeps every byte, however long that takes."""
    monkeypatch.setattr(workers, "LEAVE_SECONDS", PATIENCE)
    monkeypatch.setattr(partial, "CLOSE_SECONDS", PATIENCE)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        yield server

"""Fixtures for tests of hubs with the real command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command import Command


@pytest.fixture
def cli(tmp_path: Path) -> Command:
    return Command(tmp_path / "home")

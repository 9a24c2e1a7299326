"""What the tests of the engine share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.fakes import Laboratory


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    return Laboratory(tmp_path / "cache")

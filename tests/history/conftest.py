"""A history in a directory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.history import History


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "state.db"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    with History(path, wait=0.5) as opened:
        yield opened

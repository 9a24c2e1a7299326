"""A server whose jobs do nothing, quickly; and one that shares its cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.running import Served
from tests.server.sharing import Sharing, sharing_server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharing]:
    """One server for all tests of a module: starting and stopping one takes longer than most of them."""
    with sharing_server(tmp_path_factory.mktemp("sharing")) as server:
        yield server

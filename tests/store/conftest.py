"""Fixtures: a store in a temporary directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelfetch.store import Hashing, Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(params=[0, 2], ids=["hashed by the writer", "hashed by threads"])
def hashing(request: pytest.FixtureRequest) -> Hashing:
    return Hashing(request.param)


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root)


@pytest.fixture
def hashing_store(root: Path, hashing: Hashing) -> Store:
    """For tests that must pass with and without hashing threads; some modules alias it as ``store``."""
    return Store(root, hashing=hashing)


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Set the process's umask, until the end of the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)

"""What holds for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import plain

# How long an example takes, or how long it takes to think of some, says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_xdist_auto_num_workers() -> int:
    """Two workers for each processor: half of their time they wait for a process or a clock."""
    return 2 * (os.cpu_count() or 1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plain", action="store_true", help="run the tests without any fast path")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("plain"):
        plain.switch_off()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_test = collection_path.is_relative_to(Path(__file__).parent) and config.getoption("plain")
    return True if is_test and plain.is_left_out(collection_path) else None

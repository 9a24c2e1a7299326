"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import plain

# How long an example takes, or how long it takes to think of some, says how busy the machine is.
settings.register_profile(
    "any machine", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# A worker takes 6 s to rewrite the assertions of all test files: keep the result, even where the environment
# asks for no bytecode.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector away from test files and test items: they stay to the end of the run."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """Two workers for each processor: half of their time they wait for a process or a clock."""
    return 2 * (os.cpu_count() or 1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plain", action="store_true", help="run the tests without any fast path")


def _mind_signals() -> None:
    """Let processes that tests start heed signals, also where a shell started this one in its background.

    What is ignored stays ignored in a child, and modelfetch leaves it so (as for ``nohup``).
    """
    for name, usual in (
        ("SIGINT", signal.default_int_handler),
        ("SIGTERM", signal.SIG_DFL),
        ("SIGHUP", signal.SIG_DFL),
    ):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_configure(config: pytest.Config) -> None:
    _mind_signals()
    if config.getoption("plain"):
        plain.switch_off()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_test = collection_path.is_relative_to(Path(__file__).parent) and config.getoption("plain")
    return True if is_test and plain.is_left_out(collection_path) else None

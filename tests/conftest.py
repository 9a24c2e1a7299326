"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import plain

# How long an example takes, or how long it takes to think of some, says how busy the machine is.
settings.register_profile(
    "any machine", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("any machine"), max_examples=300)
settings.load_profile("any machine")  # another one: pytest --hypothesis-profile thorough

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow the cases that ``quick`` leaves out: all but the first ones, or all but every so many."""
    cases = Counter[str]()
    for item in items:
        mark = item.get_closest_marker("quick")
        if mark is not None and item.get_closest_marker("slow") is None:
            test = item.nodeid.partition("[")[0]
            cases[test] += 1
            if cases[test] > mark.args[0] if mark.args else cases[test] % mark.kwargs["every"] != 1:
                item.add_marker(pytest.mark.slow)


def pytest_xdist_auto_num_workers() -> int:
    """Three workers for two processors: a third of their time they wait for a process or a clock.

    Each takes four seconds of processor time to collect all tests.
    """
    return (3 * (os.cpu_count() or 1) + 1) // 2


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


def _sync(fd: int) -> None:
    """Stand for ``os.fsync``: no test cuts the power, and the disk takes milliseconds, thousands of times."""
    os.fstat(fd)  # which refuses what is no open file, as the real one does


def pytest_configure(config: pytest.Config) -> None:
    _mind_signals()
    os.fsync = _sync  # type: ignore[assignment]  # by a descriptor, as we call it
    if config.getoption("plain"):
        plain.switch_off()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_test = collection_path.is_relative_to(Path(__file__).parent) and config.getoption("plain")
    return True if is_test and plain.is_left_out(collection_path) else None

"""The tests without any fast path: ``pytest --plain``. What is promised must not depend on them.

Left out are the tests of the fast paths themselves.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from tests.bench import without

_VARIABLE: Final = "TESTS_PLAIN"
"""Tells the commands that tests start."""

SWITCHED_OFF: Final = (
    *("socket", "large-buffers", "few-reads", "hash-from-memory", "hashing-threads", "batch", "direct"),
    *("heads", "verify-threads", "warm", "typer", "plain-toml", "trust", "dataclasses"),
)
"""See :mod:`tests.bench.without`. Leaving at once is not among them: an interpreter that takes itself apart
can die of a signal, or of a reader that went away."""

THEIR_OWN: Final = frozenset(
    {
        "bench/",
        "engine/test_batch.py",
        "engine/test_small_servers.py",
        "net/test_large_reads.py",
        "net/test_raw_body.py",
        "model/test_plain_toml.py",
        "net/test_direct_transport.py",
        "net/test_response_heads.py",
        "store/test_hash_from_memory.py",
        "test_warm.py",
    }
    | {"e2e/test_start.py", "test_imports.py", "test_lazy_dataclass.py", "test_bench.py"}
)
"""Tests of the fast paths, below this directory."""


def switch_off() -> None:
    """Let this process, and every command it starts, do without; before the package is imported."""
    os.environ[_VARIABLE] = "1"
    sys.meta_path.insert(0, without.Finder(without.CHANGES[name] for name in SWITCHED_OFF))


def command() -> list[str]:
    """What the interpreter is to run in place of the package; nothing where all is as usual."""
    if _VARIABLE not in os.environ:
        return []
    return ["-P", str(Path(without.__file__)), ",".join(SWITCHED_OFF)]


def is_left_out(path: Path) -> bool:
    """Whether a file holds tests of the fast paths."""
    name = path.relative_to(Path(__file__).parent).as_posix()
    return any(name.startswith(own) for own in THEIR_OWN)

"""Rows, and access to the file, for tests of the history."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from modelfetch.history import AttemptRow, RunRow
from modelfetch.history.schema import decode, select

R = TypeVar("R")

NOW = datetime.now(UTC).replace(microsecond=0)
"""The real time: rows must be younger than the retention."""


def run(name: str = "r1", **changes: Any) -> RunRow:
    """A run that completed."""
    values: dict[str, Any] = {
        "run": name,
        "operation": "ensure",
        "models": ("m",),
        "started_at": NOW - timedelta(seconds=10),
        "finished_at": NOW,
        "outcome": "completed",
        "exit_code": 0,
        "fetched": 1000,
        "error": "",
        "seconds": 10.0,
        "failures": 0,
    }
    return RunRow(**values | changes)


def attempt(**changes: Any) -> AttemptRow:
    """A success: 1 MB in 1.1 seconds, the first byte after 0.1."""
    values: dict[str, Any] = {
        "run": "r1",
        "model": "m",
        "file": "a.bin",
        "source": "mirror",
        "host": "a.example",
        "attempt": 1,
        "started_at": NOW,
        "first_byte": 0.1,
        "seconds": 1.1,
        "resumed": 0,
        "received": 1_000_000,
        "size": 1_000_000,
        "outcome": "success",
        "fault": "",
        "message": "",
        "kind": "model",
    }
    return AttemptRow(**values | changes)


def failure(fault: str = "server", **changes: Any) -> AttemptRow:
    """A failed attempt."""
    values = {"outcome": "error", "fault": fault, "message": "refused", "first_byte": None, "received": 0}
    return attempt(**values | {"seconds": 0.2} | changes)


def hit(**changes: Any) -> AttemptRow:
    """A file that was in the cache."""
    values = {"source": "cache", "host": "", "outcome": "hit", "received": 0, "first_byte": None}
    return attempt(**values | {"seconds": 0.0} | changes)


def query(path: Path, statement: str) -> list[Any]:
    """Query the file directly."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def rows(path: Path, kind: type[R]) -> list[R]:
    """Every row of one kind, in the order written."""
    return [decode(kind, values) for values in query(path, select(kind, {}, "rowid")[0])]


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def held_by_another(path: Path) -> AbstractContextManager[None]:
    """Let another process hold the lock of a file."""
    return _another(HOLD, path)


@contextmanager
def _another(code: str, path: Path) -> Iterator[None]:
    """Run code in another process while the block runs; it prints a line once it has the lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.communicate()

"""What the history stands, in full: 50 processes x 200 records, and ``ensure`` beside sick files.

``python -m tests.campaign history [--processes N] [--records N]`` prints a line per case and ends with 1 when
one failed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from modelfetch.history import FILE, History
from tests.e2e.command import Command
from tests.history.material import attempt, held_by_another, query
from tests.history.writers import write_together
from tests.origin import Origin, model


def writers(processes: int, records: int) -> bool:
    """Every record of every process is there."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / FILE
        began = time.monotonic()
        outcomes = write_together(path, processes, records)
        seconds = time.monotonic() - began
        with History(path) as history:
            counted = Counter(row.run for row in history.attempts())
        is_sound = query(path, "PRAGMA integrity_check") == [("ok",)]
    total = counted.total()
    print(f"{processes} processes x {records} records: {total} rows in {seconds:.1f} s, sound: {is_sound}")
    for outcome in outcomes:
        if outcome.code or outcome.said.strip():
            print(f"  exit {outcome.code}: {outcome.said.strip()}")
    is_quiet = all(outcome.code == 0 and not outcome.said.strip() for outcome in outcomes)
    return is_sound and is_quiet and set(counted.values()) == {records} and len(counted) == processes


@contextlib.contextmanager
def corrupt(path: Path) -> Iterator[None]:
    """Random bytes."""
    path.write_bytes(random.Random(1).randbytes(50_000))
    yield


@contextlib.contextmanager
def truncated(path: Path) -> Iterator[None]:
    """The first half of a good one."""
    with History(path) as history:
        history.write(attempts=[attempt(file=f"{n}") for n in range(500)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    yield


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds its lock all the time."""
    with History(path) as history:
        history.write(attempts=[attempt()])
    with held_by_another(path):
        yield


@contextlib.contextmanager
def newer(path: Path) -> Iterator[None]:
    """Written by a later version."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    yield


@contextlib.contextmanager
def not_a_file(path: Path) -> Iterator[None]:
    """A directory has the name."""
    path.mkdir()
    yield


SICK = (corrupt, truncated, locked, newer, not_a_file)


def ensured(sickness: Callable[[Path], contextlib.AbstractContextManager[None]]) -> bool:
    """The model is there all the same, exit code 0, one word about it."""
    with tempfile.TemporaryDirectory() as directory, Origin() as origin:
        cli = Command(Path(directory))
        served = cli.serve(model(origin, {"a.bin": 100_000}, catalog=cli.catalog))
        cli.cache.mkdir()
        with sickness(cli.cache / FILE):
            result = cli("ensure", served.name)
        notes = result.stderr_lines("note: the history")
        print(
            f"ensure beside a history that is {sickness.__name__}: exit {result.code}, {result.seconds:.1f} s"
        )
        for line in notes:
            print(f"  {line}")
        return result.code == 0 and cli.has(served) and len(notes) == 1


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign history")
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--records", type=int, default=200)
    options = parser.parse_args()
    verdicts = [writers(options.processes, options.records), *map(ensured, SICK)]
    sys.exit(0 if all(verdicts) else 1)


if __name__ == "__main__":
    _main()

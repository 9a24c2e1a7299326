"""Many processes that write at the same time: ``python -m tests.history.writers FILE NAME RECORDS``."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from modelfetch.history import EventRow, History
from tests.history.material import attempt, run


@dataclass(frozen=True)
class Outcome:
    """The result of one writer."""

    code: int
    said: str


def write_together(path: Path, processes: int, records: int) -> list[Outcome]:
    """Let processes write records, each in a transaction of its own, all at once."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.history.writers", str(path), f"w{n}", str(records)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(processes)
    ]
    for writer in writers:  # ready, and waiting for the others
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    return [_outcome(writer) for writer in writers]


def _outcome(writer: subprocess.Popen[str]) -> Outcome:
    with writer:
        said = writer.stdout.read() if writer.stdout else ""
    return Outcome(writer.returncode, said)


def _main(path: str, name: str, records: str) -> None:
    print("ready", flush=True)
    sys.stdin.read()
    with History(Path(path)) as history:
        for n in range(int(records)):
            history.write(
                runs=[run(name, fetched=n)],
                attempts=[attempt(run=name, file=f"{n}.bin")],
                events=[EventRow(name, n, {"n": n})],
            )
    print(history.notice)


if __name__ == "__main__":
    _main(*sys.argv[1:])

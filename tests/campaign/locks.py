"""Locks that vanish: the lock directory is deleted all the time, under processes that want one model.

Half of the processes ask an honest source, the others one that lies before it. A watcher hashes whatever
stands under a final name, while they are at work and after.

``python -m tests.campaign locks [--rounds N] [--processes N] [--size BYTES] [--every SECONDS] [--no-op]``
prints a line per round and ends with 1 when a wrong byte was seen. With ``--no-op`` locks are granted to
everybody besides.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.origin import Origin, ServedModel, faults, model

SECONDS = 2.0
"""What a file takes from one source: long enough for the locks to vanish many times."""

FORKER = """
import os, sys, time
from pathlib import Path
from modelfetch.engine.options import EnsureOptions
from modelfetch.engine.stream import follow
from modelfetch.workspace import Workspace
import modelfetch.engine.ensure, modelfetch.net.client

def run(number):
    catalog = sys.argv[3 + number % 2]
    environ = {"MODELFETCH_CACHE_DIR": sys.argv[2], "MODELFETCH_CATALOG": catalog, "HOME": sys.argv[2]}
    environ |= {"MODELFETCH_RETRY_BASE": "0.02"}
    workspace = Workspace.open(environ=environ, cwd=Path(catalog))
    finished = follow(workspace.ensure(workspace.manifests(["m"]), EnsureOptions()), [])
    if finished.error is not None:
        sys.stdout.write(f"{finished.error.code} {finished.error.message}\\n")
        sys.stdout.flush()
    return finished.exit_code

if sys.argv[5] == "no-op":
    import fcntl
    fcntl.flock = lambda fd, operation: None
children = []
for number in range(int(sys.argv[1])):
    child = os.fork()
    if not child:
        code = 1
        try:
            code = run(number)
        except BaseException as error:
            sys.stdout.write(f"{type(error).__name__} {error}\\n")
            sys.stdout.flush()
        finally:
            os._exit(code)
    children.append(child)
    time.sleep(0.02)
print("codes", *(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""
"""Starts processes as cheaply as can be: most of what one takes otherwise is loading the interpreter."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one round."""

    wrong: int
    """Looks at a final name that found other bytes than its digest says."""
    looks: int
    codes: Counter[int]
    complaints: Counter[str]
    left: list[str]
    """Names that should not outlive the round."""
    sent: int
    """Bytes that the sources sent."""
    seconds: float


class Watcher:
    """Hashes what stands under a final name, again and again."""

    def __init__(self, cache: Path, served: ServedModel) -> None:
        self._cache = cache
        self._served = served
        self.wrong = self.looks = 0

    def look(self) -> None:
        """Look once."""
        for path, sha256 in self._finals():
            with suppress(FileNotFoundError):
                self.looks += 1
                self.wrong += hashlib.sha256(path.read_bytes()).hexdigest() != sha256

    def _finals(self) -> Iterator[tuple[Path, str]]:
        yield from ((path, path.name) for path in self._cache.glob("blobs/sha256/??/*"))
        directory = self._cache / "models" / self._served.name / self._served.version
        yield from ((directory / path, content.sha256) for path, content in self._served.contents.items())


@contextmanager
def repeated(action: Callable[[], None], every: float) -> Iterator[None]:
    """Do something all the time, on a thread of its own."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(every):
            action()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def play(processes: int, size: int, every: float, *, no_op: bool = False) -> Outcome:
    """Play one round."""
    with tempfile.TemporaryDirectory() as name, Origin() as honest, Origin() as liar:
        root = Path(name)
        cache, good, bad = root / "cache", root / "good", root / "bad"
        honest.pace, liar.pace = size / SECONDS, size / SECONDS
        liar.fault("*", faults.wrong_bytes())
        served = model(honest, {"a.bin": size}, mirrors=[honest], huggingface=False, catalog=good)
        model(liar, {"a.bin": size}, mirrors=[liar, honest], huggingface=False, catalog=bad)
        watcher = Watcher(cache, served)
        began = time.monotonic()
        arguments = [str(processes), str(cache), str(good), str(bad), "no-op" if no_op else "locks"]
        with (
            repeated(lambda: shutil.rmtree(cache / "locks", ignore_errors=True), every),
            repeated(watcher.look, 0.1),
        ):
            said = subprocess.run(
                [sys.executable, "-c", FORKER, *arguments], capture_output=True, text=True, check=False
            )
        seconds = time.monotonic() - began
        watcher.look()
        *complaints, codes = said.stdout.splitlines() or [said.stderr]
        return Outcome(
            watcher.wrong,
            watcher.looks,
            Counter(map(int, codes.split()[1:])),
            Counter(complaint.replace(name, "") for complaint in complaints),
            [str(path.relative_to(cache)) for path in (*cache.rglob(".mf-tmp-*"), *cache.glob("partial/*"))],
            honest.bytes_sent + liar.bytes_sent,
            seconds,
        )


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign locks")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=40)
    parser.add_argument("--size", type=int, default=3_000_000)
    parser.add_argument("--every", type=float, default=0.1)
    parser.add_argument("--no-op", action="store_true")
    options = parser.parse_args()
    bad = 0
    for number in range(options.rounds):
        outcome = play(options.processes, options.size, options.every, no_op=options.no_op)
        bad += outcome.wrong > 0
        codes = ", ".join(f"{count} x exit {code}" for code, count in sorted(outcome.codes.items()))
        print(
            f"round {number + 1}: {outcome.wrong} of {outcome.looks} looks wrong; {codes}; "
            f"{outcome.sent / options.size:.1f} x the bytes; {len(outcome.left)} left; "
            f"{outcome.seconds:.1f} s",
            flush=True,
        )
        for complaint, count in outcome.complaints.most_common(5):
            print(f"  {count} x {complaint}", flush=True)
    print(f"{bad} of {options.rounds} rounds with wrong bytes under a final name")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    _main()

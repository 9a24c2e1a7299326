"""Coverage-guided fuzzing of the readers of IPFS formats, with atheris.

``python -m tests.campaign ipfs_fuzz [--seconds N] [--target NAME] [--workers N] [--corpus DIR]`` gives each
reader inputs for that long, and prints a line for each: inputs, edges of the code that were reached, memory
and slowest input. An input is a finding if its reader raises anything but the documented errors, breaks a
property of ``tests/campaign/fuzzing/targets.py``, takes 5 s of processor time, or lets the process grow by
256 MiB. It is kept in the directory of the corpus, and ``--replay FILE --target NAME`` feeds it again. Ends
with 1 if there was one. Which lines a corpus reaches is shown by
``coverage run -m tests.campaign ipfs_fuzz --replay DIR --target NAME``.

atheris is not a dependency of the tests: ``pip install atheris``. Without it nothing is fuzzed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

SECONDS_LIMIT = 5
"""Most processor time an input may take. A clock would make findings of slow inputs on a busy machine."""
INSTRUMENTED = 15
"""How many times as long the readers take while their coverage is recorded: measured with a table of 400,000
rows, 1.2 s and 17.7 s."""
HANG_LIMIT = 600
"""Seconds by the clock after which the fuzzer itself ends an input, if no Python code runs any more."""
MEMORY_LIMIT = 256
"""Most MiB by which the process may grow."""
LENGTH_LIMIT = 1 << 16
"""Longest input in bytes."""


class Result(NamedTuple):
    """What came of a target."""

    target: str
    inputs: int
    edges: int
    memory: int
    """Most memory of the process, in MiB."""
    slowest: int
    """Whole seconds that the slowest input took."""
    finding: str
    """The end of what the fuzzer printed; empty if it found nothing."""

    def __str__(self) -> str:
        line = f"{self.target}: {self.inputs:,} inputs, {self.edges} edges reached, {self.memory} MiB"
        return f"{line}, slowest {self.slowest} s: {'FINDING' if self.finding else 'nothing found'}"


def fuzz(target: str, seconds: int, corpus: Path) -> Result:
    """Fuzz one target in a process of its own."""
    directory = corpus / target
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.campaign.ipfs_fuzz", "--child", "--target", target]
    line = [*command, "--seconds", str(seconds), "--corpus", str(corpus)]
    # A reader that hangs ends by the fuzzer's own limit; this one is for the fuzzer.
    done = subprocess.run(
        line, capture_output=True, text=True, errors="replace", timeout=seconds + 2 * HANG_LIMIT, check=False
    )
    return _result(target, done.returncode, done.stdout + done.stderr)


def _result(target: str, code: int, printed: str) -> Result:
    def last(pattern: str) -> int:
        return int(([0, *re.findall(pattern, printed)])[-1])

    inputs = last(r"stat::number_of_executed_units: *(\d+)") or last(r"#(\d+)\s")
    memory = last(r"stat::peak_rss_mb: *(\d+)") or last(r"rss: (\d+)Mb")
    slowest = last(r"stat::slowest_unit_time_sec: *(\d+)")
    return Result(target, inputs, last(r"cov: (\d+)"), memory, slowest, printed[-4000:] if code else "")


def _run_child(target: str, seconds: int, corpus: Path) -> None:
    """Fuzz in this process, and end it."""
    import atheris

    # Only the readers are instrumented: what the targets do with them is not to guide the fuzzer.
    with atheris.instrument_imports(include=["modelfetch.ipfs"]):
        from tests.campaign.fuzzing.targets import TARGETS
    directory = corpus / target
    options = {
        "max_total_time": seconds,
        "timeout": HANG_LIMIT,
        "rss_limit_mb": MEMORY_LIMIT + 100,  # of the whole process; 70 MiB are Python and the corpus
        "max_len": LENGTH_LIMIT,
        "len_control": 20,
        "artifact_prefix": f"{corpus / target}.",
        "print_final_stats": 1,
    }
    _write_seeds(target, directory)
    arguments = [target, *(f"-{name}={value}" for name, value in options.items()), str(directory)]
    atheris.Setup(arguments, _limited(TARGETS[target]))
    _limit_memory()
    atheris.Fuzz()


def _limited(feed: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Let an input that takes too long raise an error, which is a finding."""

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS_LIMIT * INSTRUMENTED} s with instrumentation")

    def feed_limited(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, SECONDS_LIMIT * INSTRUMENTED)
        feed(data)
        signal.setitimer(signal.ITIMER_PROF, 0)

    signal.signal(signal.SIGPROF, interrupt)
    return feed_limited


def _write_seeds(target: str, directory: Path) -> None:
    from tests.campaign.fuzzing.seeds import seeds_of

    for index, seed in enumerate(seeds_of(target)):
        (directory / f"seed-{index}").write_bytes(seed[:LENGTH_LIMIT])


def _limit_memory() -> None:
    """Let a single large allocation fail; the limit of the fuzzer is checked once a second."""
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    limit = now + (MEMORY_LIMIT << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _replay(target: str, path: Path) -> None:
    """Feed a file, or all files of a directory, and print what took longest."""
    from tests.campaign.fuzzing.targets import TARGETS

    times = []
    for each in sorted(path.iterdir()) if path.is_dir() else [path]:
        start = time.process_time()
        TARGETS[target](each.read_bytes())
        times.append((time.process_time() - start, each.name))
    print(f"{target}: {len(times)} inputs, slowest {max(times)}")


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign ipfs_fuzz")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="targets at a time")
    parser.add_argument("--corpus", type=Path, help="directory for inputs, which the next run begins with")
    parser.add_argument("--replay", type=Path, help="feed a file or a directory to --target instead")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _run_child(options.target, options.seconds, options.corpus)
        return
    from tests.campaign.fuzzing.targets import TARGETS

    if options.target not in {None, *TARGETS}:
        parser.error(f"targets are {', '.join(TARGETS)}")
    if options.replay is not None:
        _replay(options.target, options.replay)
        return
    if importlib.util.find_spec("atheris") is None:
        print("ipfs_fuzz: SKIPPED, atheris is not installed")
        return
    corpus = options.corpus or Path(tempfile.mkdtemp(prefix="ipfs-fuzz-"))
    targets = [options.target] if options.target else list(TARGETS)
    sys.exit(_fuzz_all(targets, options.seconds, options.workers, corpus))


def _fuzz_all(targets: list[str], seconds: int, workers: int, corpus: Path) -> int:
    found = 0
    with ThreadPoolExecutor(workers) as pool:
        for result in pool.map(lambda target: fuzz(target, seconds, corpus), targets):
            print(result, flush=True)
            if result.finding:
                found = 1
                print(f"{result.finding}\nkept in {corpus}", flush=True)
    return found


if __name__ == "__main__":
    _main()

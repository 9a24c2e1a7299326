"""Run a command once and take its measure; know what the rest of the machine did meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tests.bench.figures import DISTURBED_SHARE, Sample
from tests.bench.scene import Command

_LAUNCH = Path(__file__).with_name("launch.py")
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_QUIET_WINDOW = 0.2
_LIMIT = 90.0  # seconds; some peers hang now and then


class Failed(Exception):
    """A command ended with another status than 0."""


def measure(
    command: Command,
    cwd: Path,
    ear: int,
    log: Path,
    server_cpu: Callable[[], float],
    processors: Collection[int],
) -> Sample:
    """Run a command and say what it cost.

    Args:
        command: What is run.
        cwd: Its working directory.
        ear: The listening socket on which a first connection is waited for.
        log: Where its error output goes.
        server_cpu: CPU seconds used by the server so far.
        processors: Those it may run on.

    Raises:
        Failed: It did not end well.
    """
    before = _busy(), _own() + server_cpu()
    launch = [sys.executable, "-I", "-S", str(_LAUNCH), command.until, str(ear), *command.argv]
    with log.open("wb") as errors:
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, processors)  # which the process that is started next inherits
        try:
            said = _finished(launch, env=command.env, cwd=cwd, pass_fds=[ear], stderr=errors)
        finally:
            os.sched_setaffinity(0, everywhere)
    foreign = (_busy() - before[0]) - (_own() + server_cpu() - before[1])
    status, wall, cpu, memory = said.split() if said else (b"no result", 0, 0, 0)
    if status != b"0":
        raise Failed(f"{Path(command.argv[0]).name} ended with {status.decode()}: {_last_line(log)}")
    return Sample(float(wall), float(cpu), int(memory), max(0.0, foreign))


def _finished(launch: list[str], **how: Any) -> bytes:
    """What the launcher printed; nothing if it took too long, and was killed with all it had started."""
    with subprocess.Popen(launch, stdout=subprocess.PIPE, start_new_session=True, **how) as process:
        said = b""
        try:
            said = process.communicate(timeout=_LIMIT)[0]
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return said


def await_quiet(patience: float) -> None:
    """Wait until the machine has nothing else to do, or for ``patience`` seconds."""
    until, cpus = time.monotonic() + patience, os.cpu_count() or 1
    while time.monotonic() < until:
        busy, began = _busy(), time.monotonic()
        time.sleep(_QUIET_WINDOW)
        if _busy() - busy <= DISTURBED_SHARE * cpus * (time.monotonic() - began):
            return


def _busy() -> float:
    """CPU seconds all processes of the machine, and other machines on its hardware, have used so far.

    Interrupts are left out: much of them is the traffic that is measured.
    """
    user, nice, system, _, _, _, _, steal = _first_line("/proc/stat").split()[1:9]
    return (int(user) + int(nice) + int(system) + int(steal)) * _TICK


def _own() -> float:
    """CPU seconds of this process and those it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _first_line(path: str) -> str:
    return Path(path).read_text("ascii").split("\n", 1)[0]


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"

"""A cache that was baked into an image: it cannot be written to, and has other inodes and times."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.e2e.command import InProcess
from tests.origin import Origin, model

pytestmark = pytest.mark.slow  # one process after the other

ROOT = Path(__file__).parents[2]
OLD = 1_577_836_800
"""2020-01-01, long before any file of a test."""
STRANGER = 12345
"""A user that is not in /etc/passwd."""
CHANGES = frozenset(
    {
        *("creat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2", "rmdir"),
        *("link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "truncate", "ftruncate"),
        *("chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "lchown", "fallocate"),
        *("utime", "utimes", "futimesat", "utimensat"),
    }
)
"""System calls that change a file system; those that open a file are judged by flags."""


@pytest.fixture
def baked(inside: InProcess, origin: Origin) -> Path:
    """A cache as a layer of an image has it: copied, with old times, and without permission to write."""
    inside.serve(
        model(origin, {"config.json": 20, "onnx/weights.bin": 3000}, name="m", catalog=inside.catalog)
    )
    assert inside("ensure", "m").code == 0
    target = inside.home / "baked"
    shutil.copytree(inside.cache, target)
    for path in sorted([target, *target.rglob("*")], reverse=True):  # a directory after what is in it
        os.utime(path, (OLD, OLD))
        path.chmod(0o555 if path.is_dir() else 0o444)
    shutil.rmtree(inside.cache)
    return target


def state(root: Path) -> Mapping[str, Sequence[int]]:
    """What any write would change: of each file, inode, size, mode and times."""
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        times = (status.st_mtime_ns, status.st_ctime_ns)
        found[str(path)] = (status.st_ino, status.st_size, status.st_mode, status.st_nlink, *times)
    return found


def as_stranger() -> list[str]:
    """The beginning of a line that runs a command as a user who owns nothing.

    The user keeps one privilege, to read everything: the interpreter may be in a home directory.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return []  # the owner may not write to it either
    user = [f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    return ["setpriv", *user, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def environment(inside: InProcess, baked: Path) -> dict[str, str]:
    """No HOME, and nothing else of a session."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MODELFETCH_CACHE_DIR": str(baked),
        "MODELFETCH_CATALOG": inside.environment["MODELFETCH_CATALOG"],
        "MODELFETCH_OFFLINE": "1",
        "MODELFETCH_HISTORY_DAYS": "0",
    }


def run(inside: InProcess, baked: Path, *line: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line, cwd="/", env=environment(inside, baked), capture_output=True, text=True, check=False
    )


def modelfetch(*words: str) -> list[str]:
    return [*as_stranger(), sys.executable, "-m", "modelfetch", *words]


LINES = [["ensure", "m"], ["path", "m"], ["verify", "m"], ["verify"]]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_it_is_used_without_a_write(inside: InProcess, baked: Path, words: list[str]) -> None:
    before = state(baked)
    done = run(inside, baked, *modelfetch(*words))
    assert done.returncode == 0, done.stderr
    if words[0] != "verify":
        assert done.stdout == f"{baked / 'models' / 'm' / '1'}\n"
    assert state(baked) == before


def writes(trace: str) -> list[str]:
    """The system calls that changed something, of a protocol of strace."""
    lines = [line for line in trace.splitlines() if " = -1 " not in line and "(" in line]
    names = {line: line.partition("(")[0] for line in lines}
    opened = [line for line in lines if names[line].startswith("open") and "/dev/" not in line]
    flags = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC")
    return [line for line in opened if any(flag in line for flag in flags)] + [
        line for line in lines if names[line] in CHANGES
    ]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-o", os.devnull, "true"], check=False, capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_no_system_call_changes_a_file(
    inside: InProcess, baked: Path, tmp_path: Path, words: list[str]
) -> None:
    if not can_trace():
        pytest.skip("strace is not installed, or not permitted")
    traces = tmp_path / "traces"
    traces.mkdir()
    # "?": not every system has all of them. A file for each thread, so that a line is never interrupted.
    calls = ",".join(f"?{name}" for name in ("open", "openat", "openat2", *sorted(CHANGES)))
    traced = ["strace", "-ff", "-qq", "-o", str(traces / "t"), "-e", f"trace={calls}"]
    done = run(inside, baked, *traced, *modelfetch(*words))
    assert done.returncode == 0, done.stderr
    trace = "".join(path.read_text("utf-8", "replace") for path in traces.iterdir())
    assert str(baked) in trace
    assert writes(trace) == []


def test_the_trace_would_show_a_write() -> None:
    for line in ('openat(5, "a", O_RDWR|O_CREAT) = -1 EROFS (Read-only)', 'openat(5, "a", O_RDONLY) = 3'):
        assert writes(line) == []
    for line in ('openat(5, "a", O_RDWR|O_CREAT) = 3', 'mkdirat(5, "a") = 0', "utimensat(5, NULL) = 0"):
        assert writes(line) == [line]


def test_a_damaged_file_of_it_is_reported(inside: InProcess, baked: Path) -> None:
    """It cannot be repaired, so the command fails, and nothing is written either."""
    weights = baked / "models" / "m" / "1" / "onnx" / "weights.bin"
    weights.chmod(0o644)
    weights.write_bytes(bytes(3000))
    weights.chmod(0o444)
    before = state(baked)
    done = run(inside, baked, *modelfetch("verify", "m"))
    assert (done.returncode, "onnx/weights.bin" in done.stdout + done.stderr) == (5, True)
    assert run(inside, baked, *modelfetch("path", "m")).returncode != 5
    assert state(baked) == before

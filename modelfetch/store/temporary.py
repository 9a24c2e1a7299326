"""Who made a temporary file: a tag in its name that tells later runs whether its maker still lives."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from functools import cache
from pathlib import Path
from typing import Final, Literal

TEMPORARY: Final = ".mf-tmp-"
"""How the name of every temporary file begins; a tag follows."""

GRACE: Final = 24 * 3600.0
"""Seconds without a change after which a file counts as forgotten when its maker is on another machine or in
another container, so cannot be asked for. What is at work is written to all the time, and a source that sends
nothing is left within a minute."""

_TAG: Final = re.compile(r"([0-9a-f]{12})-([1-9][0-9]{0,6})-[0-9a-f]{8}")
"""Machine, process (at most 2**22 on Linux), and a random part."""

_FACTS: Final = (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid"))


def tag() -> str:
    """Make a new name part that says which process made it; never the same twice."""
    return f"{_machine() or '0' * 12}-{os.getpid()}-{os.urandom(4).hex()}"


def temporary_name() -> str:
    """Make the name of a new temporary file."""
    return TEMPORARY + tag()


def is_temporary(name: str) -> bool:
    """Whether a name is one that :func:`temporary_name` makes."""
    return name.startswith(TEMPORARY) and _TAG.fullmatch(name.removeprefix(TEMPORARY)) is not None


def maker(text: str) -> Literal["alive", "dead", "unknown"]:
    """Say what became of the process that made a tag.

    Only a process of this very boot and process namespace can be known to be dead: a number alone says
    nothing in a container, after a restart, or on a shared disk.
    """
    parts = _TAG.fullmatch(text)
    if parts is None or parts[1] != _machine():
        return "unknown"
    return "alive" if is_running(int(parts[2])) else "dead"


def is_old(*found: os.stat_result | None) -> bool:
    """Whether none of these files was changed within :data:`GRACE`; what is absent does not count.

    A hard link has the old mtime of its blob; making it counts as a change of the inode. A clock that went
    back makes files young, and so spares them.
    """
    changes = [max(each.st_mtime, each.st_ctime) for each in found if each is not None]
    return bool(changes) and time.time() - max(changes) > GRACE


def is_running(pid: int) -> bool:
    """Whether a process of that number exists on this machine; True where that cannot be asked."""
    if sys.platform == "win32":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@cache
def _machine() -> str:
    """Twelve digits for this boot of this machine and this process namespace; empty where unknown."""
    boot, namespace = _FACTS
    try:
        facts = f"{boot.read_text().strip()} {os.readlink(namespace)}"  # noqa: PTH115 - not a path
    except OSError:
        return ""
    return hashlib.sha256(facts.encode()).hexdigest()[:12]

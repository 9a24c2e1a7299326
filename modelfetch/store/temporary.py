"""Names of temporary files, with a tag that identifies the process to later runs.

A name is the prefix, then machine, process and a random part::

    .mf-tmp-3f9a0c11d2e4-4711-8badf00d

The machine part stands for this boot and this process namespace. Only with the same machine part can a
process number be checked; for all others the age of the file decides (:data:`GRACE`).
"""

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
"""Prefix of the name of every temporary file; a tag follows."""

GRACE: Final = 24 * 3600.0
"""Seconds without a change after which a file counts as left over, if its process is on another machine or in
another container and so cannot be checked. A process at work writes to its file all the time, and gives up a
source that sends nothing within a minute, so a day is ample."""

_TAG: Final = r"([0-9a-f]{12})-([1-9][0-9]{0,6})-[0-9a-f]{8}"
"""Machine, process (at most 2**22 on Linux), and a random part."""

_FACTS: Final = (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid"))


def tag() -> str:
    """Return a new unique name part that identifies this process."""
    return f"{_machine() or '0' * 12}-{os.getpid()}-{os.urandom(4).hex()}"


def temporary_name() -> str:
    """Return the name for a new temporary file."""
    return TEMPORARY + tag()


def is_temporary(name: str) -> bool:
    """Whether a name has the form of :func:`temporary_name`."""
    return name.startswith(TEMPORARY) and re.fullmatch(_TAG, name.removeprefix(TEMPORARY)) is not None


def maker(text: str) -> Literal["alive", "dead", "unknown"]:
    """Return whether the process that made a tag is still running.

    Only for a process of this boot and process namespace: in a container, after a restart, or on a shared
    disk the process number alone proves nothing.
    """
    parts = re.fullmatch(_TAG, text)
    if parts is None or parts[1] != _machine():
        return "unknown"
    return "alive" if is_running(int(parts[2])) else "dead"


def is_old(*found: os.stat_result | None) -> bool:
    """Whether none of these files was changed within :data:`GRACE`; absent files do not count.

    The ctime counts as well: a new hard link has the old mtime of its blob, but creating it changes the
    inode. If the clock was set back, files look newer and are kept.
    """
    changes = [max(each.st_mtime, each.st_ctime) for each in found if each is not None]
    return bool(changes) and time.time() - max(changes) > GRACE


def is_running(pid: int) -> bool:
    """Whether a process with that number exists on this machine; True where that is unknown."""
    if sys.platform == "win32":  # os.kill would terminate the process there, even with signal 0
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it exists, but belongs to another user
        return True
    return True


@cache
def _machine() -> str:
    """Twelve hex digits that identify this boot and process namespace; empty where unknown."""
    boot, namespace = _FACTS
    try:
        facts = f"{boot.read_text().strip()} {os.readlink(namespace)}"  # noqa: PTH115 - not a path
    except OSError:
        return ""
    return hashlib.sha256(facts.encode()).hexdigest()[:12]

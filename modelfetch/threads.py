"""Starting threads where there may be none to be had: in a container whose limit of processes is reached."""

from __future__ import annotations

import threading
from collections.abc import Callable

from modelfetch.errors import StoreError


def start(work: Callable[[], object], name: str) -> threading.Thread | None:
    """Start a thread that ends with the process, whatever it is at.

    Returns:
        The thread; None where the system has none to give (pids cgroup, RLIMIT_NPROC, no memory for a stack).
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the one way in which Python says so
        return None
    return thread


def require(work: Callable[[], object], name: str) -> threading.Thread:
    """Start a thread that nothing can do without.

    Raises:
        StoreError: The system has none to give.
    """
    thread = start(work, name)
    if thread is None:
        raise StoreError(
            "the system lets this process start no more threads",
            hint="Raise the limit of processes (ulimit -u, or pids.max of the container), or end some.",
        )
    return thread

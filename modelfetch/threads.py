"""Starting threads when the system may refuse them, as in a container at its limit of processes.

Then :func:`start` returns None, for callers that can do without the thread, and :func:`require` raises.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from modelfetch.errors import StoreError


def start(work: Callable[[], object], name: str) -> threading.Thread | None:
    """Start a daemon thread, which does not keep the process alive.

    Returns:
        The thread; None if the system allows no more (pids cgroup, RLIMIT_NPROC, no memory for a stack).
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # "can't start new thread"; Python gives no error code
        return None
    return thread


def require(work: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread, or fail.

    Raises:
        StoreError: The system allows no more threads.
    """
    thread = start(work, name)
    if thread is None:
        raise StoreError(
            "the system allows this process no more threads",
            hint="Raise the limit of processes (ulimit -u, or pids.max of the container), or end some.",
        )
    return thread

"""How many files at once the system lets this process have open, and what a run can afford of that."""

from __future__ import annotations

import sys
from typing import Final

from modelfetch.store.handles import MOST

RESERVE: Final = 12 + MOST
"""Descriptors that a run of one file at a time gets by with, all in all: nine when measured, and the
directories of the cache that are kept open."""
PER_FILE: Final = 4
"""Each further file under way: its data, its journal, a lock or directory, and a connection."""


def limit() -> int | None:
    """The most descriptors this process may have; None where that is not known or no matter (Windows)."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def affordable(files: int, descriptors: int | None) -> int:
    """How many of so many files may be under way at the same time: one always is."""
    if descriptors is None:
        return files
    return max(1, min(files, 1 + (descriptors - RESERVE) // PER_FILE))

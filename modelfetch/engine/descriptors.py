"""How many files at once the system lets this process have open, and what a run can afford of that."""

from __future__ import annotations

from typing import Final

from modelfetch.store.handles import most_kept

RESERVE: Final = 12
"""Descriptors that a run of one file at a time gets by with, all in all: nine when measured; beside them are
the directories of the cache that are kept open."""
PER_FILE: Final = 4
"""Each further file under way: its data, its journal, a lock or directory, and a connection."""


def affordable(files: int, descriptors: int | None) -> int:
    """How many of so many files may be under way at the same time: one always is."""
    if descriptors is None:
        return files
    left = descriptors - RESERVE - most_kept(descriptors)
    return max(1, min(files, 1 + left // PER_FILE))

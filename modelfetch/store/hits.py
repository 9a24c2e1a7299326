"""Runs that found a model there: notes of the warm answer (:func:`modelfetch.warm.count`), read back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from modelfetch.errors import StoreError
from modelfetch.store.disk import Disk
from modelfetch.store.files import read_small
from modelfetch.store.layout import Layout
from modelfetch.values import dataclass
from modelfetch.warm import HITS_LIMIT

_MOST: Final = HITS_LIMIT + 4096
"""Bytes read of one file: the line that reached the limit may have gone beyond it."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One run that found one model there."""

    at: datetime
    model: str
    directory: str
    """Name of the model's directory: its version, and its identity where another model had that first."""


def read_hits(disk: Disk, layout: Layout) -> list[Hit]:
    """Read what was noted, the oldest first. What is no such note is passed over."""
    found: list[Hit] = []
    for path in layout.hits():
        with suppress(StoreError):
            content = read_small(disk, path, _MOST) or b""
            found += _parsed(content.decode("utf-8", "replace"))
    return found


def forget_hits(disk: Disk, layout: Layout) -> None:
    """Remove the notes.

    Raises:
        StoreError: The disk refused.
    """
    for path in layout.hits():
        disk.unlink(path)


def _parsed(text: str) -> Iterator[Hit]:
    for line in text.splitlines():
        seconds, _, path = line.partition(" ")
        model, _, directory = path.partition("/")
        if directory and seconds.isascii() and seconds.isdecimal() and len(seconds) < 12:
            yield Hit(datetime.fromtimestamp(int(seconds), UTC), model, directory)

"""What ``list`` selects and in which order: patterns over names and titles, and the time of the last use.

A pattern without wildcards is a substring; one with ``*``, ``?`` or ``[`` must match a whole name or title.
Letter case does not matter. Nothing here reads a manifest or uses the network. Example::

    whisper      every model with "whisper" in its name or title
    *-q8         every model whose name ends with "-q8"
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest


class Sort(StrEnum):
    """Order of a list of models."""

    NAME = "name"
    SIZE = "size"
    USED = "used"


_WILDCARDS: Final = frozenset("*?[")


def matcher(pattern: str | None) -> Callable[[Manifest], bool]:
    """Return a test of a model's name and title."""
    if not pattern:
        return lambda _: True
    wanted = pattern.casefold()
    if not _WILDCARDS & set(wanted):
        return lambda manifest: wanted in manifest.name or wanted in manifest.title.casefold()
    from fnmatch import fnmatchcase

    return lambda manifest: any(
        fnmatchcase(text, wanted) for text in (manifest.name, manifest.title.casefold())
    )


def ordered(models: list[dict[str, Any]], sort: Sort) -> list[dict[str, Any]]:
    """Sort listed models, which are in the order of their names: that remains the order of equal ones."""
    if sort == Sort.SIZE:
        return sorted(models, key=lambda model: model["size"], reverse=True)
    if sort == Sort.USED:  # times of one format and time zone compare as text
        return sorted(models, key=lambda model: model["used"] or "", reverse=True)
    return models

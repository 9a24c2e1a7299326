"""What ``list`` selects and in which order: patterns over names and titles, and the time of the last use.

A pattern without wildcards is a substring; one with ``*``, ``?`` or ``[`` must match a whole name or title.
Letter case does not matter. Nothing here reads a manifest or uses the network. Example::

    whisper      every model with "whisper" in its name or title
    *-q8         every model whose name ends with "-q8"

The last use of a model is its latest fetch or verification, or the latest run that found it present.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from modelfetch.cli.options import Sort

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest
    from modelfetch.store import Store

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


class LastUses:
    """The last use of each model, from its receipt and the counts of warm runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Oldest first, so the latest one of a directory remains.
        self._hits = {(hit.model, hit.directory): hit.at for hit in store.hits()}

    def of(self, manifest: Manifest) -> str | None:
        """Return the time in UTC, ``2026-11-20T06:00:00Z``; None for a model without a receipt."""
        receipt = self._store.receipt(manifest)
        if receipt is None:
            return None
        times = [file.verified_at for file in receipt.files]
        times += filter(None, [self._hits.get((manifest.name, receipt.label))])
        return max(times).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if times else None

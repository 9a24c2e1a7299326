"""Upkeep of a cache at the end of a run, at most once a day: removes old leftovers, reports a large cache.

Only interrupted downloads and wrong bytes past their days are removed, never a model. Each of the two is
reported in one line; there is none if nothing was removed, and the cache is not too large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfetch.errors import StoreError

if TYPE_CHECKING:
    from modelfetch.keep.gc import CleanUp
    from modelfetch.workspace import Workspace


_WORDS = (
    ("old interrupted download", "old interrupted downloads"),
    ("old quarantine entry", "old quarantine entries"),
)


def upkeep(workspace: Workspace, now: float) -> list[str]:
    """Look after the cache if that was not done within a day; best effort.

    Returns:
        Lines for the user.
    """
    cache = workspace.loaded.settings.cache
    try:
        if not workspace.store.begin_upkeep(now):
            return []
        if not workspace.store.has_leftovers():
            # The usual case: a survey would take a tenth of the time in which small files are fetched.
            return _size_warning(workspace.store.usage() if cache.warn_size else 0, cache.warn_size)
        # Loaded on one day's run only, and not by every one.
        from modelfetch.keep.gc import clean_leftovers
        from modelfetch.keep.policy import Policy

        done = clean_leftovers(workspace, Policy(cache.partial_days, cache.quarantine_days, None), now)
    except StoreError:
        return []
    return [*([_removed(done)] if done.actions else []), *_size_warning(done.size_after, cache.warn_size)]


def _size_warning(size: int, limit: int) -> list[str]:
    if not limit or size <= limit:
        return []
    from modelfetch.model.units import format_size

    words = (
        f"warning: the cache has {format_size(size)}, more than cache.warn_size ({format_size(limit)}): "
        "`modelfetch gc` removes what is no longer needed, "
        "`modelfetch list --size --sort used` shows what was not used for long"
    )
    return [words]


def _removed(done: CleanUp) -> str:
    from modelfetch.reporters.terminal_text import plural

    counts = [sum(action.kind == kind for action in done.actions) for kind in ("partial", "quarantine")]
    from modelfetch.model.units import format_size

    words = [
        f"{count} {one if count == 1 else many}"
        for count, (one, many) in zip(counts, _WORDS, strict=True)
        if count
    ]
    files = plural(sum(len(action.paths) for action in done.actions), "file")
    return f"note: removed {' and '.join(words)} ({files}): freed {format_size(done.freed)}"

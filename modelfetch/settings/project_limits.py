"""Limits on a project's file, which comes with a repository that another person wrote.

It may set which models there are, where they are fetched from and how, since digests verify every byte. It
may not weaken the durability of the cache, configure the server, or make runs wait longer than the user's own
settings allow. The column ``project`` of the table of settings has the rule of each setting. A value that
breaks its rule is ignored with a notice:
``project file /src/app/modelfetch.toml sets cache.fsync, which a project may not; it is ignored.``
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from modelfetch.settings.layers import Layer
from modelfetch.settings.table import BY_NAME
from modelfetch.settings.types import Setting, Value
from modelfetch.settings.values import shown


def confine(project: Layer, own: Mapping[str, Value]) -> list[str]:
    """Remove values that a project may not set from its layer.

    Args:
        project: The project's values; changed.
        own: The values without the project: defaults and the user's file.

    Returns:
        A notice for each removed value, with file and key.
    """
    refused = list(_refused(project, own))
    for name, _ in refused:
        del project.values[name], project.origins[name]
    return [notice for _, notice in refused]


def _refused(project: Layer, own: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    for name, value in project.values.items():
        if why := _why_not(BY_NAME[name], value, own[name]):
            yield name, f"{project.origins[name]} sets {name}{why}; it is ignored."


def _why_not(setting: Setting, value: Value, own: Value) -> str:
    """Return why a project may not set this value, as part of a sentence; empty if it may."""
    if setting.project == "never":
        return ", which a project may not"
    if _is_beyond(setting, value, own):
        return f" to {shown(value)}, beyond your own {shown(own)}"
    return ""


def _is_beyond(setting: Setting, value: Value, own: Value) -> bool:
    """Return whether a value waits longer, or uses more of the network, than the user's own value."""
    if setting.project == "at most":
        return _number(value) > _number(own)
    return setting.project == "at least" and _number(value) < _number(own)


def _number(value: Value) -> float:
    """Return the value as a number; no limit counts as infinite."""
    return value if isinstance(value, int | float) else math.inf

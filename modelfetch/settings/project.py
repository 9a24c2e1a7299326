"""What a project's file may not decide, since it comes with somebody else's repository.

It may say which models there are, where they come from and how they are fetched, since digests decide what is
right. It may not weaken what the cache promises, say what the server does, or make runs wait for longer than
their user would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from modelfetch.settings.layers import Layer
from modelfetch.settings.table import BY_NAME
from modelfetch.settings.types import Setting, Value
from modelfetch.settings.values import shown


def confine(project: Layer, own: Mapping[str, Value]) -> list[str]:
    """Take out of a project's layer what it may not decide.

    Args:
        project: Its values; changed.
        own: What holds without it, of defaults and the user's own file.

    Returns:
        A notice for each value that was taken out, naming file and key.
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
    """Say why a project may not give a setting this value; empty where it may."""
    if setting.project == "never":
        return ", which a project may not"
    if _is_beyond(setting, value, own):
        return f" to {shown(value)}, beyond your own {shown(own)}"
    return ""


def _is_beyond(setting: Setting, value: Value, own: Value) -> bool:
    """Whether a value asks for more patience, or more of the network, than the user's own."""
    if setting.project == "at most":
        return _number(value) > _number(own)
    return setting.project == "at least" and _number(value) < _number(own)


def _number(value: Value) -> float:
    """The value as a number; no limit is the largest."""
    return value if isinstance(value, int | float) else math.inf

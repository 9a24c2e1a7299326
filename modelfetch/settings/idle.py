"""Settings that nothing reads yet: whoever sets one is told, and not left to wonder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from modelfetch.settings.forms import Value
from modelfetch.settings.layers import Layer
from modelfetch.settings.table import BY_NAME, IDLE_KINDS

NO_EFFECT: Final = "no effect yet"


def notices(merged: Layer) -> Iterator[str]:
    """One line about all that was set in vain, each with its place."""
    told = [
        f"{part} ({merged.origins[name]})"
        for name, value in merged.values.items()
        if merged.origins[name] != "default" and (part := idle_part(name, value))
    ]
    if told:
        yield f"{NO_EFFECT}: {', '.join(told)}"


def idle_part(name: str, value: Value) -> str:
    """What of a setting has no effect yet: its name, or the kinds in it; empty if all has."""
    if name == "sources.order" and isinstance(value, tuple):
        kinds = [kind for kind in IDLE_KINDS if kind in value]
        return f"{', '.join(kinds)} in {name}" if kinds else ""
    return name if name in BY_NAME and BY_NAME[name].is_idle else ""

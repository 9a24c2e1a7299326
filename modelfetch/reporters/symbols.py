"""The few signs of the display, with a plain ASCII stand-in for terminals that cannot show them."""

from __future__ import annotations

from dataclasses import astuple
from typing import Final

from modelfetch.values import dataclass


@dataclass(frozen=True, slots=True)
class Symbols:
    """One set of signs; all but ``arrow`` and ``more`` are one cell wide."""

    done: str
    failed: str
    queued: str
    fetching: str
    verifying: str
    retrying: str
    fallback: str
    arrow: str
    dot: str
    ellipsis: str
    """For what was left out of a name."""
    more: str
    """For what was left out of a list."""
    bar: str
    half: str
    """The left half of ``bar``."""
    rest: str
    """What is missing of a bar; told from ``bar`` without colour, too."""
    spinner: str
    """The pictures of an animation, in turn."""


UNICODE: Final = Symbols(
    done="✓",
    failed="✗",
    queued="·",
    fetching="↓",
    verifying="≈",
    retrying="↻",
    fallback="↪",
    arrow="→",
    dot="·",
    ellipsis="…",
    more="…",
    bar="━",
    half="╸",
    rest="─",
    spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏",
)
ASCII: Final = Symbols(
    done="+",
    failed="x",
    queued=".",
    fetching=">",
    verifying="=",
    retrying="~",
    fallback="!",
    arrow="->",
    dot="-",
    ellipsis="~",
    more="...",
    bar="#",
    half="#",
    rest="-",
    spinner="|/-\\",
)


def symbols_for(encoding: str) -> Symbols:
    """Choose the signs that a terminal's encoding has."""
    try:
        "".join(astuple(UNICODE)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE

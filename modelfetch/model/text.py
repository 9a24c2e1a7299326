"""Words for people: text from elsewhere made safe to show, and guesses at what was meant."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

_BREAKS: Final = frozenset("\t\n\x85\u2028\u2029")
"""Shown as a space: tab, and what some terminal or log reader takes for the end of a line."""

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs"})
"""Unicode categories never shown: C0, C1 and DEL; bidi and zero-width format characters; surrogates."""

_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks without any shape (Unicode DerivedCoreProperties.txt: Default_Ignorable_Code_Point)."""

_UNUSUAL: Final = re.compile(r"[^ -~]")
"""What is to be looked at: everything but printable ASCII."""

_GUESSABLE: Final = 64
"""Longest word worth a guess, in characters; bounds the time spent on hostile input."""


def is_hidden(character: str) -> bool:
    """Whether a character has no shape of its own, or steers the terminal instead of showing something."""
    return unicodedata.category(character) in _HIDDEN or bool(_INVISIBLE.match(character))


def sanitise(text: str) -> str:
    """Make text from a server or a manifest safe for a terminal and a log, as a single line.

    Newlines and tabs become a space; controls, C1, bidi, zero-width characters and lone surrogates are left
    out, so no escape sequence survives.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNUSUAL.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    character = found[0]
    if character in _BREAKS:
        return " "
    return "" if is_hidden(character) else character


def quote(text: str, limit: int = 80) -> str:
    """Show text in quotation marks inside a message: sanitised, and cut after ``limit`` characters."""
    cut = text[: limit + 1]
    shown = sanitise(cut[:limit]) + ("…" if len(cut) > limit else "")
    return f"'{shown}'"


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Guess what a mistyped word should have been.

    Returns:
        A sentence to append to a message, ``" Did you mean 'x'?"``, or an empty string.
    """
    from difflib import get_close_matches

    if len(word) > _GUESSABLE:
        return ""
    spelled = {choice.casefold(): choice for choice in choices}
    close = get_close_matches(word.casefold(), spelled, n=1)
    return f" Did you mean {quote(spelled[close[0]])}?" if close else ""

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

_COMMAND: Final = re.compile(r"##(?=\w*\[)|^\s*:(?=:)")
"""What log readers of CI systems obey: ``##[...]`` and ``##vso[...]`` (Azure Pipelines, older GitHub Actions)
and ``##teamcity[...]`` anywhere in a line, ``::name::`` (GitHub Actions) at its start."""

_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")
"""``type/subtype``, both restricted names (RFC 6838, 4.2), here of at most 63 characters each."""

_GUESSABLE: Final = 64
"""Longest word worth a guess, in characters; bounds the time spent on hostile input."""


def is_hidden(character: str) -> bool:
    """Whether a character has no shape of its own, or steers the terminal instead of showing something."""
    return unicodedata.category(character) in _HIDDEN or bool(_INVISIBLE.match(character))


def sanitise(text: str) -> str:
    """Make text from a server or a manifest safe for a terminal and a log, as a single line.

    Newlines and tabs become a space; controls, C1, bidi, zero-width characters and lone surrogates are left
    out, so no escape sequence survives. Marks that a CI system would take for a command to it are broken up
    by a space.
    """
    plain = visible(text)
    return _COMMAND.sub(_broken, plain) if "##" in plain or "::" in plain else plain


def visible(text: str) -> str:
    """Leave only what can be seen of a text, on a single line."""
    return text if text.isascii() and text.isprintable() else _UNUSUAL.sub(_shown, text)


def _broken(found: re.Match[str]) -> str:
    return "# #" if found[0] == "##" else f"{found[0]} "


def inert(line: str) -> str:
    """Write a line of JSON so that whatever its strings hold, no terminal and no CI system obeys it.

    The one control character that ``json.dumps`` leaves as it is, and the marks of commands, become escapes:
    who reads the line has what was in it.
    """
    return line.replace("\x7f", "\\u007f").replace("##", "#\\u0023")


def media_type(text: str) -> str:
    """The media type in a Content-Type, in lower case; empty where it does not look like one."""
    found = text.partition(";")[0].strip().lower()
    return found if _MEDIA_TYPE.fullmatch(found) else ""


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

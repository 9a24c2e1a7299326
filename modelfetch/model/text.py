"""Text for messages: making untrusted text safe to show, and suggestions for misspelled words.

Text of servers and manifests is untrusted. Printed as it is, it could send escape sequences to the terminal,
hide characters, forge lines of a log, or run commands of a CI system, which obeys lines such as
``::set-env name=PATH::/tmp``. Pure functions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

_BREAKS: Final = frozenset("\t\n\x85\u2028\u2029")
"""Replaced by a space: tab, and every character that some terminal or log reader treats as a line break."""

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs"})
"""Unicode categories that are removed: C0, C1 and DEL; bidi and zero-width format characters; surrogates."""

_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
"""Letters, marks and unassigned code points without a glyph (Unicode DerivedCoreProperties.txt:
Default_Ignorable_Code_Point)."""

_UNUSUAL: Final = re.compile(r"[^ -~]")
"""Characters that need a check: everything but printable ASCII."""

_COMMAND: Final = r"##(?=\w*\[)|^\s*:(?=:)"
"""Commands that CI systems find in logs: ``##[...]`` and ``##vso[...]`` (Azure Pipelines, older GitHub
Actions) and ``##teamcity[...]`` anywhere in a line, ``::name::`` (GitHub Actions) at its start."""

_MEDIA_TYPE: Final = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}"
"""``type/subtype``, two restricted names (RFC 6838 section 4.2) of at most 63 characters each. This
pattern and the one before it are compiled on first use, because every run imports this module."""

_SHELL_SAFE: Final = r"[A-Za-z0-9_@%+=:,./-]+"
"""Words without a meaning for a shell (the same characters as in ``shlex.quote``)."""

_GUESSABLE: Final = 64
"""Longest word for which a suggestion is made, in characters; bounds the time for hostile input."""


def is_hidden(character: str) -> bool:
    """Return whether a character is invisible or controls the terminal."""
    return unicodedata.category(character) in _HIDDEN or bool(_INVISIBLE.match(character))


def sanitize(text: str) -> str:
    """Make untrusted text safe for a terminal and a log, as a single line.

    Line breaks and tabs become spaces. Control, bidi and zero-width characters and lone surrogates are
    removed, so that no escape sequence remains. A space is inserted into what a CI system would execute as a
    command.
    """
    plain = visible(text)
    return re.sub(_COMMAND, _break_command, plain) if "##" in plain or "::" in plain else plain


def visible(text: str) -> str:
    """Return the visible characters of a text, on a single line."""
    return text if text.isascii() and text.isprintable() else _UNUSUAL.sub(_replacement, text)


def _break_command(found: re.Match[str]) -> str:
    return "# #" if found[0] == "##" else f"{found[0]} "


def inert(line: str) -> str:
    """Make a line of JSON safe for a terminal and a CI system, without changing its value.

    DEL, the only control character that ``json.dumps`` does not escape, and ``##``, which starts a command of
    a CI system, are replaced by JSON escapes.
    """
    return line.replace("\x7f", "\\u007f").replace("##", "#\\u0023")


def media_type(text: str) -> str:
    """Return the media type of a Content-Type header in lowercase, or an empty string if it is malformed."""
    found = text.partition(";")[0].strip().lower()
    return found if re.fullmatch(_MEDIA_TYPE, found) else ""


def _replacement(found: re.Match[str]) -> str:
    character = found[0]
    if character in _BREAKS:
        return " "
    return "" if is_hidden(character) else character


def quote(text: str, limit: int = 80) -> str:
    """Quote text in a message: sanitized, and cut after ``limit`` characters."""
    cut = text[: limit + 1]
    shown = sanitize(cut[:limit]) + ("…" if len(cut) > limit else "")
    return f"'{shown}'"


def shell_word(text: str) -> str:
    """Write text as one word of a command for a POSIX shell, sanitized, and quoted if it has to be.

    For commands in hints, which people copy: names of files and references come from hubs and projects, and
    with a quotation mark inside of :func:`quote` the rest would be a command of its own.
    """
    plain = sanitize(text)
    return plain if re.fullmatch(_SHELL_SAFE, plain) else shell_quoted(plain)


def shell_quoted(text: str) -> str:
    """Write text as :func:`shell_word` does, always in quotes, as people write patterns."""
    return "'" + sanitize(text).replace("'", "'\"'\"'") + "'"


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Suggest the choice that is closest to a misspelled word.

    Returns:
        A sentence to append to a message, ``" Did you mean 'x'?"``, or an empty string.
    """
    from difflib import get_close_matches  # only needed for an error message

    if len(word) > _GUESSABLE:
        return ""
    spelled = {choice.casefold(): choice for choice in choices}
    close = get_close_matches(word.casefold(), spelled, n=1)
    return f" Did you mean {quote(spelled[close[0]])}?" if close else ""

"""Reading TOML documents of the plainest form, which is that of most manifests and pins.

Loading ``tomllib`` takes as long as reading ten manifests, and it takes four times as long for each. So
documents are read here first. A document with anything else than these lines is left to ``tomllib``, which
also reports what is wrong with it::

    # comment
    [table]
    [[tables]]
    key    = "text without quotes and backslashes"
    "key"  = 42
    flag   = true
    texts  = ["text", "text"]
    texts  = [
      "text",
    ]

Every document that is read here is valid TOML, and has the same values there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

_FLAGS: Final = {"true": True, "false": False}
_DIGITS: Final = 18
"""Most digits of an integer: such a number has 64 bits, as TOML demands."""


def parse_plain(text: str) -> dict[str, Any] | None:
    """Parse a document; None if it has another form."""
    # TOML forbids control characters. Of the other characters some that it allows are refused here, too.
    if not text.replace("\n", "").isprintable():
        return None
    document: dict[str, Any] = {}
    table, arrays = document, set[str]()
    lines = iter(text.split("\n"))
    for line in lines:
        if not line or line[0] == "#":
            continue
        if line[0] == "[":
            opened = _open(document, arrays, line)
            if opened is None:
                return None
            table = opened
            continue
        name, _, rest = line.partition("=")
        key = _key(name.rstrip(" "))
        value = _value(rest.lstrip(" "), lines)
        if key is None or value is None or key in table:
            return None
        table[key] = value
    return document


def _open(document: dict[str, Any], arrays: set[str], line: str) -> dict[str, Any] | None:
    """Add the table of a header; None if it is no plain one, or the name has another value.

    Args:
        document: The document so far.
        arrays: Names of the arrays of tables in it.
        line: ``[name]`` or ``[[name]]``.
    """
    table: dict[str, Any] = {}
    if line[:2] == "[[" and line[-2:] == "]]" and _is_bare(name := line[2:-2]):
        if name not in arrays and name in document:
            return None
        arrays.add(name)
        document.setdefault(name, []).append(table)
        return table
    if line[-1] == "]" and _is_bare(name := line[1:-1]) and name not in document:
        document[name] = table
        return table
    return None


def _key(text: str) -> str | None:
    return text if _is_bare(text) else _text(text)


def _is_bare(text: str) -> bool:
    """Whether a key needs no quotes: only A-Z, a-z, 0-9, ``_`` and ``-``."""
    return text.isascii() and text.replace("_", "0").replace("-", "0").isalnum()


def _text(quoted: str) -> str | None:
    """Return what is between the quotes; None if there are none, or other ones or a backslash between."""
    text = quoted[1:-1]
    return text if quoted == f'"{text}"' and '"' not in text and "\\" not in text else None


def _value(text: str, lines: Iterator[str]) -> object:
    """Return a value, which may go on in the following lines; None if it is no plain one."""
    if text[:1] == '"':
        return _text(text)
    if text[:1] == "[":
        return _texts(lines) if text == "[" else _texts_in(text)
    if text.isascii() and text.isdecimal() and len(text) <= _DIGITS and (text[0] != "0" or text == "0"):
        return int(text)
    return _FLAGS.get(text)


def _texts(lines: Iterator[str]) -> list[str] | None:
    texts: list[str] = []
    for line in lines:
        if line == "]":
            return texts
        text = _text(line[:-1].lstrip(" ")) if line[-1:] == "," else None
        if text is None:
            return None
        texts.append(text)
    return None


def _texts_in(array: str) -> list[str] | None:
    """Return the texts of an array in one line."""
    texts = array[2:-2].split('", "')
    is_plain = array[:2] == '["' and array[-2:] == '"]' and len(array) > 3 and "\\" not in array
    return texts if is_plain and not any('"' in text for text in texts) else None

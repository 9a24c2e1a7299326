"""Secrets taken out of text that nobody composed for people: what an unexpected exception says. Pure.

Messages of ours never hold any; the text of a bug may hold an address with its query, a header, a path below
the home directory, or the value of a variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final

from modelfetch.settings.urls import redact

MASK: Final = "***"

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_HEADER: Final = re.compile(r"\b(Bearer|Basic|Digest|Negotiate)\s+[\w.~+/=:-]+", re.IGNORECASE | re.ASCII)
_NAMED: Final = re.compile(
    r"(\b[\w-]*(?:token|passw(?:or)?d|secret|api[_-]?key|signature|credential)[\w-]*?s?['\"]?\s*[=:]\s*)"
    r"(?!\s)(?:'[^']*'|\"[^\"]*\"|[^\s,;&)}\]]+)",
    re.IGNORECASE | re.ASCII,
)
"""``token=...``, ``"password": "..."``: a name that says so, and what it is given."""
_SHAPES: Final = re.compile(r"\b(hf|ghp|gho|github_pat|sk|xox[abp]|AKIA)([_-]?)[A-Za-z0-9_-]{16,}")
"""Tokens that are known by how they begin."""
_SECRET_NAMES: Final = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|CREDENTIAL", re.IGNORECASE)
_LEAST: Final = 8
"""Characters of a variable's value that is looked for in text; a shorter one would be found in words."""


def redact_text(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Take out of text what may be secret: credentials, parts of addresses after ``?``, the home directory.

    Args:
        text: Any number of lines.
        environ: The environment, instead of that of the process: its secrets are known by their values, too.
    """
    variables = os.environ if environ is None else environ
    for secret in _secrets(variables):
        text = text.replace(secret, MASK)
    text = _URL.sub(lambda found: redact(found[0]), text)
    text = _HEADER.sub(rf"\1 {MASK}", text)
    text = _NAMED.sub(rf"\1{MASK}", text)
    text = _SHAPES.sub(rf"\1\2{MASK}", text)
    return _without_home(text, variables)


def _secrets(variables: Mapping[str, str]) -> Iterable[str]:
    found = [value for name, value in variables.items() if _SECRET_NAMES.search(name)]
    return sorted((value for value in found if len(value) >= _LEAST), key=len, reverse=True)


def _without_home(text: str, variables: Mapping[str, str]) -> str:
    home = (variables.get("HOME") or variables.get("USERPROFILE") or "").rstrip("/\\")
    return re.sub(rf"{re.escape(home)}(?=[/\\\s'\":,)]|$)", "~", text) if home else text

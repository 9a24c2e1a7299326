"""Redaction: masking secrets in any text, such as that of an unexpected exception.

It may hold an address with a query, a header, a path below the home directory, or the value of a variable.
:func:`redact_text` masks all of these::

    >>> redact_text("GET https://user:pw@host/x?token=1", {})
    'GET https://***@host/x?***'
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final

from modelfetch.settings.redaction import redact

MASK: Final = "***"
"""Replaces a secret."""

# Repetitions before a fixed part are bounded: text of a server may be long, and an open repetition would take
# a time that grows with the square of its length.
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}://[^\s'\"<>]+")
_HEADER: Final = re.compile(r"\b(Bearer|Basic|Digest|Negotiate)\s+[\w.~+/=:-]+", re.IGNORECASE | re.ASCII)
_NAMED: Final = re.compile(
    r"((?:token|passw(?:or)?d|secret|api[_-]?key|signature|credential)[\w-]{0,80}?['\"]?\s*[=:]\s*)"
    r"(?!\s)(?:'[^']*'|\"[^\"]*\"|[^\s,;&)}\]]+)",
    re.IGNORECASE | re.ASCII,
)
"""``token=...`` or ``"password": "..."``: the name of a secret, then its value."""
_SHAPES: Final = re.compile(r"\b(hf|ghp|gho|github_pat|sk|xox[abp]|AKIA)([_-]?)[A-Za-z0-9_-]{16,}")
"""Tokens with a known prefix: Hugging Face, GitHub, OpenAI, Slack, AWS."""
_SECRET_NAMES: Final = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|CREDENTIAL|JWT", re.IGNORECASE)
_SHORTEST_SECRET: Final = 8
"""Least length of a variable's value to mask in text; a shorter value could be part of a word."""


def redact_text(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Mask secrets in text: credentials, queries of addresses, and the path of the home directory.

    Args:
        text: Any number of lines.
        environ: The environment, by default that of the process; values of variables such as ``HF_TOKEN``
            are masked wherever they occur.
    """
    variables = os.environ if environ is None else environ
    for secret in secret_variables(variables):
        text = text.replace(secret, MASK)
    text = _URL.sub(lambda found: redact(found[0]), text)
    text = _HEADER.sub(rf"\1 {MASK}", text)
    text = _NAMED.sub(rf"\1{MASK}", text)
    text = _SHAPES.sub(rf"\1\2{MASK}", text)
    return _without_home(text, variables)


def secret_variables(variables: Mapping[str, str]) -> Iterable[str]:
    """The values of variables whose names say that they are secret, longest first; no short ones."""
    found = [value for name, value in variables.items() if _SECRET_NAMES.search(name)]
    # Longest first: a secret may be part of a longer one.
    return sorted((value for value in found if len(value) >= _SHORTEST_SECRET), key=len, reverse=True)


def _without_home(text: str, variables: Mapping[str, str]) -> str:
    home = (variables.get("HOME") or variables.get("USERPROFILE") or "").rstrip("/\\")
    return re.sub(rf"{re.escape(home)}(?=[/\\\s'\":,)]|$)", "~", text) if home else text

"""Secrets taken out of text that nobody composed for people: what an unexpected exception says. Pure.

Messages of ours never hold any; the text of a bug may hold an address with its query, a header, a path below
the home directory, or the value of a variable.

Addresses in settings: what is accepted, and how they are shown without their secrets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from modelfetch.model.addresses import why_bad_template, why_bad_url
from modelfetch.model.text import quote

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


_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_USERINFO: Final = re.compile(r"(?<=://)[\w.~!$&'()*+,;=:%-]+@", re.ASCII)
"""A user name, and a password after a colon (RFC 3986 section 3.2.1)."""


def redact(url: str) -> str:
    """Show an address without userinfo, query and fragment: each of them may be a secret.

    An address that cannot be taken apart loses everything up to its last ``@``, since a password may hold
    any character.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return _redact_blindly(url)
    if not parts.netloc:
        return _redact_blindly(url)
    netloc = f"***@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    tail = ("?***" if parts.query else "") + ("#***" if parts.fragment else "")
    return f"{parts.scheme}://{netloc}{parts.path}{tail}"


def _redact_blindly(text: str) -> str:
    scheme = _SCHEME.match(text)
    start = scheme[0] if scheme else ""
    userinfo, at, rest = text[len(start) :].rpartition("@")
    kept = re.split(r"([?#])", rest, maxsplit=1)
    return f"{start}{'***@' if userinfo or at else ''}{kept[0]}{f'{kept[1]}***' if len(kept) > 1 else ''}"


def endpoint(text: str) -> str:
    """Check the base address of a service; a trailing slash is dropped.

    Raises:
        ValueError: The text is not an http(s) address, or carries credentials, a query or a fragment.
    """
    if clause := why_bad_url(text):
        raise ValueError(f"{_shown(text)} {clause}")
    if "?" in text:
        raise ValueError(f"{_shown(text)} has a query; a base address is continued with a path")
    return text.rstrip("/")


def gateway(text: str) -> str:
    """Check the base address of an IPFS path gateway; a trailing ``/ipfs`` is dropped, it is added later.

    Raises:
        ValueError: As for :func:`endpoint`.
    """
    return endpoint(text).removesuffix("/ipfs").rstrip("/")


def template(text: str) -> str:
    """Check a mirror template such as ``https://models.example.org/{name}/{version}/{path}``.

    Unlike a manifest's mirrors, which anyone may read, it may hold a user name and password: they belong to
    that mirror's origin alone.

    Raises:
        ValueError: The text is not such a template.
    """
    if clause := why_bad_template(_USERINFO.sub("", text, count=1)):
        raise ValueError(f"{_shown(text)} {clause}")
    return text


def _shown(text: str) -> str:
    return quote(redact(text))

"""Redaction: masking secrets in addresses and in text, and validating the addresses of settings.

A mirror may have credentials in its address, so addresses are only shown through :func:`redact`, for example
as ``https://***@models.example.org/{path}?***``. The text of an unexpected exception may hold more: an
address with a query, a header, a path below the home directory, or the value of a variable.
:func:`redact_text` masks all of these. :func:`endpoint`, :func:`gateway` and :func:`template` validate the
addresses of settings; their messages show the address redacted. Pure functions.
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
_SECRET_NAMES: Final = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|CREDENTIAL", re.IGNORECASE)
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


_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_USERINFO: Final = re.compile(r"(?<=://)[\w.~!$&'()*+,;=:%-]+@", re.ASCII)
"""User name, and password after a colon (RFC 3986 section 3.2.1)."""


def redact(url: str) -> str:
    """Mask user name, password, query and fragment of an address: each may be a secret.

    If the address cannot be parsed, everything up to its last ``@`` is masked, since a password may hold any
    character.
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
    """Validate the base address of a service and remove a trailing slash.

    Raises:
        ValueError: The text is not an http(s) address, or has credentials, a query or a fragment.
    """
    if clause := why_bad_url(text):
        raise ValueError(f"{_shown(text)} {clause}")
    if "?" in text:
        raise ValueError(f"{_shown(text)} has a query; a path is appended to a base address")
    return text.rstrip("/")


def gateway(text: str) -> str:
    """Validate the base address of an IPFS path gateway and remove a trailing ``/ipfs``, added later.

    Raises:
        ValueError: As for :func:`endpoint`.
    """
    return endpoint(text).removesuffix("/ipfs").rstrip("/")


def template(text: str) -> str:
    """Validate a mirror template such as ``https://models.example.org/{name}/{version}/{path}``.

    Unlike a mirror in a manifest, which anyone may read, it may have a user name and password. They are sent
    to the origin of that mirror only.

    Raises:
        ValueError: The text is not a mirror template.
    """
    if clause := why_bad_template(_USERINFO.sub("", text, count=1)):
        raise ValueError(f"{_shown(text)} {clause}")
    return text


def _shown(text: str) -> str:
    return quote(redact(text))

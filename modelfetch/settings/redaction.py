"""Redaction: masking secrets in addresses, and validating the addresses of settings.

A mirror may have credentials in its address, so addresses are only shown through :func:`redact`, for example
as ``https://***@models.example.org/{path}?***``. For any other text see
:mod:`modelfetch.settings.text_redaction`. :func:`endpoint`, :func:`gateway` and :func:`template` validate the
addresses of settings; their messages show the address redacted. Pure functions.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from modelfetch.model.addresses import why_bad_template, why_bad_url
from modelfetch.model.text import quote

# Compiled at their first use: every run loads this module, and few have an address with a secret.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_USERINFO = r"(?a)(?<=://)[\w.~!$&'()*+,;=:%-]+@"
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
    scheme = re.match(_SCHEME, text)
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
    if clause := why_bad_template(re.sub(_USERINFO, "", text, count=1)):
        raise ValueError(f"{_shown(text)} {clause}")
    return text


def _shown(text: str) -> str:
    return quote(redact(text))

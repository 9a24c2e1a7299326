"""Addresses in settings: what is accepted, and how they are shown without their secrets."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from modelfetch.model.text import quote
from modelfetch.model.urls import why_bad_template, why_bad_url

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

"""Redaction: masking secrets in addresses, and validating the addresses of settings.

A mirror may have credentials in its address, so addresses are only shown through :func:`redact`, for example
as ``https://***@models.example.org/{path}?***``. For any other text see
:mod:`modelfetch.settings.text_redaction`. :func:`endpoint`, :func:`gateway`, :func:`template`, :func:`peer`,
:func:`tracker` and :func:`machine` validate the addresses of settings; their messages show the address
redacted. Pure functions.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from modelfetch.model.addresses import (
    is_object_url,
    why_bad_endpoint,
    why_bad_template,
    why_bad_tracker,
    why_bad_url,
)
from modelfetch.model.text import quote

# Compiled at their first use: every run loads this module, and few have an address with a secret.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
PEER_PORT = 8765
"""The port of ``modelfetch serve`` where none is given."""
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
    # An object store takes no user and password: its credentials are those of its own tools.
    bare = text if is_object_url(text) else re.sub(_USERINFO, "", text, count=1)
    if clause := why_bad_template(bare):
        raise ValueError(f"{_shown(text)} {clause}")
    return text


def peer(text: str) -> str:
    """Validate the address of a peer, and complete it: ``nas`` becomes ``http://nas:8765``.

    It may have a user name and password, for a reverse proxy before the peer. They are sent to the origin of
    that peer only.

    Raises:
        ValueError: The text is not an address, or has a query or a fragment.
    """
    url = text if "://" in text else f"http://{text}"
    if "#token=" in url:  # the line that the server prints for its owner
        raise ValueError(
            f"{_shown(text)} has a token, which peers do not need: leave out everything from # on"
        )
    clause = why_bad_url(re.sub(_USERINFO, "", url, count=1))
    if clause == "is not a URL":
        clause = "must be HOST, HOST:PORT or http(s)://HOST:PORT, such as gpu-box:8765 or [fd00::1]:8765"
    if clause or "?" in url:
        raise ValueError(f"{_shown(text)} {clause or 'has a query; a path is appended to the address'}")
    parts = urlsplit(url)
    if parts.port is None and parts.scheme == "http":
        parts = parts._replace(netloc=f"{parts.netloc.removesuffix(':')}:{PEER_PORT}")
    return parts.geturl().rstrip("/")


def tracker(text: str) -> str:
    """Validate the announce URL of a tracker: ``http``, ``https`` or ``udp``.

    Raises:
        ValueError: The text is no such address.
    """
    if clause := why_bad_tracker(text):
        raise ValueError(f"{_shown(text)} {clause}")
    return text


def machine(text: str) -> str:
    """Validate the address of a machine: ``HOST:PORT``.

    Raises:
        ValueError: The text is no such address.
    """
    if clause := why_bad_endpoint(text):
        raise ValueError(f"{_shown(text)} {clause}")
    return text


def _shown(text: str) -> str:
    return quote(redact(text))

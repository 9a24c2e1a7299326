"""The URL of a server and its token, from options and environment. Pure.

``modelfetch serve`` prints both in one line, which ``--server`` accepts::

    http://127.0.0.1:8765/#token=Q3c9...

A token gives full control of a server, so the token of the environment is sent to no server but its own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.model.addresses import why_bad_url
from modelfetch.model.text import quote
from modelfetch.settings.redaction import redact

DEFAULT: Final = "http://127.0.0.1:8765"
"""Where ``modelfetch serve`` listens by default."""

HINT: Final = "Give the whole line that `modelfetch serve` prints: --server 'http://HOST:PORT/#token=...'"


class NoTokenError(UsageError):
    """No token was given for a server.

    Attributes:
        base: URL of the server.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        hint = f"{HINT}, or set MODELFETCH_SERVE_TOKEN."
        super().__init__(f"the server at {base} requires a token, and none was given", hint=hint)


_TOKEN: Final = re.compile(r"[!-~]+")
"""Characters that a header can contain unambiguously (RFC 9110, 5.5)."""


@dataclass(frozen=True, slots=True)
class Address:
    """URL and token of a server."""

    base: str
    """Scheme, host, port and, behind some proxies, a path; without a trailing slash. Safe to print."""
    token: str = field(repr=False)  # kept out of tracebacks and logs

    @property
    def is_exposed(self) -> bool:
        """Whether the token is sent over a network without encryption."""
        return urlsplit(self.base).scheme == "http" and not _is_loopback(self.base)


def find_address(server: str | None, token: str | None, environ: Mapping[str, str]) -> Address:
    """Find the server to use.

    Args:
        server: Value of ``--server``: a URL, with or without ``#token=...``.
        token: Value of ``--token``; takes precedence over the one in the URL.
        environ: ``MODELFETCH_SERVER`` is used without ``--server``. ``MODELFETCH_SERVE_TOKEN`` is the token
            of that server or, if it is not set, of servers on this machine; it is sent to no other server.

    Raises:
        NoTokenError: No token was given.
        UsageError: The URL is not that of a server, or the token cannot be sent in a header.
    """
    given = server or environ.get("MODELFETCH_SERVER", "").strip() or DEFAULT
    url, _, fragment = given.partition("#")
    base = _base(url)
    environ_token = environ.get("MODELFETCH_SERVE_TOKEN", "").strip()
    found = token or _token_in(fragment)
    if not found and environ_token:
        _require_owner(base, environ.get("MODELFETCH_SERVER", "").strip())
        found = environ_token
    if not found:
        raise NoTokenError(base)
    if not _TOKEN.fullmatch(found):
        raise UsageError("the token has characters that cannot be sent in a header", hint=HINT)
    return Address(base, found)


def _require_owner(base: str, named: str) -> None:
    """Require that the token of the environment belongs to a server.

    Args:
        base: URL of the server.
        named: Value of ``MODELFETCH_SERVER``.

    Raises:
        UsageError: It belongs to another server, which would otherwise leak its token to this one.
    """
    owner = named.partition("#")[0].rstrip("/")
    if base == owner or (not owner and _is_loopback(base)):
        return
    whose = quote(redact(owner)) if owner else "servers on this machine"
    raise UsageError(
        f"MODELFETCH_SERVE_TOKEN is for {whose}, not for {quote(base)}",
        hint=f"{HINT}, give --token, or name this server in MODELFETCH_SERVER.",
    )


def _is_loopback(base: str) -> bool:
    """Whether a URL always refers to this machine (RFC 6761, 6.3; RFC 1122, 3.2.1.3)."""
    host = urlsplit(base).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base(url: str) -> str:
    clause = why_bad_url(url) or _why_not_base(url)
    if clause:
        # Without a scheme it may be the token alone, or the part of the line that has it.
        named = f"the server {quote(redact(url))}" if "://" in url else "the address of the server"
        raise UsageError(f"{named} {clause}", hint=HINT)
    return url.rstrip("/")


def _why_not_base(url: str) -> str:
    parts = urlsplit(url)
    return "has a query" if parts.query or "?" in url else ""


def _token_in(fragment: str) -> str:
    """Return the token in ``token=...``.

    Only percent-encoding is decoded. In form encoding ``+`` would be a space, but a token may contain it.
    """
    values = (part.removeprefix("token=") for part in fragment.split("&") if part.startswith("token="))
    return unquote(next(values, ""))

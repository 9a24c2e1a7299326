"""Which server is meant, and the token that it wants. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Final
from urllib.parse import unquote, urlsplit

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.addresses import why_bad_url
from modelfetch.model.text import quote
from modelfetch.settings.redaction import redact

DEFAULT: Final = "http://127.0.0.1:8765"
"""Where ``modelfetch serve`` listens unless it is told otherwise."""

HINT: Final = "Give the whole line that `modelfetch serve` prints: --server 'http://HOST:PORT/#token=...'"


class NoTokenError(UsageError):
    """No token is given for a server.

    Attributes:
        base: Its address.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        hint = f"{HINT}, or set MODELFETCH_SERVE_TOKEN."
        super().__init__(f"the server at {base} wants a token, and there is none", hint=hint)


_TOKEN: Final = re.compile(r"[!-~]+")
"""What can be sent in a header without changing its meaning (RFC 9110, 5.5)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and what opens it."""

    base: str
    """Scheme, host and port, and the path where a proxy has it below one, without a slash at the end; may be
    shown."""
    token: str = field(repr=False)

    @property
    def is_exposed(self) -> bool:
        """Whether the token crosses a network in the clear, where anybody on the way can read it."""
        return urlsplit(self.base).scheme == "http" and not _is_loopback(self.base)


def find_address(server: str | None, token: str | None, environ: Mapping[str, str]) -> Address:
    """Settle which server is meant.

    Args:
        server: What ``--server`` said: an address, with or without ``#token=...``.
        token: What ``--token`` said; it wins over the one in the address.
        environ: ``MODELFETCH_SERVER`` says what ``--server`` leaves open. ``MODELFETCH_SERVE_TOKEN`` is the
            token of that server; where none is named so, of servers on this machine. No other one gets it.

    Raises:
        NoTokenError: There is no token.
        UsageError: The address is none of a server, or the token cannot be sent.
    """
    given = server or environ.get("MODELFETCH_SERVER", "").strip() or DEFAULT
    url, _, fragment = given.partition("#")
    base = _base(url)
    kept = environ.get("MODELFETCH_SERVE_TOKEN", "").strip()
    found = token or _token_in(fragment)
    if not found and kept:
        _require_owner(base, environ.get("MODELFETCH_SERVER", "").strip())
        found = kept
    if not found:
        raise NoTokenError(base)
    if not _TOKEN.fullmatch(found):
        raise UsageError("the token has characters that cannot be sent", hint=HINT)
    return Address(base, found)


def _require_owner(base: str, named: str) -> None:
    """Make sure that the token of the environment belongs to a server.

    Raises:
        UsageError: It belongs to another one.
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
    """Whether a server can only be on this machine (RFC 6761, 6.3; RFC 1122, 3.2.1.3)."""
    host = urlsplit(base).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base(url: str) -> str:
    clause = why_bad_url(url) or _why_no_base(url)
    if clause:
        raise UsageError(f"the server {quote(redact(url))} {clause}", hint=HINT)
    return url.rstrip("/")


def _why_no_base(url: str) -> str:
    parts = urlsplit(url)
    return "has a query" if parts.query or "?" in url else ""


def _token_in(fragment: str) -> str:
    """The token in ``token=...``, where every character but ``%`` stands for itself."""
    values = (part.removeprefix("token=") for part in fragment.split("&") if part.startswith("token="))
    return unquote(next(values, ""))

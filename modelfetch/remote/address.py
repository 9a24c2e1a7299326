"""Which server is meant, and the token that it wants. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Final
from urllib.parse import unquote, urlsplit

from modelfetch.errors import UsageError
from modelfetch.model.text import quote
from modelfetch.model.urls import why_bad_url
from modelfetch.settings.urls import redact
from modelfetch.values import dataclass

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
    """Scheme, host and port, without a slash at the end; may be shown."""
    token: str = field(repr=False)


def find_address(server: str | None, token: str | None, environ: Mapping[str, str]) -> Address:
    """Settle which server is meant.

    Args:
        server: What ``--server`` said: an address, with or without ``#token=...``.
        token: What ``--token`` said; it wins over the one in the address.
        environ: ``MODELFETCH_SERVER`` and ``MODELFETCH_SERVE_TOKEN`` say what the options leave open.

    Raises:
        NoTokenError: There is no token.
        UsageError: The address is none of a server, or the token cannot be sent.
    """
    given = server or environ.get("MODELFETCH_SERVER", "").strip() or DEFAULT
    url, _, fragment = given.partition("#")
    base = _base(url)
    found = token or _token_in(fragment) or environ.get("MODELFETCH_SERVE_TOKEN", "").strip()
    if not found:
        raise NoTokenError(base)
    if not _TOKEN.fullmatch(found):
        raise UsageError("the token has characters that cannot be sent", hint=HINT)
    return Address(base, found)


def _base(url: str) -> str:
    clause = why_bad_url(url) or _why_no_base(url)
    if clause:
        raise UsageError(f"the server {quote(redact(url))} {clause}", hint=HINT)
    return url.rstrip("/")


def _why_no_base(url: str) -> str:
    parts = urlsplit(url)
    return "has more to it than host and port" if parts.path not in ("", "/") or "?" in url else ""


def _token_in(fragment: str) -> str:
    """The token in ``token=...``, where every character but ``%`` stands for itself."""
    values = (part.removeprefix("token=") for part in fragment.split("&") if part.startswith("token="))
    return unquote(next(values, ""))

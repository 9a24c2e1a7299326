"""Credentials for servers, each bound to one origin.

A credential is sent to its exact origin (scheme, host, port) only. So it is dropped when a redirect leads to
another host, as from a hub to its CDN, and when a redirect changes the port or drops TLS::

    Credential.bearer("https://huggingface.co", token).header_for("https://cdn.example/x")   # empty
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit, urlunsplit

from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.net.urls import origin


@dataclass(frozen=True, slots=True)
class Credential:
    """An ``Authorization`` value for one exact origin; it is sent to no other."""

    origin: tuple[str, str, int]
    value: str = field(repr=False)  # secret: no log or traceback may show it

    @classmethod
    def bearer(cls, url: str, token: str) -> Credential:
        """Make a bearer token (RFC 6750) for the origin of ``url``."""
        return cls(origin(url), f"Bearer {token}")

    @classmethod
    def basic(cls, url: str, user: str, password: str) -> Credential:
        """Make a user and password (RFC 7617) for the origin of ``url``."""
        return cls(origin(url), f"Basic {_encoded(f'{user}:{password}')}")

    def header_for(self, url: str) -> dict[str, str]:
        """The header field for a request to ``url``; empty unless it has exactly this origin."""
        return {"Authorization": self.value} if origin(url) == self.origin else {}


def split_credential(url: str) -> tuple[str, Credential | None]:
    """Split ``https://user:password@host/`` into the bare URL and its credential (RFC 7617)."""
    if "@" not in url:
        return url, None
    parts = urlsplit(url)
    userinfo, at, netloc = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=netloc))
    if not at:
        return bare, None
    # Without a password the pair still needs its colon (RFC 7617, section 2).
    pair = userinfo if ":" in userinfo else f"{userinfo}:"
    encoded = _encoded(unquote(pair))
    return bare, Credential(origin(bare), f"Basic {encoded}")


def _encoded(pair: str) -> str:
    import base64  # few addresses have credentials

    return base64.b64encode(pair.encode()).decode()

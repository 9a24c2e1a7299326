"""Where the server listens, and by which names it may be called. Pure."""

from __future__ import annotations

import ipaddress
import platform
from typing import Final
from urllib.parse import urlsplit

from modelfetch.lazy_dataclass import dataclass

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
"""The names of this machine for itself; no page of another origin can make a browser use them for its own."""

_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
"""The addresses that stand for all of this machine, each with one that can be called."""


_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server.

    A page whose name is made to point here (DNS rebinding) still sends its own name as ``Host``; so what is
    not one of ours is refused. An address in figures cannot be made to point anywhere.
    """

    host: str
    """What it was told to listen on: an IP address or a name."""
    bound: str
    """The IP address that is."""
    port: int
    tls: bool = False
    public: str = ""
    """By which address a reverse proxy has it, without a slash at the end; empty where none does."""

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.tls else "http"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        address = _address(self.bound)
        return address is not None and address.is_loopback

    @property
    def url(self) -> str:
        """The address for a person on this machine, without a slash at the end."""
        host = _WILDCARDS.get(self.bound, self.host)
        return f"{self.scheme}://{_bracketed(host)}:{self.port}"

    @property
    def shown(self) -> str:
        """The address for a person anywhere, without a slash at the end."""
        return self.public or self.url

    def allows(self, host: str) -> bool:
        """Whether a ``Host`` header names this server: exactly, port included (RFC 9110, 7.2)."""
        scheme = urlsplit(self.public).scheme
        return self._is_public(f"{scheme}://{host}") or self._is_own(host)

    def _is_own(self, host: str) -> bool:
        """Whether a name, with its port, is the server's without a proxy."""
        name = self._without_port(host.lower())
        if name is None:
            return False
        if self.bound in _WILDCARDS and (name == platform.node().lower() or _is_address(name)):
            return True
        return name in (*LOOPBACK, _bracketed(self.host.lower()), _bracketed(self.bound))

    def allows_origin(self, origin: str) -> bool:
        """Whether an ``Origin`` header is of a page of this server (RFC 6454, 7)."""
        scheme, _, host = origin.lower().partition("://")
        return self._is_public(origin) or (scheme == self.scheme and self._is_own(host))

    def _is_public(self, origin: str) -> bool:
        return bool(self.public) and _origin(origin) == _origin(self.public)

    def _without_port(self, host: str) -> str | None:
        """The name in a header that has the right port; the usual one may be left out."""
        name, separator, port = host.rpartition(":")
        if separator and port == str(self.port):
            return name
        usual = 443 if self.tls else 80
        return host if self.port == usual and (not separator or host.endswith("]")) else None


def _origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an address; None where it has more to it, or less."""
    try:
        parts = urlsplit(url.lower())
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return None if "@" in parts.netloc else (parts.scheme, parts.hostname or "", port)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    """Whether a name in a header is an IP address as it is written in one."""
    text = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    address = _address(text)
    return address is not None and _bracketed(text) == name and str(address) == text


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

"""The address of the server, and which ``Host`` and ``Origin`` headers are accepted for it. Pure.

Accepting only its own names stops DNS rebinding: a page of ``evil.example`` whose name is made to resolve to
this machine still sends ``Host: evil.example``. An IP address cannot be rebound, so addresses are safe to
accept.
"""

from __future__ import annotations

import ipaddress
import platform
import re
import socket
from typing import Final
from urllib.parse import urlsplit

from modelfetch.lazy_dataclass import dataclass
from modelfetch.threads import start

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine for itself; no foreign page can be served under them."""

_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
"""Addresses that stand for all interfaces, each with one that a client can connect to."""

_PORTS: Final = {"http": 80, "https": 443}
"""Default ports (RFC 9110, 4.2), which may be left out of a header."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, and where a reverse proxy publishes it."""

    host: str
    """The configured host: an IP address or a name."""
    bound: str
    """The IP address it resolved to."""
    port: int
    tls: bool = False
    public: str = ""
    """URL at which a reverse proxy publishes it, without a trailing slash; empty without a proxy."""
    names: tuple[str, ...] = ()
    """More names that clients use, in lower case; without a port, that of the server is meant."""

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
        """URL for clients on this machine, without a trailing slash."""
        host = _WILDCARDS.get(self.bound, self.host)
        return f"{self.scheme}://{_bracketed(host)}:{self.port}"

    @property
    def shown(self) -> str:
        """URL for clients anywhere, without a trailing slash."""
        return self.public or self.url

    def allows(self, host: str) -> bool:
        """Whether a ``Host`` header names this server: exactly, port included (RFC 9110, 7.2)."""
        scheme = urlsplit(self.public).scheme
        return self._is_public(f"{scheme}://{host}") or self._is_own(host)

    def _is_own(self, host: str) -> bool:
        """Whether a name with its port is the server's own, not that of its proxy."""
        if host.lower() in self.names and _has_port(host):
            return True
        name = self._without_port(host.lower())
        if name is None:
            return False
        if name in self.names:
            return True
        # On all interfaces the server has addresses that it does not know. An IP address cannot be rebound.
        if self.bound in _WILDCARDS and (name == platform.node().lower() or _is_address(name)):
            return True
        return name in (*LOOPBACK, _bracketed(self.host.lower()), _bracketed(self.bound))

    def allows_origin(self, origin: str) -> bool:
        """Whether an ``Origin`` header names a page of this server (RFC 6454, 7)."""
        scheme, _, host = origin.lower().partition("://")
        return self._is_public(origin) or (scheme == self.scheme and self._is_own(host))

    def _is_public(self, origin: str) -> bool:
        return bool(self.public) and _origin(origin) == _origin(self.public)

    def _without_port(self, host: str) -> str | None:
        """Return the name in a ``Host`` header; None if it has another port than the server."""
        name, separator, port = host.rpartition(":")
        if separator and port == str(self.port):
            return name
        # An IPv6 address has colons of its own: `[::1]` ends with a bracket where there is no port.
        has_no_port = not separator or host.endswith("]")
        return host if self.port == _PORTS[self.scheme] and has_no_port else None


FULL_NAME_SECONDS: Final = 1.0
"""Seconds to wait for the full name of this machine. A name server that does not answer takes far longer."""
_HOST: Final = re.compile(
    r"(?=.{1,260}\Z)(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.I | re.A
)
"""A value of a ``Host`` header: a name or an IPv6 address in brackets, and a port (RFC 9110, 7.2)."""


def is_host(text: str) -> bool:
    """Whether a text can be a ``Host`` header."""
    return _HOST.fullmatch(text) is not None


def is_wildcard(bound: str) -> bool:
    """Whether an address stands for all interfaces."""
    return bound in _WILDCARDS


def own_names() -> tuple[str, ...]:
    """Return names under which other machines may know this one: by mDNS (RFC 6762), and the full name.

    A foreign page could be served under the mDNS name only by a machine of the same network, which can reach
    the shared endpoints anyway.
    """
    node = platform.node().lower()
    if not node:
        return ()
    short = node.partition(".")[0]
    return tuple(dict.fromkeys([f"{short}.local", *_full_name()]))


def _full_name() -> list[str]:
    """Look the full name of this machine up, for a short time."""
    found: list[str] = []
    thread = start(lambda: found.append(socket.getfqdn().lower()), "full name")
    if thread is not None:
        thread.join(FULL_NAME_SECONDS)
    # Not `localhost`, which is accepted anyway, and no address where there is no name.
    return [name for name in found if is_host(name) and not _is_address(name)]


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdecimal() and not host.endswith("]")


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of a URL; None if one is missing, or if it has user information."""
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
    """Whether a name in a header is an IP address in its canonical form, IPv6 in brackets."""
    text = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    address = _address(text)
    return address is not None and _bracketed(text) == name and str(address) == text


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

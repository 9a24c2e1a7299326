"""URLs: who they name, what of them may be shown, and which addresses a redirect may reach. Pure."""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
from dataclasses import field
from functools import lru_cache
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitise

_DEFAULT_PORTS = {"http": 80, "https": 443}

_INET_ATON = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}", re.ASCII | re.IGNORECASE)
"""IPv4 addresses as inet_aton(3) takes them; it would also take text after a space."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TO_ENCODE = re.compile(r"[^!#-;=?-_a-z|~]")
"""What browsers percent-encode in a path or query (WHATWG URL, percent-encode sets): spaces, quotes, angle
brackets, backquotes, braces, and all that is not ASCII."""

# Address blocks that are not the public internet (IANA special-purpose registries, RFC 6890), with the
# transition prefixes that can hide them: 6to4 (RFC 3056), Teredo (RFC 4380), local NAT64 (RFC 8215). A table
# of our own, because ``ipaddress.is_global`` of Python <= 3.12.1 calls several of these global.
_PRIVATE = tuple(
    ipaddress.ip_network(block)
    for block in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/96", "64:ff9b:1::/48", "100::/64", "2001::/23"),
        *("2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10"),
        "ff00::/8",
    )
)

# Prefixes before an IPv4 address, which is what counts: IPv4-mapped (RFC 4291), and NAT64 (RFC 6052), under
# which networks without IPv4 see every public server that has no IPv6.
_EMBEDDING = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet. An unreadable address does not."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(ip.version == prefix.version and ip in prefix for prefix in _EMBEDDING):
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return not any(ip.version == block.version and ip in block for block in _PRIVATE)


def numeric(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is, in any spelling a resolver understands, ``0x7f.1`` too; None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    if not _INET_ATON.fullmatch(host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_localhost(host: str) -> bool:
    """Whether a name is ``localhost`` or below it: loopback, whatever resolvers say (RFC 6761, 6.3)."""
    return f".{host.lower()}".rstrip(".").endswith(".localhost")


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine by its name or address alone; no resolver is asked."""
    if is_localhost(host):
        return True
    address = numeric(host.rstrip("."))
    address = getattr(address, "ipv4_mapped", None) or address
    return address is not None and (address.is_loopback or address.is_unspecified)


def is_inside(host: str) -> bool:
    """Whether a host is not of the public internet by its name or address alone; no resolver is asked."""
    address = numeric(host.rstrip("."))
    return is_localhost(host) if address is None else not is_public(str(address))


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a credential is bound to (RFC 6454)."""
    parts = urlsplit(url)
    port = _DEFAULT_PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    return parts.scheme, (parts.hostname or ""), port


def is_secure(url: str) -> bool:
    """Whether a URL is asked under TLS."""
    return url[:6].lower() == "https:"


def host_of(url: str) -> str:
    """The host for display and statistics, with its port unless that is the scheme's own."""
    scheme, _, rest = url.partition("://")
    return _host_of(f"{scheme}://{rest.partition('/')[0]}" if rest else url)


@lru_cache(maxsize=256)
def _host_of(url: str) -> str:
    scheme, host, port = origin(url)
    name = f"[{host}]" if ":" in host else host
    return sanitise(name if port == _DEFAULT_PORTS.get(scheme) else f"{name}:{port}")


def quote_path(path: str) -> str:
    """Percent-encode a relative path for a URL, segment by segment (RFC 3986, section 3.3)."""
    return "/".join(quote(segment, safe="") for segment in path.split("/"))


@dataclass(frozen=True, slots=True)
class Credential:
    """An ``Authorization`` value that belongs to one exact origin and goes nowhere else."""

    origin: tuple[str, str, int]
    value: str = field(repr=False)

    @classmethod
    def bearer(cls, url: str, token: str) -> Credential:
        """A token for the origin of ``url`` (RFC 6750)."""
        return cls(origin(url), f"Bearer {token}")

    def header_for(self, url: str) -> dict[str, str]:
        """The header to send to ``url``: none unless it has exactly our origin."""
        return {"Authorization": self.value} if origin(url) == self.origin else {}


def take_credential(url: str) -> tuple[str, Credential | None]:
    """Split ``https://user:password@host/`` into the bare URL and its credential (RFC 7617)."""
    if "@" not in url:
        return url, None
    parts = urlsplit(url)
    userinfo, at, netloc = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=netloc))
    if not at:
        return bare, None
    pair = userinfo if ":" in userinfo else f"{userinfo}:"
    encoded = base64.b64encode(unquote(pair).encode()).decode()
    return bare, Credential(origin(bare), f"Basic {encoded}")


def redirect_target(url: str, location: bytes | None) -> str:
    """Where a redirect leads, if it may be followed at all.

    Args:
        url: What was asked for.
        location: The header field as it came. What of it should have been percent-encoded is, as browsers do.

    Raises:
        SourceError: No or a malformed ``Location``, a scheme other than http(s), a step from https down to
            http (CVE-2022-43551 and its kin), user information, or control characters.
    """
    text = (location or b"").decode("utf-8", "surrogateescape").strip(" ")
    if not text:
        raise SourceError(Fault.REDIRECT, "a redirect without a Location")
    if _CONTROL.search(text):
        raise SourceError(Fault.REDIRECT, "a redirect whose Location has control characters")
    try:
        target = _as_ascii(urljoin(url, text))
        parts = urlsplit(target)
        _ = parts.port  # raises on a port that is not a number
    except ValueError:
        raise SourceError(Fault.REDIRECT, "a redirect to something that is not a URL") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise SourceError(Fault.REDIRECT, "a redirect to an address that is not http or https")
    if parts.scheme == "http" and urlsplit(url).scheme == "https":
        raise SourceError(Fault.REDIRECT, f"a redirect from https down to http ({host_of(target)})")
    if "@" in parts.netloc:
        raise SourceError(Fault.REDIRECT, f"a redirect with user information to {host_of(target)}")
    return urlunsplit(parts._replace(fragment=""))


def _as_ascii(url: str) -> str:
    """Write a URL as it is sent: its host by IDNA, the rest percent-encoded where it must be.

    Raises:
        ValueError: Its host cannot be written so.
    """
    parts = urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    if _TO_ENCODE.search(host):
        raise ValueError("no host has such a name")
    path, query = (_TO_ENCODE.sub(_encoded, part) for part in (parts.path, parts.query))
    return urlunsplit((parts.scheme, host, path, query, ""))


def _encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))

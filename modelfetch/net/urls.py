"""Functions on URLs: origins, credentials, what may be displayed, and where a redirect may lead. Pure.

Nothing here resolves a name. What a name leads to is checked while connecting
(:class:`modelfetch.net.connect.Addresses`). URLs are shown by their host only, because user information, path
and query may contain secrets.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from modelfetch.errors import Fault, SourceError
from modelfetch.model.addresses import is_object_url
from modelfetch.model.text import sanitize

_DEFAULT_PORTS = {"http": 80, "https": 443}

_INET_ATON = r"(?ai)(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}"
"""IPv4 addresses in the forms of inet_aton(3), which itself would also accept text after a space."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~/-]*+")
"""Paths of characters that are never encoded (RFC 3986, 2.3)."""
_TO_ENCODE = re.compile(r"[^!#-;=?-_a-z|~]")
"""Characters that browsers percent-encode in a path or query (WHATWG URL, percent-encode sets): spaces,
quotes, angle brackets, backquotes, braces, and everything outside ASCII."""

# Address blocks outside the public internet (IANA special-purpose registries, RFC 6890), and the transition
# prefixes that may contain such addresses: 6to4 (RFC 3056), Teredo (RFC 4380), local NAT64 (RFC 8215). A
# table of our own, because ``ipaddress.is_global`` of Python <= 3.12.1 returns True for several of these.
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

# Prefixes before an IPv4 address, which decides: IPv4-mapped (RFC 4291), and NAT64 (RFC 6052), under which
# networks without IPv4 reach public servers that have no IPv6.
_EMBEDDING = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet. False for text that is not an IP address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(ip.version == prefix.version and ip in prefix for prefix in _EMBEDDING):
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return not any(ip.version == block.version and ip in block for block in _PRIVATE)


def parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse a host that is an IP address, in any form that resolvers accept (``0x7f.1``); None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    if not re.fullmatch(_INET_ATON, host):
        return None
    try:
        import socket  # queries and verify load it for nothing else

        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def is_localhost(host: str) -> bool:
    """Whether a name is ``localhost`` or a subdomain of it, which is always loopback (RFC 6761, 6.3)."""
    return f".{host.lower()}".rstrip(".").endswith(".localhost")


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine, by its text alone; nothing is resolved."""
    if is_localhost(host):
        return True
    address = parse_ip(host.rstrip("."))
    address = getattr(address, "ipv4_mapped", None) or address
    return address is not None and (address.is_loopback or address.is_unspecified)


def is_private_host(host: str) -> bool:
    """Whether a host is outside the public internet, by its text alone; nothing is resolved."""
    address = parse_ip(host.rstrip("."))
    return is_localhost(host) if address is None else not is_public(str(address))


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL (RFC 6454). Credentials and validators are bound to them."""
    return _origin(_without_path(url))


def _without_path(url: str) -> str:
    """The front of a URL, which ends before its path: the addresses of many files have the same one."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if rest else url


@lru_cache(maxsize=256)
def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = _DEFAULT_PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    return parts.scheme, (parts.hostname or ""), port


def is_private_url(url: str) -> bool:
    """Whether the host of a URL is outside the public internet by its text alone; nothing is resolved.

    The addresses of names are checked while connecting: :class:`modelfetch.net.connect.Addresses`.
    """
    return is_private_host(origin(url)[1])


def is_secure(url: str) -> bool:
    """Whether requests to a URL use TLS."""
    return url[:6].lower() == "https:"


def host_of(url: str) -> str:
    """The host for display and statistics, with its port unless that is the default port of the scheme.

    For the address of an object, it is the bucket: ``s3://models``.
    """
    return _host_of(_without_path(url))


@lru_cache(maxsize=256)
def _host_of(url: str) -> str:
    if is_object_url(url):
        return sanitize(url)  # a bucket: its host is known to the client of object stores only
    scheme, host, port = _origin(url)
    name = f"[{host}]" if ":" in host else host
    return sanitize(name if port == _DEFAULT_PORTS.get(scheme) else f"{name}:{port}")


def quote_path(path: str) -> str:
    """Percent-encode a relative path for a URL, segment by segment (RFC 3986, section 3.3)."""
    if _UNRESERVED.fullmatch(path):  # nearly all
        return path
    return "/".join(quote(segment, safe="") for segment in path.split("/"))


def redirect_target(url: str, location: bytes | None) -> str:
    """The URL that a redirect leads to, if it may be followed.

    Args:
        url: URL of the request.
        location: The ``Location`` field as received. Characters that must be percent-encoded are encoded, as
            browsers do.

    Raises:
        SourceError: ``Location`` is missing or malformed, has another scheme than http(s), leads from https
            to http (as in CVE-2022-43551), or contains user information or control characters.
    """
    text = (location or b"").decode("utf-8", "surrogateescape").strip(" ")
    if not text:
        raise SourceError(Fault.REDIRECT, "a redirect without a Location")
    if _CONTROL.search(text):
        raise SourceError(Fault.REDIRECT, "a redirect whose Location contains control characters")
    try:
        target = _as_ascii(urljoin(url, text))
        parts = urlsplit(target)
        _ = parts.port  # raises on a port that is not a number
    except ValueError:
        raise SourceError(Fault.REDIRECT, "a redirect to an invalid URL") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise SourceError(Fault.REDIRECT, "a redirect to a URL that is not http or https")
    if parts.scheme == "http" and urlsplit(url).scheme == "https":
        raise SourceError(Fault.REDIRECT, f"a redirect from https to http ({host_of(target)})")
    if "@" in parts.netloc:
        raise SourceError(Fault.REDIRECT, f"a redirect with user information to {host_of(target)}")
    return urlunsplit(parts._replace(fragment=""))


def _as_ascii(url: str) -> str:
    """Encode a URL for a request: the host by IDNA, path and query percent-encoded where necessary.

    Raises:
        ValueError: The host cannot be encoded.
    """
    parts = urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    if _TO_ENCODE.search(host):
        raise ValueError("invalid host name")
    path, query = (_TO_ENCODE.sub(_encoded, part) for part in (parts.path, parts.query))
    return urlunsplit((parts.scheme, host, path, query, ""))


def _encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))

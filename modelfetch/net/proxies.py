"""Chooses the proxy of a request by the environment: ``HTTP_PROXY``, ``NO_PROXY`` and their like.

These variables have no standard. Accepted are the forms that curl, the libraries of Python and Go, container
engines and VPNs use. Entries of NO_PROXY that are not understood are ignored. A proxy that cannot be used
fails the requests that would go through it, and no others. Example::

    HTTPS_PROXY=http://user:password@proxy.example:3128
    NO_PROXY=.internal.example,10.0.0.0/8,[fd00::1]:8080
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.net.urls import is_this_machine, origin, parse_ip

_NAMES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_SUPPORTED: Final = ("http", "https")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST_PORT: Final = re.compile(r"(?:\[(?P<bracketed>[^][]*)\]|(?P<plain>[^][:/]*))(?::(?P<port>[0-9]{1,5}))?")
_BRACKETS: Final = re.compile(r"^\[([^][]*)\](/[0-9]+)?$")
_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that can be used."""

    url: str = field(repr=False)
    """May contain user name and password."""
    variable: str
    """The variable that sets it."""

    def hint(self) -> str:
        """What the user should check if the proxy fails."""
        return f"Check {self.variable} and NO_PROXY."


def from_environment() -> Proxies:
    """The proxies that the environment sets now; on macOS and Windows, else those of the system."""
    names = [*_NAMES, *(name.upper() for name in _NAMES), "REQUEST_METHOD"]
    environ = {name: value for name in names if (value := os.environ.get(name)) is not None}
    proxies = Proxies(environ)
    if sys.platform in ("darwin", "win32") and not proxies.is_set:
        return Proxies(_of_the_system(environ))
    return proxies


def _of_the_system(environ: Mapping[str, str]) -> dict[str, str]:  # pragma: no cover - not on Linux
    """The proxies set in macOS or Windows for all programs; variables override them."""
    from urllib.request import getproxies

    found = {f"{scheme}_proxy": url for scheme, url in getproxies().items() if scheme != "no"}
    return found | dict(environ)


class Proxies:
    """The proxies of an environment.

    Args:
        environ: Its variables. Lower-case names take precedence, even if empty; an empty value sets no proxy.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._settings: dict[str, tuple[str, str]] = {}
        for scheme in ("http", "https", "all"):
            name = f"{scheme}_proxy"
            # A web server hands the header "Proxy" to its programs as HTTP_PROXY (CVE-2016-5385).
            is_forged = scheme == "http" and "REQUEST_METHOD" in environ
            variable = name if name in environ or is_forged else name.upper()
            if value := environ.get(variable, "").strip():
                self._settings[scheme] = (variable, value)
        excluded = environ.get("no_proxy", environ.get("NO_PROXY", ""))
        self._exceptions = tuple(_exceptions(excluded))

    @property
    def is_set(self) -> bool:
        """Whether there is any proxy."""
        return bool(self._settings)

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that set a proxy, without those that another one overrides."""
        return tuple(variable for variable, _ in self._settings.values())

    def proxy_for(self, url: str) -> Proxy | None:
        """The proxy for a request to ``url``; None for a direct connection.

        Raises:
            SourceError: The proxy set for it cannot be used.
        """
        setting = self._setting_for(url)
        return None if setting is None else _usable(*setting)

    def is_proxied(self, url: str) -> bool:
        """Whether a proxy is set for ``url``, usable or not."""
        return self._setting_for(url) is not None

    def describe_route(self, url: str) -> str:
        """Describe the proxy for ``url``, or why it cannot be used; empty for a direct connection."""
        try:
            proxy = self.proxy_for(url)
        except SourceError as error:
            return error.message
        return "" if proxy is None else f"through the proxy in {proxy.variable}"

    def _setting_for(self, url: str) -> tuple[str, str] | None:
        """The variable that sets a proxy for ``url``, and its value; None for a direct connection."""
        if not self._settings:
            return None
        scheme, host, port = origin(url)
        setting = self._settings.get(scheme) or self._settings.get("all")
        if setting is None or is_this_machine(host):  # loopback of the proxy would be another machine
            return None
        host = host.rstrip(".")
        if any(exception.covers(scheme, host, port) for exception in self._exceptions):
            return None
        return setting


def _usable(variable: str, value: str) -> Proxy:
    """Check the address of a proxy. It is not shown in errors, because it may contain a password."""
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise not_an_address(variable) from None
    if not is_address:
        raise not_an_address(variable)
    if parts.scheme not in _SUPPORTED:
        raise SourceError(
            Fault.PROXY,
            f"the proxy in {variable} uses {parts.scheme[:10]}, which is not supported",
            hint="Write it as http://host:port, unset it, or name the host in NO_PROXY.",
        )
    return Proxy(url, variable)


def not_an_address(variable: str) -> SourceError:
    """The error for a variable whose value is not the address of a proxy."""
    message = f"the proxy in {variable} is not a valid address"
    return SourceError(Fault.PROXY, message, hint="Write it as http://host:port.")


@dataclass(frozen=True, slots=True)
class _Exception:
    """An entry of NO_PROXY."""

    network: _Network | None = None
    name: str = ""
    """A domain; covers its subdomains too. ``*`` covers every host."""
    scheme: str = ""
    port: int | None = None

    def covers(self, scheme: str, host: str, port: int) -> bool:
        """Whether this entry excludes ``host`` from the proxy."""
        if self.scheme not in ("", scheme) or self.port not in (None, port):
            return False
        address = parse_ip(host)
        # Networks match addresses and domains match names: an address in NO_PROXY says nothing of a name.
        if self.network is not None:
            return address is not None and _unmapped(address) in self.network
        if self.name == "*":
            return True
        return address is None and (host == self.name or host.endswith(f".{self.name}"))


def _exceptions(text: str) -> Iterator[_Exception]:
    """Parse NO_PROXY: hosts, domains, addresses and networks, separated by commas, semicolons or spaces."""
    for entry in re.split(r"[,;\s]+", text.lower()):
        if (exception := _exception(entry)) is not None:
            yield exception


def _exception(entry: str) -> _Exception | None:
    """Parse one entry; None if it is not understood."""
    scheme = ""
    if match := _SCHEME.match(entry):
        scheme, entry = match[1], entry[match.end() :].rstrip("/")
    if entry == "*":
        return _Exception(name="*", scheme=scheme)
    if (network := _network(entry)) is not None:
        return _Exception(network=network, scheme=scheme)
    host_port = _HOST_PORT.fullmatch(entry)
    if host_port is None:
        return None
    port = int(host_port["port"]) if host_port["port"] else None
    host = host_port["plain"] if host_port["bracketed"] is None else host_port["bracketed"]
    if (network := _network(host)) is not None:
        return _Exception(network=network, scheme=scheme, port=port)
    name = host.removeprefix("*.").removeprefix(".").rstrip(".")
    return _Exception(name=name, scheme=scheme, port=port) if _NAME.fullmatch(name) else None


def _network(text: str) -> _Network | None:
    """Parse an address, with or without brackets, or a network; None for anything else."""
    try:
        network = ipaddress.ip_network(_BRACKETS.sub(r"\1\2", text).partition("%")[0], strict=False)
    except ValueError:
        return None
    embedded = getattr(network.network_address, "ipv4_mapped", None)
    if embedded is not None and network.prefixlen >= 96:  # ::ffff:0:0/96 and networks in it
        return ipaddress.ip_network(f"{embedded}/{network.prefixlen - 96}", strict=False)
    return network


def _unmapped(address: _IP) -> _IP:
    """The IPv4 address in an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2); else ``address`` itself."""
    return getattr(address, "ipv4_mapped", None) or address

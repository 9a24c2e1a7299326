"""Which announcements of servers may be used, and where they lead. Pure functions.

Any machine of the network may announce anything. So a record is used only if it names a port that no other
well-known service has, and an address in a network that this machine is in itself, by the prefixes of its
interfaces: it can then lead only to machines that this machine could reach anyway. That
includes public IPv6 prefixes of a home network, and leaves out this machine itself, routers' other sides and
every service in the internet. Names of hosts are never looked up. The bytes of a peer are verified like those
of any source.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

VERSION: Final = "1"
"""Version of the announcement. Those of another version are ignored."""

MOST_PEERS: Final = 32
"""Most announcements that are used, and most addresses of each that are looked at."""

_REFUSED: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
    | set(range(9100, 9108))
)
"""Ports from 1024 on that no request is sent to: the "bad ports" of browsers (WHATWG Fetch, section 2.9), and
those on which printers print whatever arrives (9100 to 9107)."""
_ALLOWED_BELOW_1024: Final = frozenset({80, 443})

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class FoundPeer(NamedTuple):
    """A server that was found."""

    url: str
    """Its address, without a path."""
    instance: str
    """The name of the cache that it shares, as it states it: a hint. Anyone may state any, and it is
    announced once, while a cache may be made, moved or removed later. Each answer of the server has the name
    that is right then."""


def peer_of(
    port: object, properties: Mapping[Any, Any], addresses: Iterable[str], networks: Sequence[Interface]
) -> FoundPeer | None:
    """Return the peer that an announcement describes; None if it must not be used.

    Args:
        port: From the SRV record.
        properties: From the TXT record: names and values as bytes.
        addresses: From the A and AAAA records, as text.
        networks: The addresses of this machine with the prefixes of their networks.
    """
    instance = _text(properties.get(b"id"))
    if _text(properties.get(b"v")) != VERSION or not _is_id(instance):
        return None
    if not isinstance(port, int) or not is_usable_port(port):
        return None
    nearby = [
        ip for text in list(addresses)[:MOST_PEERS] if (ip := parsed_ip(text)) and is_near(ip, networks)
    ]
    if not nearby:
        return None
    first = min(nearby, key=lambda ip: ip.version)  # IPv4 first: some machines announce IPv6 and filter it
    host = f"[{first}]" if first.version == 6 else f"{first}"
    return FoundPeer(f"http://{host}:{port}", instance)


def distinct(peers: Sequence[FoundPeer]) -> Sequence[FoundPeer]:
    """Return each address once: a server may be announced under many names.

    Several addresses with one name are left, as only their answers tell whether they are one server: else
    one that is gone, or lies, would hide the other.
    """
    return tuple({peer.url: peer for peer in peers}.values())


def is_usable_port(port: int) -> bool:
    """Return whether a request may be sent to a port that an announcement names."""
    return port in _ALLOWED_BELOW_1024 or (1024 <= port <= 65535 and port not in _REFUSED)


def is_near(ip: _IP, networks: Sequence[Interface]) -> bool:
    """Return whether an address is one of a host in a network of this machine.

    Args:
        ip: The address.
        networks: The addresses of this machine with the prefixes of their networks.
    """
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_link_local:
        return False
    # A request to an own address passes the firewall that keeps others from the services of this machine.
    if any(ip == each.ip for each in networks):
        return False
    for each in networks:
        network = each.network
        if ip.version != each.version or ip not in network:
            continue
        is_host = network.num_addresses <= 2 or ip not in (network[0], network[-1])
        if is_host or ip.version == 6:  # in IPv6 there is no broadcast
            return True
    return False


def usable_networks(found: Iterable[tuple[str, int]]) -> list[Interface]:
    """Return the networks in which peers may be, of the addresses and prefix lengths of all interfaces.

    Loopback, link-local addresses and prefixes that are no local network (such as /0) are left out.
    Link-local IPv6 addresses need the name of an interface, which differs between machines; where machines
    have them alone, IPv4 or a unique local prefix is announced too.
    """
    networks = []
    for address, prefix in found:
        with suppress(ValueError):
            each = ipaddress.ip_interface(f"{address.partition('%')[0]}/{prefix}")
            least = 8 if each.version == 4 else 32
            if not (each.ip.is_loopback or each.ip.is_link_local) and prefix >= least:
                networks.append(each)
    return networks


def parsed_ip(text: str) -> _IP | None:
    """Return the address that a text is, or None."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _text(value: object) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else ""


def _is_id(text: str) -> bool:
    return len(text) == 16 and all(digit in "0123456789abcdef" for digit in text)

"""Addresses of machines in a swarm: ``HOST:PORT``, with IP addresses; and a free port on this one.

An engine resolves no names: libtorrent would ask the system without a time limit. Who has a name resolves it
first.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

_ATTEMPTS: Final = 20
"""Ports that are tried after the wanted one: each is free on the first address, and mostly on the others."""


def endpoints(addresses: Sequence[str]) -> list[tuple[str, int]]:
    """Read addresses, such as ``10.0.0.7:6881`` or ``[fd00::1]:6881``.

    Raises:
        ValueError: One is malformed, or has a name.
    """
    found = []
    for text in addresses:
        host, _, port = text.rpartition(":")
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("an address has no port")
        found.append((str(address), int(port)))
    return found


def free_port(addresses: Sequence[str], wanted: int) -> int:
    """Find a port that is free on all addresses of this machine, so that all sockets have the same one.

    libtorrent would take a port for each address, and announces a single one in the local network.

    Args:
        addresses: Where it is needed.
        wanted: The port to try first; 0 for any.

    Returns:
        The port; 0 if there is none, or no address is of this machine.
    """
    for number in [wanted, *([0] * _ATTEMPTS)]:
        if port := _bound(addresses, number):
            return port
    return 0


def _bound(addresses: Sequence[str], port: int) -> int:
    """Bind a port on all addresses for a moment; returns it, or 0 if it is not free everywhere."""
    with ExitStack() as stack:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                opened = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                if family == socket.AF_INET6:
                    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if port and sys.platform != "win32":  # on Windows it would share a port that is in use
                    # Connections of an engine that ended stay in TIME_WAIT for a minute. libtorrent listens
                    # all the same, and peers that were told this port look for it.
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return 0
                continue  # no such address here, or no IPv6: libtorrent reports that
            port = opened.getsockname()[1]
    return port

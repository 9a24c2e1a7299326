"""Ports for servers that are told where to listen, or that come back where they were."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

FIRST, LAST = 16_384, 32_767
"""Below the ports that systems give to clients, and to servers that ask for any (Linux: from 32768 on;
RFC 6335, 6: from 49152 on)."""


def lasting_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that are free, and that nobody gets meanwhile who does not name them."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randint(FIRST, LAST)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return list(found)

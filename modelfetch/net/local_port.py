"""Finds out whether a program listens on this machine: one connection attempt, without a request.

On the loopback interface a refusal takes microseconds, so a service that is usually absent may be looked for
in every run. The modules that send requests are not loaded for it.
"""

from __future__ import annotations


def is_listening(host: str, port: int, seconds: float) -> bool:
    """Whether a TCP connection to a port is accepted.

    Args:
        host: An address of this machine.
        port: The port.
        seconds: Time limit; a firewall may drop packets even there.
    """
    import socket  # late: queries load this module through the sources, and connect to nothing

    try:
        with socket.create_connection((host, port), seconds):
            return True
    except OSError:
        return False

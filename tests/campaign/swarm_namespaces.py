"""Network namespaces on one bridge, one for each machine: what multicast needs. Needs root and iproute2."""

from __future__ import annotations

import subprocess

BRIDGE = "mfswarm-br"
HOST = "10.99.0.254"
"""Address of this host on the bridge."""


def run(words: str) -> None:
    subprocess.run(words.split(), check=True)


class Namespaces:
    """A bridge, and a namespace for each machine. Use it as a context manager.

    Args:
        count: Number of machines.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    @staticmethod
    def address(number: int) -> str:
        return f"10.99.{1 + number // 200}.{1 + number % 200}"

    @staticmethod
    def words(number: int) -> list[str]:
        """What runs a command in the namespace of a machine."""
        return ["ip", "netns", "exec", f"mfswarm{number}"]

    def __enter__(self) -> None:
        run(f"ip link add {BRIDGE} type bridge mcast_snooping 0")
        run(f"ip address add {HOST}/16 dev {BRIDGE}")
        run(f"ip link set {BRIDGE} up")
        for number in range(self.count):
            name = f"mfswarm{number}"
            run(f"ip netns add {name}")
            run(f"ip link add {name} type veth peer name eth0 netns {name}")
            run(f"ip link set {name} master {BRIDGE} up")
            run(f"ip -n {name} address add {self.address(number)}/16 dev eth0")
            run(f"ip -n {name} link set lo up")
            run(f"ip -n {name} link set eth0 up")
            run(f"ip -n {name} route add default via {HOST}")

    def __exit__(self, *_: object) -> None:
        for number in range(self.count):
            subprocess.run(["ip", "netns", "delete", f"mfswarm{number}"], check=False)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False)

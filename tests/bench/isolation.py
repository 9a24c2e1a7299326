"""Server and clients on processors of their own, and in network namespaces with a link between them.

On one machine the server takes processor time from the clients, and both share the loopback interface: work
on one side slows the other. With ``--isolate`` the sockets of the server are made in a network namespace of
its own, at the other end of a virtual Ethernet link. The server runs on the first processor, and every client
on the others. That needs root, ``ip`` (iproute2) and two processors.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER, CLIENT = "10.213.77.2", "10.213.77.1"
"""Addresses of both ends of the link, from the range for private networks (RFC 1918)."""
_CLONE_NEWNET = 0x40000000  # linux/sched.h


@dataclass(frozen=True, slots=True)
class Isolation:
    """Where the server listens, and which processors each side has.

    Attributes:
        host: Address of the server.
        server: Processors of the server.
        clients: Processors of the clients.
        namespace: File of the network namespace of the server; None for that of everything else.
    """

    host: str
    server: frozenset[int]
    clients: frozenset[int]
    namespace: Path | None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Make the sockets of this thread in the namespace of the server."""
        if self.namespace is None:
            yield
            return
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(self.namespace)
            yield
        finally:
            _set_namespace(own)
            os.close(own)


def none() -> Isolation:
    """Everything on loopback and on every processor."""
    every = frozenset(os.sched_getaffinity(0))
    return Isolation("127.0.0.1", every, every, None)


@contextmanager
def isolated() -> Iterator[Isolation]:
    """Make the namespace and the link; they are gone afterwards.

    Raises:
        SystemExit: This is not root, there is no ``ip``, or only one processor.
    """
    processors = sorted(os.sched_getaffinity(0))
    if os.geteuid() != 0 or len(processors) < 2:
        raise SystemExit("--isolate needs root and two processors")
    name = f"modelfetch-bench-{os.getpid()}"
    ours, theirs = f"mfb{os.getpid() % 100000}a", f"mfb{os.getpid() % 100000}b"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        _ip("address", "add", f"{CLIENT}/30", "dev", ours)
        _ip("link", "set", ours, "up")
        _ip("-n", name, "address", "add", f"{SERVER}/30", "dev", theirs)
        _ip("-n", name, "link", "set", theirs, "up")
        yield Isolation(
            SERVER, frozenset(processors[:1]), frozenset(processors[1:]), Path("/run/netns") / name
        )
    finally:
        _ip("netns", "delete", name)  # the link goes with it


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit("--isolate needs ip, of iproute2") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"ip {' '.join(arguments)}: {error.stderr.strip()}") from None


def _enter(namespace: Path) -> None:
    number = os.open(namespace, os.O_RDONLY)
    try:
        _set_namespace(number)
    finally:
        os.close(number)


def _set_namespace(number: int) -> None:
    """setns(2), which the standard library has from Python 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(number, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")

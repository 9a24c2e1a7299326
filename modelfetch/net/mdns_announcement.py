"""Announces a server that shares its cache in the local network; see :mod:`modelfetch.net.mdns`.

The announcement is withdrawn when the server ends; one that is killed is forgotten by the others after its
time to live, which is some minutes. Addresses that this machine gets later are not announced.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from modelfetch.model.text import sanitize
from modelfetch.net.mdns import MISSING, SERVICE, MdnsMissing, interfaces, zeroconf_package
from modelfetch.net.mdns_records import VERSION, Interface, is_usable_port, parsed_ip, usable_networks
from modelfetch.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zeroconf import Zeroconf


_NOT_ANNOUNCED: Final = "this server is not announced in the local network"
_IPV4_ONLY: Final = (
    "it listens on IPv4 only, and this machine has only IPv6 in a local network; --host :: changes that"
)
_UNUSED_PORT: Final = (
    "no machine uses an announcement of port {}; choose another --port, such as 8765, or name this server in"
    " sources.peers of the others"
)


class Announcement:
    """Announces a server until it is closed.

    Args:
        port: Where it listens.
        instance: The name of the cache that it shares, as it is now; see :class:`.FoundPeer`.
        bound: The address that it listens on; a wildcard stands for all addresses of this machine.
    """

    def __init__(self, port: int, instance: str, bound: str) -> None:
        self._facts = port, instance, bound
        self._lock = threading.Lock()
        self._engine: Zeroconf | None = None
        self._is_closed = False

    def start(self, report: Callable[[str], None]) -> None:
        """Announce in the background: making sure that the name is free takes most of a second.

        Args:
            report: Receives a line if that fails; the server works without it.
        """

        def work() -> None:
            try:
                self.announce()
            except MdnsMissing:
                report(MISSING)
            except Exception as error:  # whatever the network does, the server goes on
                if not self._is_closed:
                    report(f"{_NOT_ANNOUNCED}: {sanitize(str(error)) or type(error).__name__}")

        if start(work, "modelfetch-mdns") is None:
            report(f"{_NOT_ANNOUNCED}: the system allows this process no more threads")

    def announce(self) -> None:
        """Announce, and return when that is done.

        Raises:
            MdnsMissing: The package is not installed.
            OSError: This machine has no network, or the port is one that no other machine would use.
        """
        zeroconf = zeroconf_package()
        port, instance, bound = self._facts
        if not is_usable_port(port):
            raise OSError(_UNUSED_PORT.format(port))
        networks = usable_networks(interfaces())
        addresses = announced_addresses(bound, networks)
        if not addresses:
            # All networks are IPv6 then; on one address, or on loopback, another --host need not be wanted.
            is_other_family = bound == "0.0.0.0" and networks  # noqa: S104 - compared, not bound
            raise OSError(_IPV4_ONLY if is_other_family else "no address in a local network")
        name = f"modelfetch-{instance}"
        info = zeroconf.ServiceInfo(
            SERVICE,
            f"{name}.{SERVICE}",
            port=port,
            properties={"v": VERSION, "id": instance},
            server=f"{name}.local.",
            parsed_addresses=addresses,
        )
        engine = zeroconf.Zeroconf(ip_version=zeroconf.IPVersion.All)
        with self._lock:
            if not self._is_closed:
                self._engine, engine = engine, None
        if engine is not None:
            engine.close()
            return
        assert self._engine is not None
        # Two servers of one cache have the same name; the second is announced under another one.
        self._engine.register_service(info, allow_name_change=True)

    def close(self) -> None:
        """Withdraw the announcement."""
        with self._lock:
            self._is_closed = True
            engine, self._engine = self._engine, None
        if engine is not None:
            with suppress(Exception):
                engine.close()


def announced_addresses(bound: str, networks: Sequence[Interface]) -> list[str]:
    """Return the addresses under which other machines reach a server; none if it listens on loopback only.

    Args:
        bound: The address that it listens on.
        networks: The addresses of this machine with the prefixes of their networks.
    """
    ip = parsed_ip(bound.partition("%")[0])
    if ip is None:
        return []
    if not ip.is_unspecified:
        return [] if ip.is_loopback or ip.is_link_local else [str(ip)]
    # A socket that listens on :: takes IPv4 too (Linux: net.ipv6.bindv6only = 0).
    return [str(each.ip) for each in networks if ip.version == 6 or each.version == 4]

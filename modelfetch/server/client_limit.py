"""Limits what goes on at the same time, in all and for each client address.

Clients of the shared endpoints have no token, so a client is its address. Of IPv6 it is the network, as every
machine has all addresses of one. One client may have a part of the whole only, so it cannot take all::

    slots = ClientLimit(64, 32, no_slot)
    with slots.hold("192.0.2.7"):    refused while 64 are held, or 32 by this address
        ...
    with await slots.wait("192.0.2.7", 10.0, check):    the same, but first come, first served
        ...
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from modelfetch.server.error_responses import Refusal

CHECK_SECONDS: Final = 0.5
"""Seconds between two looks whether a client that waits is still there, which also send the interim responses
that are due: a quarter of the time between two of those."""


class ClientLimit:
    """One such limit. Thread-safe.

    Args:
        most: Most at the same time, in all.
        of_one: Most of one client address.
        refusal: Makes the refusal of one more.

    Attributes:
        most: As given.
        of_one: As given.
    """

    def __init__(self, most: int, of_one: int, refusal: Callable[[], Refusal]) -> None:
        self.most = most
        self.of_one = of_one
        self._refusal = refusal
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._waiters: list[_Waiter] = []
        """Those that wait for a place, in the order in which they came."""

    @property
    def count(self) -> int:
        """How many are held."""
        with self._lock:
            return self._held.total()

    def is_full(self, client: str) -> bool:
        """Whether :meth:`hold` would refuse a client address."""
        with self._lock:
            return self._is_full(network_of(client))

    def _is_full(self, network: str) -> bool:
        return self._held.total() >= self.most or self._held[network] >= self.of_one

    @contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Count one more of a client address until the end of the block.

        Raises:
            Refusal: The limit is reached.
        """
        network = network_of(client)
        with self._lock:
            if self._is_full(network):
                raise self._refusal()
            self._held[network] += 1
        with self._place(network):
            yield

    async def wait(
        self, client: str, seconds: float, check: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Wait until :meth:`hold` would not refuse a client address, behind those that wait already.

        Args:
            client: The address.
            seconds: Longest wait.
            check: Called every :data:`CHECK_SECONDS`, and at the end of the wait. An exception of it
                ends the wait.

        Returns:
            What :meth:`hold` returns; to be entered at once, as the place is held already.

        Raises:
            Refusal: The limit was reached all the time.
        """
        loop, network = asyncio.get_running_loop(), network_of(client)
        waiter = _Waiter(network, loop)
        with self._lock:
            self._waiters.append(waiter)
            self._give_places()
        until = loop.time() + seconds
        try:
            while not waiter.has_place and (left := until - loop.time()) > 0:
                await asyncio.wait({waiter.called}, timeout=min(left, CHECK_SECONDS))
                check()
        except BaseException:
            if not self._leave(waiter):
                self._free(network)
            raise
        if self._leave(waiter):
            raise self._refusal()
        return self._place(network)

    @contextmanager
    def _place(self, network: str) -> Iterator[None]:
        """Free a place, which is counted already, at the end of the block."""
        try:
            yield
        finally:
            self._free(network)

    def _free(self, network: str) -> None:
        with self._lock:
            self._held[network] -= 1
            if not self._held[network]:
                del self._held[network]  # else the table grows with each address that ever connected
            self._give_places()

    def _leave(self, waiter: _Waiter) -> bool:
        """End the wait for a place; whether there was none."""
        with self._lock:
            if not waiter.has_place:
                self._waiters.remove(waiter)
            return not waiter.has_place

    def _give_places(self) -> None:
        """Give free places to those that wait, before anybody else can take them. Only under the lock."""
        for waiter in self._waiters.copy():
            if not self._is_full(waiter.network):
                self._held[waiter.network] += 1
                self._waiters.remove(waiter)
                waiter.call()


class _Waiter:
    """A task that waits for a place.

    Attributes:
        network: What counts as its client.
        called: Done soon after it was given one.
        has_place: Whether it was given one.
    """

    def __init__(self, network: str, loop: asyncio.AbstractEventLoop) -> None:
        self.network = network
        self._loop = loop
        self.called = loop.create_future()
        self.has_place = False

    def call(self) -> None:
        """Tell it that it has a place; in any thread."""
        self.has_place = True
        self._loop.call_soon_threadsafe(self.called.set_result, None)


def network_of(client: str) -> str:
    """Return what counts as one client: of IPv6 the network, as every machine has all addresses of one.

    A network has 64 bits (RFC 4291, 2.5.1). A link-local address is that of one machine.
    """
    try:
        address = ipaddress.IPv6Address(client.partition("%")[0])
    except ValueError:
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return client if address.is_link_local else str(ipaddress.IPv6Address(int(address) >> 64 << 64))

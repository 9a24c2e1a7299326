"""From a host's name to a connection: which addresses, in which order, and none that was not looked at.

Addresses are tried as RFC 8305 has it, not one after the other for ten seconds each, and the family that
answered is tried first from then on: a dead one costs a quarter of a second, once a run.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final

from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.urls import is_localhost, is_public

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

Resolver = Callable[..., Sequence[tuple[int, int, int, str, Any]]]
"""``socket.getaddrinfo``, or a stand-in for it in tests."""

STAGGER_SECONDS: Final = 0.25
"""How long an address has for itself before the next one is tried beside it (RFC 8305, section 5)."""
_Selector: Final = getattr(selectors, "PollSelector", selectors.DefaultSelector)
"""For a few sockets and a moment: where there is poll(2), it takes no descriptor and one system call."""
_LOOPBACK: Final = ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
"""In the order of RFC 6724."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a socket can be connected to."""

    family: int
    sockaddr: Any


class Families:
    """Which family of addresses answered last, by host. May be used by several threads."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def remember(self, host: str, family: int) -> None:
        """Remember that an address of this family answered."""
        self._last[host] = family

    def ordered(self, host: str, addresses: Sequence[Address]) -> list[Address]:
        """Take turns between the families (RFC 8305, section 4), the one that answered last first."""
        if not addresses:
            return []
        first = self._last.get(host, addresses[0].family)
        preferred = [address for address in addresses if address.family == first]
        others = [address for address in addresses if address.family != first]
        return [each for each in chain(*zip_longest(preferred, others)) if each is not None]


class Addresses:
    """The addresses of hosts.

    Args:
        families: What a run knows about them.
        public_only: Whether addresses that are not of the public internet are refused. This is the place for
            it: a name that is looked up once to be checked and once more to be connected to may by then lead
            elsewhere (DNS rebinding).
        resolver: Asks the resolver.
    """

    def __init__(
        self, families: Families, *, public_only: bool, resolver: Resolver = socket.getaddrinfo
    ) -> None:
        self._resolver = resolver
        self._families = families
        self._public_only = public_only

    def resolve(self, host: str, port: int) -> list[Address]:
        """Look a host up.

        Raises:
            OSError: It has no address.
            SourceError: It has one that may not be connected to.
        """
        found = self._look_up_all(host, port)
        if self._public_only and not all(is_public(str(address.sockaddr[0])) for address in found):
            raise SourceError(Fault.REDIRECT, "a redirect into a private network")
        return self._families.ordered(host, found)

    def _look_up_all(self, host: str, port: int) -> list[Address]:
        if is_localhost(host):  # RFC 6761, 6.3: resolvers need not know, and must not be asked
            return [Address(family, (address, port)) for family, address in _LOOPBACK]
        found = self._resolver(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))

    def remember_family(self, host: str, family: int) -> None:
        """Remember which family answered."""
        self._families.remember(host, family)


def connect(addresses: Sequence[Address], seconds: float | None, cancel: Cancellation) -> socket.socket:
    """Connect to the first of some addresses that answers.

    Args:
        addresses: In the order in which they are tried; each has a moment for itself.
        seconds: For all of them together; None for no limit.
        cancel: Ends the wait.

    Raises:
        OSError: None answered; TimeoutError when none did in time.
        Cancelled: The run was cancelled.
    """
    race = _Race(addresses, cancel)
    try:
        return race.run(None if seconds is None else time.monotonic() + seconds)
    finally:
        race.close()


class _Race:
    """Some connections in the making, of which one is wanted."""

    def __init__(self, addresses: Sequence[Address], cancel: Cancellation) -> None:
        self._waiting = deque(addresses)
        self._trying: set[socket.socket] = set()
        self._selector = _Selector()
        self._cancel = cancel
        self._error: OSError = OSError("no address")

    def run(self, until: float | None) -> socket.socket:
        """See :func:`connect`."""
        due = time.monotonic()
        while self._waiting or self._trying:
            self._cancel.check()
            now = time.monotonic()
            if until is not None and now >= until:
                raise TimeoutError("no connection in time")
            if self._waiting and (now >= due or not self._trying):
                self._begin(self._waiting.popleft())
                due = now + STAGGER_SECONDS
                continue
            if (winner := self._wait(now, due, until)) is not None:
                return winner
        self._cancel.check()
        raise self._error

    def _begin(self, address: Address) -> None:
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as error:  # a family that this machine has not got
            self._error = error
            return
        sock.setblocking(False)
        self._trying.add(sock)
        self._selector.register(sock, selectors.EVENT_WRITE)
        try:
            sock.connect(address.sockaddr)
        except BlockingIOError:
            self._cancel.register(sock)
        except OSError as error:
            self._lose(sock, error)

    def _wait(self, now: float, due: float, until: float | None) -> socket.socket | None:
        """Wait for a connection to be made or refused, or for the next one to be begun."""
        ends = [end for end in (due if self._waiting else None, until) if end is not None]
        for key, _ in self._selector.select(max(0.0, min(ends) - now) if ends else None):
            sock = key.fileobj
            assert isinstance(sock, socket.socket), "nothing else was registered"
            if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._lose(sock, OSError(code, os.strerror(code)))
                continue
            self._cancel.check()  # what was woken may look as if it had been connected
            self._forget(sock)
            return sock
        return None

    def _lose(self, sock: socket.socket, error: OSError) -> None:
        self._error = error
        self._forget(sock)
        sock.close()

    def _forget(self, sock: socket.socket) -> None:
        self._trying.discard(sock)
        with suppress(KeyError):
            self._selector.unregister(sock)

    def close(self) -> None:
        """Give up all that have not won."""
        for sock in self._trying:
            sock.close()
        self._selector.close()

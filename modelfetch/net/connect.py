"""Resolves hosts and connects to the first of their addresses that answers.

Addresses are tried in parallel with a short stagger (RFC 8305, "Happy Eyeballs"), not one after the other for
the whole timeout each. The address family that answered is tried first from then on, so that a broken family
costs a quarter of a second once per run. Addresses that must not be connected to are refused here, between
look-up and connection, so that no second look-up can return another address (DNS rebinding).
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

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.urls import is_localhost, is_public

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation

Resolver = Callable[..., Sequence[tuple[int, int, int, str, Any]]]
"""``socket.getaddrinfo``, or a stand-in for it in tests."""

STAGGER_SECONDS: Final = 0.25
"""Delay after which the next address is tried in parallel (RFC 8305, section 5)."""
_Selector: Final = getattr(selectors, "PollSelector", selectors.DefaultSelector)
"""poll(2) where it exists: unlike epoll it needs no descriptor of its own, and only one system call."""
_LOOPBACK: Final = ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
"""The addresses of ``localhost``, in the order of RFC 6724."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address to connect to."""

    family: int
    """``socket.AF_INET`` or ``AF_INET6``."""
    sockaddr: Any
    """What ``socket.connect`` takes."""


class Families:
    """Remembers per host which address family answered last. May be used by several threads."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def remember(self, host: str, family: int) -> None:
        """Store that an address of this family answered."""
        self._last[host] = family

    def ordered(self, host: str, addresses: Sequence[Address]) -> list[Address]:
        """Alternate between the families (RFC 8305, section 4), starting with the one that answered last."""
        if not addresses:
            return []
        first = self._last.get(host, addresses[0].family)
        preferred = [address for address in addresses if address.family == first]
        others = [address for address in addresses if address.family != first]
        return [each for each in chain(*zip_longest(preferred, others)) if each is not None]


class Addresses:
    """Resolves hosts to addresses.

    Args:
        families: Which address families answered in this run.
        public_only: Whether addresses outside the public internet are refused. They are checked here and not
            before the request, because the name might resolve to another address at the next look-up (DNS
            rebinding).
        resolver: None for ``socket.getaddrinfo``.
    """

    def __init__(self, families: Families, *, public_only: bool, resolver: Resolver | None = None) -> None:
        self._resolver = resolver or _getaddrinfo
        self._families = families
        self._public_only = public_only

    def resolve(self, host: str, port: int) -> list[Address]:
        """Resolve a host.

        Raises:
            OSError: It has no address.
            SourceError: ``public_only`` is set and one of its addresses is not public.
        """
        if tracing.active is None:
            found = self._look_up_all(host, port)
        else:
            from modelfetch.net.exchange_trace import look_up

            found = look_up(tracing.active, host, port, lambda: self._look_up_all(host, port))
        # One private address among public ones is enough to refuse: connecting would try all of them.
        if self._public_only and not all(is_public(str(address.sockaddr[0])) for address in found):
            raise SourceError(Fault.REDIRECT, "leads into a private network")
        return self._families.ordered(host, found)

    def _look_up_all(self, host: str, port: int) -> list[Address]:
        if is_localhost(host):  # RFC 6761, 6.3: always loopback, and not sent to DNS servers
            return [Address(family, (address, port)) for family, address in _LOOPBACK]
        found = self._resolver(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))

    def remember_family(self, host: str, family: int) -> None:
        """Remember which family answered for ``host``."""
        self._families.remember(host, family)


def _getaddrinfo(host: str, port: int, **how: Any) -> Sequence[tuple[int, int, int, str, Any]]:
    # As bytes, because for text the codec for international names is loaded (3 ms).
    return socket.getaddrinfo(host.encode() if host.isascii() else host, port, **how)


def connect(addresses: Sequence[Address], seconds: float | None, cancel: Cancellation) -> socket.socket:
    """Connect to the first of some addresses that answers; see :func:`_connect`."""
    if tracing.active is None:
        return _connect(addresses, seconds, cancel)
    from modelfetch.net.exchange_trace import connecting

    return connecting(tracing.active, lambda: _connect(addresses, seconds, cancel))


def _connect(addresses: Sequence[Address], seconds: float | None, cancel: Cancellation) -> socket.socket:
    """Connect to the first of some addresses that answers.

    Args:
        addresses: In the order in which they are tried, :data:`STAGGER_SECONDS` apart.
        seconds: Limit for all of them together; None for no limit.
        cancel: Wakes the wait when the run is cancelled.

    Raises:
        OSError: Every address failed; the error is that of the last one. TimeoutError if no time is left.
        Cancelled: The run was cancelled.
    """
    race = _Race(addresses, cancel)
    try:
        return race.run(None if seconds is None else time.monotonic() + seconds)
    finally:
        race.close()


def connect_to(
    addresses: Addresses, host: str, port: int, seconds: float | None, cancel: Cancellation
) -> socket.socket:
    """Resolve a host, and connect to the first of its addresses that answers.

    The socket wakes when the run is cancelled, and sends small requests at once.

    Raises:
        OSError: There is no connection; TimeoutError if no time is left.
        SourceError: The host has an address that must not be connected to.
        Cancelled: The run was cancelled.
    """
    sock = connect(addresses.resolve(host, port), seconds, cancel)
    try:
        cancel.register(sock)
        # Requests are small and sent at once: waiting for more data (Nagle) would only delay them.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:  # it was reset at once
        sock.close()
        raise
    addresses.remember_family(host, sock.family)
    return sock


class _Race:
    """Connection attempts that run in parallel until one succeeds."""

    def __init__(self, addresses: Sequence[Address], cancel: Cancellation) -> None:
        self._waiting = deque(addresses)
        self._trying: set[socket.socket] = set()
        self._selector = _Selector()
        self._cancel = cancel
        self._error: OSError = OSError("no address")

    def run(self, until: float | None) -> socket.socket:
        """Run the attempts; see :func:`connect`."""
        due = time.monotonic()
        while self._waiting or self._trying:
            self._cancel.raise_if_cancelled()
            now = time.monotonic()
            if until is not None and now >= until:
                raise TimeoutError("no connection in time")
            if self._waiting and (now >= due or not self._trying):
                self._start(self._waiting.popleft())
                due = now + STAGGER_SECONDS
                continue
            if (winner := self._wait(now, due, until)) is not None:
                return winner
        self._cancel.raise_if_cancelled()
        raise self._error

    def _start(self, address: Address) -> None:
        """Start a non-blocking connect; its result is seen by :meth:`_wait`."""
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as error:  # this machine does not support the address family
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
            self._fail(sock, error)

    def _wait(self, now: float, due: float, until: float | None) -> socket.socket | None:
        """Wait until an attempt succeeds or fails, or until the next one is due."""
        ends = [end for end in (due if self._waiting else None, until) if end is not None]
        for key, _ in self._selector.select(max(0.0, min(ends) - now) if ends else None):
            sock = key.fileobj
            assert isinstance(sock, socket.socket), "nothing else was registered"
            if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._fail(sock, OSError(code, os.strerror(code)))
                continue
            # A socket that cancel() shut down is writable too, as if it were connected.
            self._cancel.raise_if_cancelled()
            self._forget(sock)
            return sock
        return None

    def _fail(self, sock: socket.socket, error: OSError) -> None:
        self._error = error
        self._forget(sock)
        sock.close()

    def _forget(self, sock: socket.socket) -> None:
        self._trying.discard(sock)
        with suppress(KeyError):
            self._selector.unregister(sock)

    def close(self) -> None:
        """Close all attempts that did not succeed."""
        for sock in self._trying:
            sock.close()
        self._selector.close()

"""Finds peers in the local network (multicast DNS, extra ``lan``).

The service is ``_modelfetch._tcp.local.`` (RFC 6762, RFC 6763). An announcement states where a server
listens and which cache it shares, and nothing of what is in there::

    modelfetch-3f9a0c11d2e4b7a6._modelfetch._tcp.local.
        SRV  8765 modelfetch-3f9a0c11d2e4b7a6.local.
        TXT  v=1 id=3f9a0c11d2e4b7a6
        A    192.168.1.20

:mod:`modelfetch.net.mdns_records` decides which announcements are used, and
:mod:`modelfetch.net.mdns_announcement` makes those of this machine.
"""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from modelfetch.net.mdns_records import MOST_PEERS, FoundPeer, distinct, peer_of, usable_networks
from modelfetch.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeroconf import ServiceInfo, Zeroconf

    from modelfetch.net.mdns_records import Interface

SERVICE: Final = "_modelfetch._tcp.local."

WINDOW_SECONDS: Final = 0.8
"""Most seconds for which answers are collected. The question is sent after 20 to 120 ms (RFC 6762, 5.2), and
the answers come after up to 120 ms more (section 6), from busy machines some hundred later."""
LEAST_SECONDS: Final = 0.35
"""The least of these seconds."""
AGAIN_SECONDS: Final = 0.15
"""Seconds after which the question is asked again: wireless networks lose many multicast packets."""
QUIET_SECONDS: Final = 0.2
"""Seconds without a further answer after which the rest of the window is not waited for."""
FRESH_SECONDS: Final = 60.0
"""Seconds for which the result is used by other runs of this process."""
MISSING: Final = "lan.enabled is set, but the package zeroconf is missing: pip install 'modelfetch[lan]'"
"""The warning for a user who has turned on multicast DNS without its package."""


class MdnsMissing(ImportError):  # noqa: N818 - says what is missing
    """The package that multicast DNS needs is not installed."""


class RecentPeers:
    """The peers that this process has found, used by all of its runs. Thread-safe.

    Args:
        search: Finds the peers.
        clock: Monotonic seconds.
    """

    def __init__(
        self, search: Callable[[], Sequence[FoundPeer]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._search = search
        self._clock = clock
        self._lock = threading.Lock()
        """Held during a search: runs that start at the same time share one."""
        self._found: Sequence[FoundPeer] = ()
        self._at = float("-inf")

    def peers(self) -> Sequence[FoundPeer]:
        """Return the peers, after a search if the last one is too old.

        Raises:
            MdnsMissing: The package is not installed.
        """
        with self._lock:
            if self._clock() - self._at >= FRESH_SECONDS:
                self._found = self._search()
                self._at = self._clock()
            return self._found


def search(seconds: float = WINDOW_SECONDS) -> Sequence[FoundPeer]:
    """Ask the network for peers, once.

    Args:
        seconds: Most seconds to wait for answers.

    Returns:
        At most :data:`MOST_PEERS`; none if this machine has no network.

    Raises:
        MdnsMissing: The package is not installed.
    """
    zeroconf = zeroconf_package()
    names: queue.SimpleQueue[tuple[str, Zeroconf]] = queue.SimpleQueue()

    def note(name: str, zeroconf: Zeroconf, **_: object) -> None:
        names.put((name, zeroconf))

    with ExitStack() as opened:
        engines = _engines(zeroconf, opened)
        until, least = time.monotonic() + seconds, time.monotonic() + min(seconds, LEAST_SECONDS)
        for delay in (0.0, AGAIN_SECONDS):
            for engine, kind in engines:
                browser = partial(zeroconf.ServiceBrowser, engine, SERVICE, [note], question_type=kind)
                _ask_later(delay, browser)
        services = []
        for name, engine in _arriving(names, until, least):
            with suppress(Exception):  # a name that zeroconf refuses must not hide the others
                services.append(_Service(zeroconf.ServiceInfo(SERVICE, name), engine, until))
        networks = usable_networks(interfaces())
        peers = [peer for service in services if (peer := service.peer(networks)) is not None]
        return distinct(peers)


def _engines(zeroconf: Any, opened: ExitStack) -> list[tuple[Zeroconf, Any]]:
    """Open the two ways of asking, each with its type of question; none if this machine has no network.

    The stack closes them, also the first one if the second one fails.

    From a port of its own (RFC 6762, 6.7) the answers come at once, and by unicast. From port 5353 they are
    multicast: later, and not within a second of an earlier answer, but also through a firewall that knows
    only that port. Unicast to port 5353 is of no use: where several programs have that port, such as a server
    of this machine, only one of them gets it (section 15.1). The questions of the first kind ask for unicast
    all the same (QU), because zeroconf ignores an equal question of another machine within a second else.
    """
    engines = []
    kinds = zeroconf.DNSQuestionType
    for has_own_port in (True, False):
        with suppress(OSError):  # no interface that can send to a multicast address
            engine = zeroconf.Zeroconf(ip_version=zeroconf.IPVersion.All, unicast=has_own_port)
            opened.callback(_close, engine)
            engines.append((engine, kinds.QU if has_own_port else kinds.QM))
    return engines


def _close(engine: Zeroconf) -> None:
    """Close in the background: it joins its threads, so it takes a while."""
    if start(engine.close, "modelfetch-mdns") is None:
        engine.close()


def _ask_later(delay: float, ask: Callable[[], object]) -> None:
    """Ask after some seconds, in the background."""

    def work() -> None:
        with suppress(Exception):  # the search is over, and its engine closed
            ask()

    if not delay:
        work()
        return
    timer = threading.Timer(delay, work)
    timer.daemon = True
    with suppress(RuntimeError):  # no more threads: then it is asked once
        timer.start()


_RECENT: Final = RecentPeers(search)


def browse() -> Sequence[FoundPeer]:
    """Return the peers in the local network; asks at most once a minute.

    Raises:
        MdnsMissing: The package is not installed.
    """
    return _RECENT.peers()


def _arriving(
    names: queue.SimpleQueue[tuple[str, Zeroconf]], until: float, least: float
) -> Iterator[tuple[str, Zeroconf]]:
    """Yield the names of services as they arrive, each once, until the window ends."""
    seen: set[str] = set()
    last = time.monotonic()
    while len(seen) < MOST_PEERS:
        now = time.monotonic()
        end = min(until, max(least, last + QUIET_SECONDS))
        if now >= end:
            return
        try:
            name, engine = names.get(timeout=end - now)
        except queue.Empty:
            continue
        if name not in seen and name.endswith(SERVICE):
            seen.add(name)
            last = time.monotonic()
            yield name, engine


class _Service:
    """One service whose name was announced.

    Args:
        info: Is filled in.
        engine: Its memory mostly has the addresses already: they come with the name.
        until: When to stop waiting for them, in monotonic seconds.
    """

    def __init__(self, info: ServiceInfo, engine: Zeroconf, until: float) -> None:
        self._info = info
        self._until = until
        self._thread: threading.Thread | None = None
        if not info.load_from_cache(engine):
            # In a thread: one that does not answer must not use up the time of the others.
            self._thread = start(lambda: self._request(engine), "modelfetch-mdns")

    def _request(self, engine: Zeroconf) -> None:
        with suppress(Exception):  # the search is over, and the engine closed
            self._info.request(engine, max(1.0, 1000 * (self._until - time.monotonic())))

    def peer(self, networks: Sequence[Interface]) -> FoundPeer | None:
        """Return where it is, if that is known in time and may be used."""
        if self._thread is not None:
            self._thread.join(max(0.0, self._until - time.monotonic()))
        info = self._info
        return peer_of(info.port, info.properties, info.parsed_addresses(), networks)


def zeroconf_package() -> Any:
    """Import the package.

    Raises:
        MdnsMissing: It is not installed.
    """
    try:
        import zeroconf
    except ImportError as error:
        raise MdnsMissing(MISSING) from error
    return zeroconf


def is_installed() -> bool:
    """Return whether the package that multicast DNS needs is installed; it is not imported."""
    from importlib.util import find_spec

    return find_spec("zeroconf") is not None


def interfaces() -> list[tuple[str, int]]:
    """Return the addresses of this machine, with the lengths of their prefixes.

    Raises:
        OSError: The system does not tell them, as in a sandbox without netlink sockets.
    """
    import ifaddr

    try:
        adapters = list(ifaddr.get_adapters())
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        if error.errno == errno.EAFNOSUPPORT:
            why += "; a service of systemd needs AF_NETLINK in RestrictAddressFamilies"
        raise OSError(f"the addresses of this machine cannot be listed: {why}") from error
    return [
        (each.ip if isinstance(each.ip, str) else each.ip[0], each.network_prefix)
        for adapter in adapters
        for each in adapter.ips
    ]

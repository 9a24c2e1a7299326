"""The search for peers and the announcement of a server, in a network of which only the packages are fakes.

Real multicast would leave this machine; ``tests/campaign/lan.py`` tests that in network namespaces.
"""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from modelfetch.net import mdns, mdns_announcement
from modelfetch.net.mdns import SERVICE, MdnsMissing, RecentPeers, search
from modelfetch.net.mdns_announcement import Announcement
from modelfetch.net.mdns_records import FoundPeer, usable_networks
from tests.patience import IN_TIME

ID = "3f9a0c11d2e4b7a6"
OWN = "192.0.2.10"


@dataclass
class Service:
    """One announced service."""

    name: str
    address: str
    port: int = 8765
    properties: dict[bytes, bytes] = field(default_factory=lambda: {b"v": b"1", b"id": ID.encode()})
    is_cached: bool = True
    """Whether its addresses come with its name; otherwise they have to be requested."""
    answers: bool = True


class Lan:
    """The services of a network, and what was done in it."""

    def __init__(self) -> None:
        self.services: list[Service] = []
        self.registered: list[Any] = []
        self.engines: list[Any] = []
        self.closed = threading.Semaphore(0)
        self.is_down = False
        self.refuses_names = False
        self.closes_early = False
        self.adapters: list[tuple[Any, int]] = [(OWN, 24), ("127.0.0.1", 8), (("2001:db8::10", 0, 0), 64)]


def packages(lan: Lan) -> dict[str, ModuleType]:
    """Fakes of zeroconf and ifaddr, with as much as is used of them."""

    class Zeroconf:
        def __init__(self, **options: object) -> None:
            if lan.is_down:
                raise OSError("no such device")
            self.options = options
            lan.engines.append(self)

        def register_service(self, info: Any, *, allow_name_change: bool) -> None:
            assert allow_name_change
            if lan.refuses_names:
                raise ValueError("a name is not unique")
            lan.registered.append(info)

        def close(self) -> None:
            lan.closed.release()

    class ServiceInfo:
        def __init__(self, kind: str, name: str, **facts: Any) -> None:
            if not name.endswith(f".{SERVICE}"):
                raise ValueError("not a name of a service of this kind")
            self.kind, self.name, self.facts = kind, name, facts
            self.port: int | None = facts.get("port")
            self.properties: dict[bytes, bytes] = {}
            self._addresses: list[str] = []

        def load_from_cache(self, _engine: Zeroconf) -> bool:
            return self._service.is_cached and self._fill()

        def request(self, _engine: Zeroconf, _milliseconds: float) -> bool:
            if lan.closes_early:
                raise RuntimeError("the engine is closed")
            return self._service.answers and self._fill()

        def parsed_addresses(self) -> list[str]:
            return self._addresses

        @property
        def _service(self) -> Service:
            return next(each for each in lan.services if each.name == self.name)

        def _fill(self) -> bool:
            found = self._service
            self.port, self.properties, self._addresses = found.port, found.properties, [found.address]
            return True

    def browse(engine: Zeroconf, kind: str, handlers: Sequence[Callable[..., None]], **_: object) -> None:
        for each in lan.services:
            for handler in handlers:
                handler(zeroconf=engine, service_type=kind, name=each.name, state_change=None)

    zeroconf, ifaddr = ModuleType("zeroconf"), ModuleType("ifaddr")
    zeroconf.__dict__.update(
        Zeroconf=Zeroconf,
        ServiceInfo=ServiceInfo,
        ServiceBrowser=browse,
        IPVersion=SimpleNamespace(All="all"),
        DNSQuestionType=SimpleNamespace(QU="QU", QM="QM"),
    )

    def get_adapters() -> list[SimpleNamespace]:
        ips = [SimpleNamespace(ip=ip, network_prefix=prefix) for ip, prefix in lan.adapters]
        return [SimpleNamespace(ips=ips)]

    ifaddr.__dict__.update(get_adapters=get_adapters)
    return {"zeroconf": zeroconf, "ifaddr": ifaddr}


@pytest.fixture
def lan(monkeypatch: pytest.MonkeyPatch) -> Lan:
    made = Lan()
    for name, module in packages(made).items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def service(name: str, address: str, instance: str = ID, **facts: Any) -> Service:
    properties = {b"v": b"1", b"id": instance.encode()}
    return Service(f"{name}.{SERVICE}", address, properties=properties, **facts)


# Searching


def test_peers_are_found_with_their_addresses(lan: Lan) -> None:
    lan.services = [service("a", "192.0.2.20"), service("b", "2001:db8::20", "0" * 16, is_cached=False)]
    assert sorted(search(IN_TIME)) == [
        FoundPeer("http://192.0.2.20:8765", ID),
        FoundPeer("http://[2001:db8::20]:8765", "0" * 16),
    ]


def test_it_asks_from_a_port_of_its_own_and_from_that_of_the_protocol(lan: Lan) -> None:
    search(0.1)
    assert [engine.options["unicast"] for engine in lan.engines] == [True, False]
    for _ in lan.engines:
        assert lan.closed.acquire(timeout=60), "each engine is closed"


@pytest.mark.parametrize(
    "unusable",
    [
        service("far", "198.51.100.7"),
        service("own", OWN),
        service("silent", "192.0.2.20", is_cached=False, answers=False),
        service("port", "192.0.2.20", port=22),
        Service("other._http._tcp.local.", "192.0.2.20"),
    ],
    ids=lambda each: each.name,
)
def test_what_cannot_be_a_peer_is_left_out(lan: Lan, unusable: Service) -> None:
    lan.services = [unusable]
    assert not search(0.1)


def test_a_machine_without_a_network_finds_nothing(lan: Lan) -> None:
    lan.is_down = True
    assert not search(0.1)


def test_a_search_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(MdnsMissing, match="pip install"):
        search()


def test_a_second_search_within_a_minute_asks_nothing() -> None:
    now, searches = [0.0], []

    def find() -> Sequence[FoundPeer]:
        searches.append(now[0])
        return [FoundPeer("http://192.0.2.20:8765", ID)]

    recent = RecentPeers(find, lambda: now[0])
    for now[0] in (1.0, 30.0, 60.9, 61.0):
        assert len(recent.peers()) == 1
    assert searches == [1.0, 61.0]


# Announcing


def test_a_server_is_announced_with_its_addresses_and_nothing_of_what_it_has(lan: Lan) -> None:
    announcement = Announcement(8765, ID, "::")
    announcement.announce()
    [info] = lan.registered
    assert (info.kind, info.name) == (SERVICE, f"modelfetch-{ID}.{SERVICE}")
    assert info.facts == {
        "port": 8765,
        "properties": {"v": "1", "id": ID},
        "server": f"modelfetch-{ID}.local.",
        "parsed_addresses": [OWN, "2001:db8::10"],
    }
    announcement.close()
    announcement.close()  # without effect
    assert lan.closed.acquire(blocking=False)
    assert not lan.closed.acquire(blocking=False)


def test_a_server_that_ends_before_it_is_announced_is_not(lan: Lan) -> None:
    announcement = Announcement(8765, ID, OWN)
    announcement.close()
    announcement.announce()
    assert not lan.registered
    assert lan.closed.acquire(blocking=False)


def reported(announcement: Announcement) -> str:
    """Start to announce a server, and return the line about its failure."""
    lines: list[str] = []
    said = threading.Event()

    def report(line: str) -> None:
        lines.append(line)
        said.set()

    announcement.start(report)
    assert said.wait(60)
    return lines[0]


def test_a_server_that_cannot_be_announced_says_why(lan: Lan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reported(Announcement(8765, ID, "127.0.0.1")).endswith(": no address in a local network")
    # Announced, it would be ignored by all others: see `is_usable_port`.
    assert reported(Announcement(81, ID, OWN)).endswith(
        ": no machine uses an announcement of port 81; choose another --port, such as 8765, or name this"
        " server in sources.peers of the others"
    )
    assert not lan.registered
    lan.adapters = [(("2001:db8::10", 0, 0), 64)]
    assert reported(Announcement(8765, ID, "0.0.0.0")).endswith(
        ": it listens on IPv4 only, and this machine has only IPv6 in a local network; --host :: changes that"
    )
    lan.refuses_names = True
    assert reported(Announcement(8765, ID, OWN)).endswith(": a name is not unique")
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    assert reported(Announcement(8765, ID, OWN)) == mdns.MISSING


@pytest.mark.parametrize(
    ("bound", "addresses"),
    [
        ("0.0.0.0", [OWN]),
        ("::", [OWN, "2001:db8::10"]),
        (OWN, [OWN]),
        ("127.0.0.1", []),
        ("fe80::1%eth0", []),
        ("not an address", []),
    ],
)
def test_the_announced_addresses_follow_from_what_it_listens_on(
    lan: Lan, bound: str, addresses: Sequence[str]
) -> None:
    networks = usable_networks(mdns.interfaces())
    assert mdns_announcement.announced_addresses(bound, networks) == addresses


def test_a_name_that_the_package_refuses_hides_no_peer(lan: Lan) -> None:
    lan.services = [Service(f"no-service{SERVICE}", "192.0.2.21"), service("a", "192.0.2.20")]
    assert search(2.0) == (FoundPeer("http://192.0.2.20:8765", ID),)


@pytest.mark.parametrize("name", [f"no-service{SERVICE}", f"\x01.{SERVICE}", f"{'a' * 64}.{SERVICE}"])
def test_such_names_exist(name: str) -> None:
    zeroconf = pytest.importorskip("zeroconf")
    with pytest.raises(zeroconf.BadTypeInNameException):
        zeroconf.ServiceInfo(SERVICE, name)


def test_a_request_that_the_end_of_the_search_cuts_is_no_error(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    lan.services, lan.closes_early = [service("a", "192.0.2.20", is_cached=False)], True
    assert not search(0.1)
    assert not errors


def test_without_threads_the_engines_are_closed_all_the_same(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    lan.services = [service("a", "192.0.2.20")]
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert search(0.1) == (FoundPeer("http://192.0.2.20:8765", ID),)
    for _ in lan.engines:
        assert lan.closed.acquire(blocking=False)


def test_a_server_without_a_thread_for_its_announcement_says_so(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert reported(Announcement(8765, ID, OWN)).endswith(": the system allows this process no more threads")


def test_a_sandbox_without_netlink_is_told_what_it_needs(lan: Lan, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(sys.modules["ifaddr"], "get_adapters", refuse)
    line = reported(Announcement(8765, ID, OWN))
    assert "cannot be listed: address family not supported by protocol" in line
    assert "AF_NETLINK" in line

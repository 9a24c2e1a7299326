"""Resolving and connecting: one look-up, every address checked, no waiting for a broken address family."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import httpcore
import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.errors import Fault, SourceError
from modelfetch.net.connect import Address, Addresses, Families, connect
from modelfetch.net.httpcore_backend import Backend
from tests.origin import Origin, refusing_port
from tests.patience import IN_TIME

V4, V6 = socket.AF_INET, socket.AF_INET6
PUBLIC, PRIVATE = "93.184.216.34", "127.0.0.1"


class Resolver:
    """Returns the next answer at each look-up, like a name that is rebound."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.asked: list[str] = []
        self._answers = iter(answers)

    def __call__(self, host: str, port: int, **_how: Any) -> list[tuple[int, int, int, str, Any]]:
        self.asked.append(host)
        return [
            (V6 if ":" in address else V4, socket.SOCK_STREAM, 0, "", (address, port))
            for address in next(self._answers)
        ]


def address(port: int, host: str = "127.0.0.1") -> Address:
    return Address(V4, (host, port))


@pytest.fixture
def silent() -> Iterator[int]:
    """A port with a full queue: connections are neither accepted nor refused, as in a dead network."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        socket.socket() as first,
        socket.socket() as second,
    ):
        for sock in (first, second):
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(server.getsockname())
        yield server.getsockname()[1]


# Which addresses


def test_a_name_is_looked_up_once_and_what_was_found_is_connected_to(origin: Origin) -> None:
    resolver = Resolver((PRIVATE,))
    backend = Backend(Addresses(Families(), public_only=False, resolver=resolver), Cancellation())
    with closing(backend.connect_tcp("cdn.example", origin.port, IN_TIME)) as stream:
        assert stream.get_extra_info("server_addr") == (PRIVATE, origin.port)
    assert resolver.asked == ["cdn.example"]


@pytest.mark.parametrize(
    "answer", [(PRIVATE,), (PUBLIC, PRIVATE), ("10.0.0.1",), ("::1",), ("::ffff:10.0.0.1",), ("fd00::1",)]
)
def test_a_name_with_a_private_address_is_not_connected_to(origin: Origin, answer: tuple[str, ...]) -> None:
    """No connection is made, and no second look-up, which might return another address."""
    resolver = Resolver(answer, (PUBLIC,))
    backend = Backend(Addresses(Families(), public_only=True, resolver=resolver), Cancellation())
    with pytest.raises(SourceError) as caught:
        backend.connect_tcp("rebound.example", origin.port, IN_TIME)
    assert caught.value.fault is Fault.REDIRECT
    assert "private network" in caught.value.message
    assert resolver.asked == ["rebound.example"]
    assert origin.connections == 0


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "x.localhost", "bafy.ipfs.localhost", "a.b.localhost."]
)
def test_names_below_localhost_are_loopback_whatever_the_resolver_knows(origin: Origin, host: str) -> None:
    resolver = Resolver()
    free = Addresses(Families(), public_only=False, resolver=resolver)
    with closing(Backend(free, Cancellation()).connect_tcp(host, origin.port, IN_TIME)) as stream:
        assert stream.get_extra_info("server_addr")[1] == origin.port
    with pytest.raises(SourceError):
        Addresses(Families(), public_only=True, resolver=resolver).resolve(host, origin.port)
    assert resolver.asked == []


def test_public_addresses_may_be_connected_to() -> None:
    resolver = Resolver((PUBLIC, "2606:4700::1"))
    found = Addresses(Families(), public_only=True, resolver=resolver).resolve("cdn.example", 443)
    assert [each.sockaddr[0] for each in found] == [PUBLIC, "2606:4700::1"]


# In which order

MIXED = [Address(V6, "a"), Address(V6, "b"), Address(V4, "c"), Address(V6, "d"), Address(V4, "e")]


def order(families: Families, host: str) -> str:
    return "".join(each.sockaddr for each in families.ordered(host, MIXED))


def test_families_take_turns_and_the_one_that_answered_comes_first() -> None:
    families = Families()
    assert order(families, "h") == "acbed"
    families.remember("h", V4)
    assert order(families, "h") == "caebd"
    assert order(families, "other") == "acbed"
    assert families.ordered("h", []) == []


def test_a_dead_family_is_paid_for_once_a_run(origin: Origin) -> None:
    """The first address is of a family without a server; afterwards the other family comes first."""
    families = Families()
    resolver = Resolver(*[("::1", "127.0.0.1")] * 2)
    addresses = Addresses(families, public_only=False, resolver=resolver)
    with closing(Backend(addresses, Cancellation()).connect_tcp("h.example", origin.port, IN_TIME)) as stream:
        assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
    assert [each.family for each in addresses.resolve("h.example", origin.port)] == [V4, V6]


# Parallel attempts


def test_an_address_that_does_not_answer_holds_up_the_next_for_a_moment(origin: Origin, silent: int) -> None:
    with connect([address(silent), address(origin.port)], 60.0, Cancellation()) as sock:
        assert sock.getpeername()[1] == origin.port


def test_a_refused_address_makes_way_at_once(origin: Origin) -> None:
    with (
        refusing_port() as port,
        connect([address(port), address(origin.port)], IN_TIME, Cancellation()) as sock,
    ):
        assert sock.getpeername()[1] == origin.port


def test_the_last_refusal_is_raised() -> None:
    with refusing_port() as port, pytest.raises(ConnectionRefusedError):
        connect([address(port)], IN_TIME, Cancellation())


def test_a_family_that_is_not_there_is_passed_over(origin: Origin) -> None:
    with connect([Address(9999, ()), address(origin.port)], IN_TIME, Cancellation()) as sock:
        assert sock.getpeername()[1] == origin.port


def test_no_address_at_all() -> None:
    with pytest.raises(OSError, match="no address"):
        connect([], IN_TIME, Cancellation())


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_all_addresses_together_have_one_limit(silent: int, seconds: float) -> None:
    backend = Backend(Addresses(Families(), public_only=False), Cancellation())
    with pytest.raises(httpcore.ConnectTimeout):
        backend.connect_tcp("127.0.0.1", silent, seconds)


def test_cancelling_wakes_a_connect(silent: int) -> None:
    cancel = Cancellation()
    timer = threading.Timer(0.05, cancel.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        connect([address(silent)], 60.0, cancel)
    timer.join()

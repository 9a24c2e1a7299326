"""Redirects from the public internet to names that lead into a private network.

The tests run on loopback, so they declare which loopback address counts as public. A name may lead elsewhere
at its second look-up (DNS rebinding). What decides is the address of the connection, not the name in the URL
and not another look-up.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.net.connect import Addresses
from tests.net.asking import FILE, PATIENT, get
from tests.origin import Origin, faults

OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"


class Resolver:
    """Answers each look-up of a name with the next of its answers, the last one for ever."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, list[list[str]]] = {}

    def __call__(self, host: str, port: int, **_how: Any) -> list[tuple[int, int, int, str, Any]]:
        self.asked.append(host)
        answers = self.answers[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in addresses]


@pytest.fixture
def public() -> set[str]:
    """The addresses that count as public."""
    return {OUTSIDE}


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch, public: set[str]) -> Resolver:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    resolver = Resolver()
    addresses = partial(Addresses, resolver=resolver)
    for module in ("session", "httpx_client"):
        monkeypatch.setattr(f"modelfetch.net.{module}.Addresses", addresses)
    monkeypatch.setattr("modelfetch.net.session.is_public", public.__contains__)
    monkeypatch.setattr("modelfetch.net.connect.is_public", public.__contains__)
    return resolver


@pytest.fixture
def fresh(resolver: Resolver) -> Iterator[Client]:
    client = Client(PATIENT, Cancellation())
    yield client
    client.close()


@pytest.fixture
def inside(origin: Origin) -> Iterator[socket.socket]:
    """The port of the origin, at the private address: nothing may connect to it."""
    with socket.create_server((INSIDE, origin.port)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


def url_of(name: str, origin: Origin) -> str:
    return f"http://{name}:{origin.port}/files/big.bin"


@pytest.mark.usefixtures("inside")
def test_a_public_server_cannot_send_us_to_a_name_with_a_private_address(
    fresh: Client, resolver: Resolver, origin: Origin
) -> None:
    resolver.answers = {"public.example": [[OUTSIDE]], "inside.example": [[INSIDE]]}
    origin.fault("*", faults.redirect(url_of("inside.example", origin)))
    error = get(fresh, url_of("public.example", origin)).failure
    assert error.fault is Fault.REDIRECT
    assert "private network" in error.message
    assert len(origin.requests) == 1


def test_a_public_server_may_send_us_to_a_public_name(
    fresh: Client, resolver: Resolver, origin: Origin
) -> None:
    resolver.answers = {"public.example": [[OUTSIDE]], "cdn.example": [[OUTSIDE]]}
    origin.fault("*", faults.redirect(url_of("cdn.example", origin)), times=1)
    assert get(fresh, url_of("public.example", origin)).data == FILE


@pytest.mark.usefixtures("inside")
def test_a_name_that_is_rebound_after_its_first_look_up_cannot_send_us_inside(
    fresh: Client, resolver: Resolver, origin: Origin
) -> None:
    """The redirect leads to the name it came from; the connection for it is new and looked up anew."""
    resolver.answers = {"rebound.example": [[OUTSIDE], [INSIDE]]}
    origin.fault("*", faults.redirect(url_of("rebound.example", origin)))
    assert get(fresh, url_of("rebound.example", origin)).failure.fault is Fault.REDIRECT
    assert resolver.asked == ["rebound.example"] * 2
    assert len(origin.requests) == 1


def test_where_a_redirect_came_from_is_judged_by_the_address_that_answered(
    fresh: Client, resolver: Resolver, origin: Origin
) -> None:
    """The name has a private address too, the first one looked up, but nothing listens there."""
    resolver.answers = {"both.example": [[INSIDE, OUTSIDE]], "inside.example": [[INSIDE]]}
    origin.fault("*", faults.redirect(url_of("inside.example", origin)))
    assert get(fresh, url_of("both.example", origin)).failure.fault is Fault.REDIRECT
    assert len(origin.requests) == 1


def test_a_private_server_may_redirect_to_another_whatever_their_names_say(
    fresh: Client, resolver: Resolver, origin: Origin, public: set[str]
) -> None:
    public.clear()
    resolver.answers = {"nas.example": [[OUTSIDE]], "store.example": [[OUTSIDE]]}
    origin.fault("*", faults.redirect(url_of("store.example", origin)), times=1)
    assert get(fresh, url_of("nas.example", origin)).data == FILE


@pytest.mark.usefixtures("inside")
def test_a_client_of_a_server_cannot_name_a_private_address(resolver: Resolver, origin: Origin) -> None:
    resolver.answers = {"inside.example": [[INSIDE]], "public.example": [[OUTSIDE]]}
    origin.fault("*", faults.redirect(url_of("inside.example", origin)))
    client = Client(PATIENT, Cancellation(), may_be_private=())
    for name in ("inside.example", "public.example"):
        with pytest.raises(SourceError, match="private network"):
            client.open(url_of(name, origin), {}, None)
    client.close()
    assert len(origin.requests) == 1


def test_an_address_of_the_settings_may_be_private(
    resolver: Resolver, origin: Origin, public: set[str]
) -> None:
    public.clear()
    resolver.answers = {"hub.example": [[OUTSIDE]]}
    client = Client(PATIENT, Cancellation(), may_be_private=(f"http://hub.example:{origin.port}/api",))
    client.open(url_of("hub.example", origin), {}, None).close()
    client.close()
    assert len(origin.requests) == 1

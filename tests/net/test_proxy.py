"""Requests through proxies: failures name the proxy, loopback is direct, redirects are checked as always."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault
from modelfetch.net.client import Client
from tests.net.asking import CANARY, CONTENT, FILE, PATIENT, everything_shown, get
from tests.origin import Origin, Proxy, faults, refusing_port

AWAY = "http://models.example/files/big.bin"
AWAY_TLS = "https://models.example/files/big.bin"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxy variables of the environment in which the tests run."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def fresh() -> Iterator[Client]:
    """A client that reads the environment of this test."""
    client = Client(PATIENT, Cancellation())
    yield client
    client.close()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_requests_to_other_hosts_go_through_the_proxy(
    fresh: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """The test server stands in for a proxy: it is sent the whole URL."""
    monkeypatch.setenv(variable, origin.endpoint)
    assert get(fresh, AWAY).failure.fault is Fault.NOT_FOUND
    assert [request.target for request in origin.requests] == [AWAY]


def test_requests_to_loopback_never_go_through_the_proxy(
    fresh: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert get(fresh, origin.url("/files/big.bin")).data == FILE
        assert get(fresh, origin.url("/files/big.bin").replace("127.0.0.1", "localhost")).data == FILE
        assert proxy.requests == []


def test_a_proxy_is_not_blamed_for_loopback(fresh: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as proxy, refusing_port() as port:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert get(fresh, f"http://127.0.0.1:{port}/x").failure.fault is Fault.CONNECT


def test_no_proxy_is_honored(fresh: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "nosuch.invalid")
        error = get(fresh, "http://nosuch.invalid/x").failure
        assert proxy.requests == []
    assert error.fault is Fault.CONNECT


@pytest.mark.parametrize("url", [AWAY, AWAY_TLS])
def test_credentials_that_are_wanted_and_missing(
    fresh: Client, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    with Proxy(credentials="user:right") as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, proxy.url)
        error = get(fresh, url).failure
        assert len(proxy.requests) == 1
    assert error.fault is Fault.PROXY
    assert not error.retry
    assert "407" in error.message
    assert ("HTTPS_PROXY" if url.startswith("https") else "HTTP_PROXY") in error.hint


@pytest.mark.parametrize("url", [AWAY, AWAY_TLS])
def test_wrong_credentials_are_not_shown(fresh: Client, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with Proxy(credentials="user:right") as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, proxy.url.replace("//", f"//user:{CANARY}@"))
        error = get(fresh, url).failure
        assert proxy.requests[0].header("Proxy-Authorization")
    assert error.fault is Fault.PROXY
    assert CANARY not in everything_shown(error)


def test_a_proxy_that_refuses_to_connect(fresh: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy("bad-gateway") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = get(fresh, AWAY_TLS).failure
        assert proxy.tunnels == ["models.example:443"]
    assert error.fault is Fault.PROXY
    assert error.hint


@pytest.mark.parametrize("url", [AWAY, AWAY_TLS])
def test_a_proxy_that_hangs_up(fresh: Client, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with Proxy("cut") as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, proxy.url)
        error = get(fresh, url).failure
    assert error.fault is Fault.CUT
    assert error.retry


@pytest.mark.parametrize("url", [AWAY, AWAY_TLS])
def test_a_proxy_that_is_not_there_is_to_blame(
    fresh: Client, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    with refusing_port() as port:
        monkeypatch.setenv("ALL_PROXY", f"http://user:{CANARY}@127.0.0.1:{port}")
        error = get(fresh, url).failure
    assert error.fault is Fault.PROXY
    assert "proxy cannot be reached" in error.message
    assert error.retry
    assert CANARY not in everything_shown(error)


@pytest.mark.parametrize("value", ["socks5://h:1", "foo://h:1", "http://[::1", "http://h:port"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_an_unusable_proxy_is_reported_without_its_password(
    fresh: Client, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value.replace("//", f"//user:{CANARY}@"))
    error = get(fresh, AWAY).failure
    assert error.fault is Fault.PROXY
    assert not error.retry
    assert variable in error.message
    assert error.hint
    assert CANARY not in everything_shown(error)


def test_an_unusable_proxy_harms_no_request_that_does_not_need_it(
    fresh: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", origin.endpoint)
    assert get(fresh, origin.url("/files/big.bin")).data == FILE, "loopback needs none"
    assert get(fresh, AWAY).failure.fault is Fault.NOT_FOUND
    assert origin.requests[1].target == AWAY


# Redirects: the proxy hides the address of a public server, but not the targets of its redirects


@pytest.fixture
def inside() -> Iterator[Origin]:
    """A service on this machine that only local programs should reach."""
    with Origin() as inside:
        inside.add("big.bin", CONTENT)
        yield inside


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_public_server_behind_a_proxy_cannot_send_us_to_this_machine(
    fresh: Client, origin: Origin, inside: Origin, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", origin.endpoint)
    origin.fault("*", faults.redirect(f"http://{host}:{inside.port}/files/big.bin"))
    error = get(fresh, AWAY).failure
    assert error.fault is Fault.REDIRECT
    assert "private network" in error.message
    assert inside.requests == []


def test_a_redirect_by_proxy_to_a_private_address_is_refused(
    fresh: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every form that resolvers accept, because the proxy may accept it too."""
    monkeypatch.setenv("HTTP_PROXY", origin.endpoint)
    hosts = [
        *("10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.100.100.200", "192.0.0.192"),
        *("0", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost.", "x.localhost", "LOCALHOST"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]"),
        "[2002:7f00:1::]",
    ]
    for host in hosts:
        origin.heal()
        origin.fault("*", faults.redirect(f"http://{host}/latest/meta-data/"))
        assert get(fresh, AWAY).failure.fault is Fault.REDIRECT, host
    assert {request.target for request in origin.requests} == {AWAY}


def test_a_private_address_typed_by_the_user_may_redirect_to_its_like(
    fresh: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", origin.endpoint)
    origin.fault("*", faults.redirect("http://10.0.0.2/x"), times=1)
    assert get(fresh, "http://10.0.0.1/x").failure.fault is Fault.NOT_FOUND
    assert origin.requests[1].target == "http://10.0.0.2/x"


@pytest.mark.parametrize("host", ["cdn.invalid", "a" * 64 + ".invalid", "a..b"])
def test_names_that_only_the_proxy_knows_are_left_to_it(
    fresh: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", origin.endpoint)
    origin.fault("*", faults.redirect(f"http://{host}/x"), times=1)
    assert get(fresh, AWAY).failure.fault is Fault.NOT_FOUND
    assert origin.requests[1].target == f"http://{host}/x"

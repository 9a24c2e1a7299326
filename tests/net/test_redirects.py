"""Redirects: where they may lead, and which headers are sent along."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelfetch.errors import Fault
from modelfetch.net.client import Client
from modelfetch.net.credentials import Credential
from modelfetch.net.time_limits import Memory
from tests.net.asking import CANARY, CONTENT, FILE, SIZE, get
from tests.origin import Fault as OriginFault
from tests.origin import Origin, faults, refusing_port

HALF = SIZE // 2


@pytest.fixture
def cdn() -> Iterator[Origin]:
    with Origin() as cdn:
        cdn.add("big.bin", CONTENT)
        yield cdn


@pytest.fixture
def hub(origin: Origin, cdn: Origin) -> Origin:
    """Redirects requests with a token to signed links of the CDN, as Hugging Face does."""
    origin.require_token(CANARY)
    origin.redirect_large(to=cdn, at=1)
    return origin


@pytest.fixture
def link(hub: Origin) -> str:
    return hub.url("/org/repo/resolve/main/big.bin")


@pytest.fixture
def token(hub: Origin) -> Credential:
    return Credential.bearer(hub.endpoint, CANARY)


# Following


def test_a_failure_of_another_host_is_that_hosts(origin: Origin, client: Client, url: str) -> None:
    with refusing_port() as port:
        origin.fault("*", faults.redirect(f"http://127.0.0.1:{port}/big.bin"))
        failure = get(client, url).failure
    assert (failure.fault, failure.elsewhere) == (Fault.CONNECT, f"127.0.0.1:{port}")


def test_a_failure_after_a_redirect_to_the_same_host_is_its_own(
    origin: Origin, client: Client, url: str
) -> None:
    origin.fault("*", faults.redirect("/files/big.bin?again"), times=1)
    origin.fault("*", faults.no_answer(reset=True))
    assert not get(client, url).failure.elsewhere


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/files/big.bin?x", "big.bin?x", "./../files/big.bin?x", "?x"])
def test_a_relative_redirect(origin: Origin, client: Client, url: str, location: str, status: int) -> None:
    origin.fault("*", faults.redirect(location, status), times=1)
    assert get(client, url).data == FILE
    assert origin.requests[1].target == "/files/big.bin?x"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/files/big.bin?a=1 2", "/files/big.bin?a=1%202"),
        ("/files/big.bin?\xe6\xa8\xa1", "/files/big.bin?%E6%A8%A1"),  # Latin-1 here, UTF-8 on the connection
        ("/files/big.bin?\xff", "/files/big.bin?%FF"),
        ("/files/big.bin?a=%20|b", "/files/big.bin?a=%20|b"),
    ],
)
def test_a_location_is_encoded_as_browsers_do(
    origin: Origin, client: Client, url: str, location: str, target: str
) -> None:
    origin.fault("*", faults.redirect(location), times=1)
    assert get(client, url).data == FILE
    assert origin.requests[1].target == target


def test_a_range_is_requested_after_redirects_too(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.hops(3))
    got = get(client, url, HALF)
    assert (got.start, got.data) == (HALF, FILE[HALF:])
    assert {request.range for request in origin.requests} == {f"bytes={HALF}-{SIZE - 1}"}


def test_ten_redirects_are_followed(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.hops(10))
    assert get(client, url).data == FILE


def test_a_redirect_frees_its_connection(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.hops(10))
    assert get(client, url).error is None
    assert origin.connections == 1


@pytest.mark.parametrize("fault", [faults.hops(11), faults.redirect_loop()], ids=lambda fault: fault.name)
def test_more_redirects_are_not_followed(
    origin: Origin, client: Client, url: str, fault: OriginFault
) -> None:
    origin.fault("*", fault)
    assert get(client, url).failure.fault is Fault.REDIRECT
    assert len(origin.requests) == 11


@pytest.mark.parametrize(
    "fault",
    [
        faults.no_location(),
        faults.control_bytes_location(),
        faults.redirect(""),
        faults.redirect("ftp://127.0.0.1/x"),
        faults.redirect("file:///etc/passwd"),
        faults.redirect("http://127.0.0.1:port/"),
        faults.redirect("http://user:pass@127.0.0.1/"),
        faults.redirect("http://[::1/"),
    ],
    ids=lambda fault: fault.name,
)
def test_a_redirect_that_must_not_be_followed(
    origin: Origin, client: Client, url: str, fault: OriginFault
) -> None:
    origin.fault("*", fault)
    error = get(client, url).failure
    assert error.fault is Fault.REDIRECT
    assert not error.retry
    assert len(origin.requests) == 1


def test_user_information_in_a_location_is_refused(
    origin: Origin, cdn: Origin, client: Client, url: str
) -> None:
    origin.fault("*", faults.userinfo_location(cdn))
    assert get(client, url).failure.fault is Fault.REDIRECT
    assert cdn.requests == []


def test_a_redirect_whose_connection_is_reset_is_followed(origin: Origin, client: Client, url: str) -> None:
    """The address of the peer cannot be read then; the Location has been received."""
    origin.fault("*", faults.all_of(faults.redirect("?x"), faults.cut(1, reset=True)), times=5)
    assert get(client, url).data == FILE
    assert len(origin.requests) == 6


def test_a_huge_redirect_body_is_not_read(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.redirect("/files/big.bin", body=b"x" * 20_000_000), times=1)
    assert get(client, url).data == FILE
    assert origin.bytes_sent < 15_000_000


# Credentials and other headers


def test_a_token_stays_at_its_origin(
    hub: Origin, cdn: Origin, client: Client, link: str, token: Credential
) -> None:
    assert get(client, link, credential=token).data == FILE
    assert [request.header("Authorization") for request in hub.requests] == [f"Bearer {CANARY}"]
    [request] = cdn.requests
    assert request.header("Authorization") is None
    assert request.header("Referer") is None
    assert cdn.foreign_headers == set()
    assert CANARY not in str(request)


def test_a_token_goes_with_a_redirect_inside_its_origin(
    origin: Origin, client: Client, token: Credential
) -> None:
    origin.redirect_large(at=10**9)
    origin.redirect_small()
    assert get(client, origin.url("/org/repo/resolve/main/big.bin"), credential=token).data == FILE
    sent = [request.header("Authorization") for request in origin.requests]
    assert sent == [f"Bearer {CANARY}", f"Bearer {CANARY}"]


def test_cookies_do_not_travel(origin: Origin, cdn: Origin, client: Client, url: str) -> None:
    moved = faults.all_of(faults.redirect_to(cdn), faults.header("Set-Cookie", "a=b; Domain=127.0.0.1"))
    origin.fault("*", moved)
    assert get(client, url).data == FILE
    assert cdn.foreign_headers == set()


@pytest.mark.parametrize(("given", "fault"), [(None, 401), ("other", 403)])
def test_no_or_a_wrong_token_is_refused_at_once(
    hub: Origin, client: Client, link: str, given: str | None, fault: int
) -> None:
    credential = Credential.bearer(hub.endpoint, given) if given else None
    error = get(client, link, credential=credential).failure
    assert error.fault is Fault.AUTHORIZATION
    assert str(fault) in error.message
    assert len(hub.requests) == 1


# Validators


def test_a_validator_goes_only_to_the_origin_that_gave_it(
    hub: Origin, cdn: Origin, client: Client, link: str, token: Credential
) -> None:
    memory = Memory()
    get(client, link, credential=token, memory=memory)
    assert get(client, link, HALF, credential=token, memory=memory).data == FILE[HALF:]
    assert [request.header("If-Range") for request in hub.requests] == [None, None]
    assert [request.header("If-Range") is not None for request in cdn.requests] == [False, True]


def test_a_validator_does_not_follow_a_file_that_moves(
    origin: Origin, cdn: Origin, client: Client, url: str
) -> None:
    memory = Memory()
    get(client, url, memory=memory)
    origin.fault("*", faults.redirect_to(cdn))
    assert get(client, url, HALF, memory=memory).data == FILE[HALF:]
    assert cdn.requests[0].header("If-Range") is None


def test_a_renewed_link_does_not_carry_the_validator_back(
    hub: Origin, cdn: Origin, client: Client, link: str, token: Credential
) -> None:
    memory = Memory()
    get(client, link, credential=token, memory=memory)
    hub.fault("*", faults.expired_link(), times=1)
    assert get(client, link, HALF, credential=token, memory=memory).data == FILE[HALF:]
    assert [request.header("If-Range") for request in hub.requests] == [None, None, None]


# Signed links


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_expired_link_is_renewed_once(
    hub: Origin, cdn: Origin, client: Client, link: str, token: Credential, status: int
) -> None:
    cdn.fault("*", faults.status(status), times=1)
    assert get(client, link, HALF, credential=token).data == FILE[HALF:]
    assert len(hub.requests) == 2
    assert len({request.query["X-Amz-Signature"] for request in cdn.requests}) == 2


def test_a_link_that_stays_expired_is_given_up(
    hub: Origin, client: Client, link: str, token: Credential
) -> None:
    hub.fault("*", faults.expired_link())
    assert get(client, link, credential=token).failure.fault is Fault.AUTHORIZATION
    assert len(hub.requests) == 2


def test_each_new_request_may_renew_its_link_again(
    hub: Origin, client: Client, link: str, token: Credential
) -> None:
    for _ in range(2):
        hub.fault("*", faults.expired_link(), times=1)
        assert get(client, link, credential=token).data == FILE
        hub.heal()
    assert len(hub.requests) == 4

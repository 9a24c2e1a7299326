"""Requests to hubs: which failures are retried, after how long, and what a redirect or a cut leads to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.net.credentials import Credential
from modelfetch.net.hub_client import HubClient
from modelfetch.net.retry import RetryPolicy
from tests.hubs.server import HubServer, Reply, Request
from tests.net.asking import CANARY, PATIENT, everything_shown
from tests.patience import IN_TIME

DATA = bytes(range(256)) * 2000
ETAG = '"strong"'


class Store(HubServer):
    """Serves :data:`DATA` everywhere, with the validator :attr:`etag`."""

    def __init__(self) -> None:
        super().__init__()
        self.etag = ETAG

    def answer(self, request: Request) -> Reply:
        return self.file(request, DATA, {"ETag": self.etag} if self.etag else {})


class Waits:
    """Records waits, and what is reported before them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.lines: list[str] = []


@pytest.fixture
def server() -> Iterator[Store]:
    with Store() as server:
        yield server


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def hub(client: Client, waits: Waits) -> HubClient:
    policy = RetryPolicy(attempts=3)
    return HubClient(client, Cancellation(), policy, sleep=waits.seconds.append, waiting=waits.lines.append)


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 529])
def test_failures_that_may_pass_are_retried(hub: HubClient, server: Store, waits: Waits, status: int) -> None:
    server.script("/", Reply(status), Reply(status), Reply.json({"a": 1}))
    answer, document = hub.get_json(f"{server.endpoint}/x")
    assert (answer.status, document) == (200, {"a": 1})
    assert len(waits.seconds) == 2
    assert [seconds <= most for seconds, most in zip(waits.seconds, (0.5, 1), strict=True)] == [True, True]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 416, 418, 451, 501])
def test_every_other_status_is_returned(hub: HubClient, server: Store, waits: Waits, status: int) -> None:
    server.script("/", Reply(status, {"X-Error-Code": "Some"}))
    answer, document = hub.get_json(f"{server.endpoint}/x")
    assert (answer.status, document, answer.headers["x-error-code"]) == (status, None, "Some")
    assert not waits.seconds


def test_attempts_are_limited(hub: HubClient, server: Store, waits: Waits) -> None:
    server.script("/", *[Reply(503)] * 9)
    for ask in (lambda: hub.get_json(server.endpoint), lambda: hub.get(server.endpoint)):
        with pytest.raises(SourceError, match="service unavailable") as caught:
            ask()
        assert caught.value.fault is Fault.BUSY
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("fields", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 8.7),
        ({"RateLimit": '"api";r=0;t=55'}, 56, 63),
        ({"RateLimit": '"api";r=5;t=55'}, 0, 0.5),
        (
            {"Date": "Sat, 28 Nov 2026 10:00:00 GMT", "Retry-After": "Sat, 28 Nov 2026 10:00:30 GMT"},
            30,
            34,
        ),
    ],
)
def test_the_wait_that_a_server_asks_for(
    hub: HubClient, server: Store, waits: Waits, fields: dict[str, str], least: float, most: float
) -> None:
    server.script("/", Reply(429, fields), Reply.json([]))
    hub.get_json(server.endpoint)
    [seconds] = waits.seconds
    assert least <= seconds <= most
    assert len(waits.lines) == (least > 0)
    assert not waits.lines or waits.lines[0].startswith(
        f"{server.host} asks to wait: too many requests (429)"
    )


def test_a_wait_that_is_too_long_is_no_wait(hub: HubClient, server: Store, waits: Waits) -> None:
    server.script("/", Reply(429, {"Retry-After": "301"}))
    with pytest.raises(SourceError) as caught:
        hub.get_json(server.endpoint)
    assert (caught.value.retry_after, waits.seconds) == (301, [])


def test_no_connection_is_retried(hub: HubClient, server: Store, waits: Waits) -> None:
    server.is_dead = True
    with pytest.raises(SourceError):
        hub.get_json(server.endpoint)
    assert len(waits.seconds) == 2


@pytest.mark.parametrize("cut", [0, 3])
def test_a_document_that_was_cut_is_requested_again(hub: HubClient, server: Store, cut: int) -> None:
    whole = Reply.json({"a": 1})
    server.script("/", Reply(200, whole.headers, whole.body, cut=cut), whole)
    assert hub.get_json(server.endpoint)[1] == {"a": 1}


@pytest.mark.parametrize("body", [b"<html>", b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused_at_once(hub: HubClient, server: Store, body: bytes) -> None:
    server.script("/", Reply(200, {}, body))
    with pytest.raises(SourceError, match="not JSON"):
        hub.get_json(server.endpoint)
    assert len(server.requests) == 1


def test_a_redirect_to_another_server_drops_the_credential(hub: HubClient, server: Store) -> None:
    credential = Credential.bearer(server.endpoint, CANARY)
    with Store() as other:
        for ask in (
            lambda: hub.get(f"{server.endpoint}/x", credential=credential).close(),
            lambda: list(hub.download(f"{server.endpoint}/x", len(DATA), credential=credential)),
        ):
            server.script(
                "/", Reply(307, {"Location": "/y"}), Reply(302, {"Location": f"{other.endpoint}/z"})
            )
            ask()
    assert [request.token for request in server.requests] == [CANARY] * 4
    assert [request.token for request in other.requests] == [""] * 2


def test_a_failure_shows_neither_token_nor_query(hub: HubClient, server: Store) -> None:
    credential = Credential.bearer(server.endpoint, CANARY)
    server.script("/", Reply(302, {"Location": f"{server.endpoint}/y?Signature={CANARY}"}), Reply(403))
    with pytest.raises(SourceError) as caught:
        list(hub.download(f"{server.endpoint}/x", 10, credential=credential))
    assert CANARY not in everything_shown(caught.value)


def test_a_download_that_was_cut_continues_where_it_ended(
    hub: HubClient, server: Store, waits: Waits
) -> None:
    server.cut_files = 200_000
    assert b"".join(hub.download(f"{server.endpoint}/x", len(DATA))) == DATA
    ranges = [request.headers.get("range") for request in server.requests]
    assert ranges == [None, "bytes=200000-", "bytes=400000-"]
    assert [request.headers.get("if-range") for request in server.requests] == [None, ETAG, ETAG]
    assert hub.received == len(DATA)
    assert len(waits.seconds) == 2


def test_a_few_bytes_an_attempt_do_not_go_on_for_ever(hub: HubClient, server: Store) -> None:
    server.cut_files = 1
    with pytest.raises(SourceError, match="cut"):
        list(hub.download(server.endpoint, len(DATA)))
    assert len(server.requests) == 3


def test_a_part_of_the_rest_is_not_the_end(hub: HubClient, server: Store) -> None:
    part = Reply(206, {"Content-Range": f"bytes 1000-1009/{len(DATA)}", "ETag": ETAG}, DATA[1000:1010])
    server.script("/", Reply(200, {"ETag": ETAG}, DATA, cut=1000), part)
    assert b"".join(hub.download(server.endpoint, len(DATA))) == DATA


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_validator_a_download_does_not_continue(
    hub: HubClient, server: Store, etag: str
) -> None:
    server.etag, server.cut_files = etag, 200_000
    with pytest.raises(SourceError, match="no safe way to continue"):
        list(hub.download(server.endpoint, len(DATA)))
    assert len(server.requests) == 1


def test_a_download_that_changed_meanwhile_is_refused(hub: HubClient, server: Store) -> None:
    server.script("/", Reply(200, {"ETag": '"old"'}, DATA, cut=1000))
    with pytest.raises(SourceError, match="changed while it was read"):
        list(hub.download(server.endpoint, len(DATA)))


def test_a_range_from_another_offset_is_refused(hub: HubClient, server: Store) -> None:
    part = Reply(206, {"Content-Range": f"bytes 0-9/{len(DATA)}", "ETag": ETAG}, DATA[:10])
    server.script("/", Reply(200, {"ETag": ETAG}, DATA, cut=1000), part)
    with pytest.raises(SourceError):
        list(hub.download(server.endpoint, len(DATA)))


def test_a_download_has_a_limit(hub: HubClient, server: Store) -> None:
    with pytest.raises(SourceError, match=f"more than {len(DATA) - 1} bytes") as caught:
        list(hub.download(server.endpoint, len(DATA) - 1))
    assert caught.value.fault is Fault.SIZE


@pytest.mark.parametrize(("status", "fault"), [(404, Fault.NOT_FOUND), (401, Fault.AUTHORIZATION)])
def test_a_refused_download(hub: HubClient, server: Store, status: int, fault: Fault) -> None:
    server.script("/", Reply(status))
    with pytest.raises(SourceError) as caught:
        list(hub.download(server.endpoint, 10))
    assert caught.value.fault is fault


def test_cancelling_ends_a_wait(client: Client, server: Store) -> None:
    cancel = Cancellation()
    hub = HubClient(client, cancel, waiting=lambda _: cancel.cancel())
    server.script("/", Reply(429, {"Retry-After": "200"}))
    with pytest.raises(Cancelled):
        hub.get_json(server.endpoint)
    assert len(server.requests) == 1


def test_cancelling_ends_a_read(server: Store) -> None:
    cancel, arrived = Cancellation(), threading.Event()
    with_cancel = Client(PATIENT, cancel)

    def silent(_: Request) -> Reply:
        arrived.set()
        return Reply(200, {}, DATA[:10], length=100)  # the other 90 bytes never come

    server.script("/", silent)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            HubClient(with_cancel, cancel).get_json(server.endpoint)
        except Cancelled as error:
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    arrived.wait()
    cancel.cancel()
    thread.join(IN_TIME)
    with_cancel.close()
    assert len(failures) == 1


def test_fields_of_a_request(hub: HubClient, server: Store) -> None:
    given: Any = {"X-Own": "1"}
    with hub.get(f"{server.endpoint}/x", accept="text/plain", headers=given) as answer:
        assert answer.read() == DATA
    [request] = server.requests
    assert (request.headers["accept"], request.headers["x-own"]) == ("text/plain", "1")
    assert request.headers["accept-encoding"] == "identity"

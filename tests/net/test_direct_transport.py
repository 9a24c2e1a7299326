"""Small files over kept connections: the right bytes or an error, whatever the server sends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.net.credentials import Credential
from modelfetch.net.direct_transport import parse_target
from modelfetch.net.responses import RangeRequest
from modelfetch.net.time_limits import Memory
from tests.engine.fakes import TickingClock
from tests.net.asking import CANARY, CONTENT, FILE, NEARLY_ALL, PATIENT, SIZE, everything_shown, get
from tests.origin import Content, Origin, Proxy, faults
from tests.origin import Fault as OriginFault
from tests.patience import IN_TIME

PATH = "/files/big.bin"


@pytest.fixture
def cancel() -> Cancellation:
    return Cancellation()


@pytest.fixture
def ours(cancel: Cancellation) -> Iterator[Client]:
    """A client without idle connections at the start of the test."""
    client = Client(PATIENT, cancel)
    yield client
    client.close()


def fetch(client: Client, url: str, credential: Credential | None = None) -> bytes:
    request = RangeRequest(0, SIZE)
    with closing(client.request(url, request, credential=credential, memory=Memory())) as body:
        return b"".join(bytes(piece) for piece in body)


def refused(client: Client, url: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        fetch(client, url)
    return caught.value


# Good responses


def test_all_files_are_requested_over_one_connection_with_the_same_fields(served: Origin) -> None:
    client = Client(PATIENT, Cancellation())
    try:
        assert [fetch(client, served.url(PATH)) for _ in range(4)] == [FILE] * 4
    finally:
        client.close()
    assert served.connections == 1
    assert {(request.target, request.headers) for request in served.requests} == {
        (PATH, tuple(served.requests[0].headers))
    }, "not one header field more or less"


def test_a_client_that_is_closed_leaves_no_connection_behind(origin: Origin, url: str) -> None:
    client = Client(PATIENT, Cancellation())
    fetch(client, url)
    client.close()
    origin.until(lambda origin: origin.active == 0)


def test_threads_do_not_share_a_connection(origin: Origin, ours: Client, url: str) -> None:
    all_asked = threading.Event()
    origin.fault("*", faults.stall(until=all_asked))
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(fetch(ours, url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    origin.until(lambda origin: len(origin.requests) == 4)
    all_asked.set()
    for thread in threads:
        thread.join()
    assert got == [FILE] * 4
    assert origin.connections == 4


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "fault",
    [
        faults.chunked(),
        faults.chunked_with_length(),
        faults.no_length(),
        faults.http_1_0(),
        faults.stale_keepalive(),
        faults.ignored_range(),
        faults.glued(3),
        faults.continues(2),
        faults.two_lengths(0),
        faults.header("Connection", "close"),
        faults.header("Content-Encoding", "identity"),
    ],
    ids=lambda fault: fault.name,
)
@pytest.mark.parametrize("after", [0, 1], ids=["first", "later"])
def test_answers_of_other_forms_are_read_in_the_ordinary_way(
    origin: Origin, ours: Client, url: str, fault: OriginFault, after: int
) -> None:
    origin.fault("*", fault, after=after, times=3)
    assert [fetch(ours, url) for _ in range(5)] == [FILE] * 5


def test_a_redirect_is_followed_by_the_rules(origin: Origin, ours: Client, url: str) -> None:
    origin.fault("*", faults.hops(2), after=1)
    assert [fetch(ours, url) for _ in range(3)] == [FILE] * 3


# Failures


@pytest.mark.quick(every=5)
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.status(404), Fault.NOT_FOUND),
        (faults.status(401), Fault.AUTHORIZATION),
        (faults.status(429, retry_after=7), Fault.BUSY),
        (faults.status(500), Fault.SERVER),
        (faults.wrong_length(+5), Fault.SIZE),
        (faults.wrong_length(-5), Fault.SIZE),
        (faults.other_range(start=7), Fault.PROTOCOL),
        (faults.no_content_range(), Fault.PROTOCOL),
        (faults.gzipped(), Fault.PROTOCOL),
        (faults.html_login(), Fault.SIZE),
        (faults.other_revision(Content.random("new", SIZE + 1)), Fault.SIZE),
        (faults.big_header(), Fault.PROTOCOL),
        (faults.many_headers(300), Fault.PROTOCOL),
        (faults.no_answer(), Fault.CUT),
        (faults.no_answer(reset=True), Fault.CUT),
        (faults.cut(0.5), Fault.CUT),
        (faults.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), Fault.PROTOCOL),
        (faults.redirect_loop(), Fault.REDIRECT),
    ],
    ids=lambda value: value.name if isinstance(value, OriginFault) else value,
)
@pytest.mark.parametrize("after", [0, 1], ids=["first", "later"])
def test_an_answer_of_no_use_is_an_error_over_any_connection(
    origin: Origin, ours: Client, url: str, fault: OriginFault, expected: Fault, after: int
) -> None:
    origin.fault("*", fault, after=after)
    for _ in range(after):
        assert fetch(ours, url) == FILE
    assert refused(ours, url).fault is expected
    origin.heal()
    assert fetch(ours, url) == FILE, "nothing of it is left for the next file"


def test_the_requested_delay_is_reported(origin: Origin, ours: Client, url: str) -> None:
    fetch(ours, url)
    origin.fault("*", faults.status(429, retry_after=7))
    assert refused(ours, url).retry_after == 7


@pytest.mark.parametrize("at", [0.5, 0.999], ids=["half of it", "all but the last bytes"])
def test_an_answer_that_stops_on_its_way_is_waited_for_once(origin: Origin, url: str, at: float) -> None:
    """The connection is alive, so a new one would be as slow."""
    clock = TickingClock()
    with closing(Client(PATIENT, Cancellation(), clock)) as client:
        assert fetch(client, url) == FILE
        origin.fault("*", faults.stall(at))
        body = client.request(url, RangeRequest(0, SIZE), credential=None, memory=Memory())
        pieces = iter(body)
        assert next(pieces)
        clock.step = NEARLY_ALL
        with closing(body), pytest.raises(SourceError) as caught:
            list(pieces)
    assert caught.value.fault is Fault.STALL
    assert len(origin.requests) == 2


def test_a_silent_server_is_left_in_time(origin: Origin, url: str) -> None:
    with closing(Client(PATIENT, Cancellation())) as client:
        fetch(client, url)
        origin.fault("*", faults.stall())
        began = time.monotonic()
        with pytest.raises(SourceError) as caught:
            client.request(url, RangeRequest(0, SIZE, first_byte=0.1), credential=None, memory=Memory())
        assert time.monotonic() - began < IN_TIME
    assert caught.value.fault is Fault.TIMEOUT
    assert len(origin.requests) == 2


def test_a_dripping_server_is_left_in_time(origin: Origin, url: str) -> None:
    clock = TickingClock()
    with closing(Client(replace(PATIENT, min_speed=20_000.0), Cancellation(), clock)) as client:
        fetch(client, url)
        origin.fault("*", faults.trickle(1, 0.005))
        clock.step = 1.0
        error = refused(client, url)
    assert (error.fault, "too slow" in error.message) == (Fault.STALL, True)


def test_cancelling_wakes_an_idle_connection(
    origin: Origin, ours: Client, url: str, cancel: Cancellation
) -> None:
    fetch(ours, url)
    origin.fault("*", faults.stall())
    threading.Timer(0.05, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        fetch(ours, url)
    assert time.monotonic() - began < IN_TIME


# Credentials, proxies and redirects


def test_a_credential_is_never_sent_for_somebody_else(origin: Origin, ours: Client, url: str) -> None:
    """A connection belongs to the credential it was opened with, not only to its origin."""
    credential = Credential.bearer(url, CANARY)
    fetch(ours, url, credential)
    fetch(ours, url)
    fetch(ours, url, credential)
    assert [request.header("Authorization") for request in origin.requests] == [
        f"Bearer {CANARY}",
        None,
        f"Bearer {CANARY}",
    ]


def test_an_error_shows_no_secret(origin: Origin, ours: Client, url: str) -> None:
    credential = Credential.bearer(url, CANARY)
    fetch(ours, url, credential)
    origin.fault("*", faults.status(403))
    with pytest.raises(SourceError) as caught:
        fetch(ours, url, credential)
    assert CANARY not in everything_shown(caught.value)


def test_an_http_proxy_is_sent_whole_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    with Origin() as origin, Proxy(to=origin.port) as proxy:
        origin.add("big.bin", CONTENT)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        client = Client(PATIENT, Cancellation())
        url = origin.url(PATH).replace("127.0.0.1", "origin.example")
        assert [fetch(client, url) for _ in range(3)] == [FILE] * 3
        assert all(request.target.startswith("http://") for request in proxy.requests)
        client.close()


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://h/a/b.bin", ("http", "h", 80, "h", "/a/b.bin")),
        ("http://h:80/a//b", ("http", "h", 80, "h", "/a//b")),
        ("https://h.example:8443/a%20b/c", ("https", "h.example", 8443, "h.example:8443", "/a%20b/c")),
        (
            "http://127.0.0.1/a/..b?c=d/../e&f=%2F",
            ("http", "127.0.0.1", 80, "127.0.0.1", "/a/..b?c=d/../e&f=%2F"),
        ),
    ],
)
def test_urls_are_sent_as_they_are(url: str, where: tuple[object, ...]) -> None:
    assert parse_target(url) == where


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "url",
    [
        "http://h/a/../b",
        "http://h/..",
        "http://h/./a",
        "http://h/a b",
        "http://h/a\r\nX: y",
        "http://h/a\n",
        "http://h/a%zz",
        "http://h/a#b",
        "http://h/ü",
        "http://ü/a",
        "http://H/a",
        "http://h..x/a",
        "http://[::1]/a",
        "http://user:pass@h/a",
        "http://h",
        "http://h:0/a",
        "http://h:65536/a",
        "http://h:8a/a",
        "ftp://h/a",
        "",
    ],
)
def test_urls_that_need_normalization_go_through_httpx(url: str) -> None:
    assert parse_target(url) is None


# Connections that are kept


@pytest.mark.parametrize(
    ("fault", "connections"),
    [
        (None, 1),
        (faults.chunked_without_end(), 3),
        (faults.no_length(), 3),
        (faults.http_1_0(), 3),
        (faults.header("Connection", "close"), 3),
    ],
    ids=lambda value: value.name if isinstance(value, OriginFault) else value,
)
def test_a_connection_is_used_again_if_its_body_ended_for_certain(
    origin: Origin, ours: Client, url: str, fault: OriginFault | None, connections: int
) -> None:
    if fault is not None:
        origin.fault("*", fault)
    for _ in range(3):
        get(ours, url)
    assert origin.connections == connections


@pytest.mark.parametrize("start", [0, 1000])
def test_a_connection_is_used_again_after_a_large_body(origin: Origin, start: int) -> None:
    with closing(Client(replace(PATIENT, direct_from=0), Cancellation())) as client:
        for _ in range(3):
            assert get(client, origin.url(PATH), start).data == FILE[start:]
    assert origin.connections == 1


def test_a_body_that_is_left_early_ends_its_connection(origin: Origin, ours: Client, url: str) -> None:
    with closing(ours.request(url, RangeRequest(0, SIZE), credential=None, memory=Memory())) as body:
        next(iter(body))
    assert get(ours, url).data == FILE
    assert origin.connections == 2


def test_idle_connections_can_be_closed(origin: Origin, ours: Client, url: str) -> None:
    get(ours, url)
    ours.close_idle()
    origin.until(lambda origin: origin.active == 0)
    assert get(ours, url).data == FILE


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nX: y", "a\rb", "a\0b", "ü"])
def test_no_field_can_add_another_one(origin: Origin, ours: Client, url: str, value: str) -> None:
    with pytest.raises(SourceError, match="cannot be sent"):
        ours.open(url, {"X-Field": value}, None)
    assert origin.requests == []

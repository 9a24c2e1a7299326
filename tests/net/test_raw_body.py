"""Bodies read from the socket itself: when that is safe, what the parser holds back, how pieces are gathered.

That such bodies are as good as others is shown by the tests that run ``BOTH_WAYS``.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import h11
import httpx
import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.net import large_reads
from modelfetch.net.client import Client
from modelfetch.net.large_reads import LARGE_BYTES
from modelfetch.net.raw_body import socket_of
from modelfetch.net.responses import RangeRequest
from modelfetch.net.time_limits import Memory
from tests.net.asking import BOTH_WAYS, CONTENT, FILE, PATIENT, SIZE, get
from tests.origin import Content, Origin, Proxy, faults
from tests.origin import Fault as OriginFault
from tests.origin.certificates import Authority
from tests.patience import HELD

PATH = "/files/big.bin"
EAGER = replace(PATIENT, direct_from=0)
GLUED = [0, 1, 999, 70_000]


@dataclass(frozen=True, slots=True)
class Piece:
    """A copy of a piece, and whether it was read from the socket directly."""

    data: bytes
    is_direct: bool


def read(client: Client, url: str, start: int = 0, size: int = SIZE) -> list[Piece]:
    """All pieces of the rest of a file."""
    return list(taken(client, url, start, size))


def taken(client: Client, url: str, start: int = 0, size: int = SIZE) -> Generator[Piece, None, None]:
    """The pieces of the rest of a file, as they arrive."""
    with closing(client.request(url, RangeRequest(start, size), credential=None, memory=Memory())) as body:
        for piece in body:
            yield Piece(bytes(piece), isinstance(piece, memoryview))


def data(pieces: list[Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


def is_direct(pieces: list[Piece]) -> bool:
    return any(piece.is_direct for piece in pieces)


@pytest.fixture(autouse=True)
def through_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send every request through httpx."""
    monkeypatch.setattr("modelfetch.net.session.parse_target", lambda _: None)


@pytest.fixture
def cancel() -> Cancellation:
    return Cancellation()


@pytest.fixture
def eager(served: Origin, cancel: Cancellation) -> Iterator[Client]:
    """A client that reads every possible body from the socket directly, and trusts the authority."""
    client = Client(EAGER, cancel)
    yield client
    client.close()


# What the parser buffers: an implementation detail of httpx that reading past it depends on


@pytest.mark.parametrize("count", GLUED)
def test_the_parser_hands_over_at_once_all_that_it_holds(count: int) -> None:
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode() + FILE[:count])
    assert isinstance(parser.next_event(), h11.Response)
    if count:
        event = parser.next_event()
        assert isinstance(event, h11.Data)
        assert bytes(event.data) == FILE[:count]
    assert parser.next_event() is h11.NEED_DATA
    assert parser.trailing_data == (b"", False)


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("start", [0, 10_000])
@pytest.mark.parametrize("count", GLUED)
def test_bytes_glued_to_the_head_come_first_and_once(
    served: Origin, eager: Client, count: int, start: int
) -> None:
    is_taken = threading.Event()
    served.fault("*", faults.stall(count, until=is_taken))
    if not count:
        is_taken.set()
    pieces = taken(eager, served.url(PATH), start)
    first = next(pieces)
    is_taken.set()
    rest = list(pieces)
    assert data([first, *rest]) == FILE[start:]
    assert not first.is_direct
    assert rest
    assert all(piece.is_direct for piece in rest)
    if 0 < count < 1000:
        assert len(first.data) == count


def test_a_connection_is_reused_when_the_parser_had_everything(served: Origin, eager: Client) -> None:
    for _ in range(3):
        assert data(read(eager, served.url(PATH), SIZE - 10)) == FILE[-10:]
    assert served.connections == 1


def test_a_connection_that_was_read_from_is_not_used_again(served: Origin, eager: Client) -> None:
    for _ in range(2):
        pieces = read(eager, served.url(PATH))
        assert is_direct(pieces)
        assert data(pieces) == FILE
    assert served.connections == 2
    served.until(lambda origin: origin.active == 0)


# When reading from the socket is safe


@pytest.mark.quick(every=5)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.chunked(), id="chunked"),
        pytest.param(faults.chunked_with_length(), id="chunked with length"),
        pytest.param(faults.no_length(), id="close-delimited"),
        pytest.param(faults.http_1_0(), id="HTTP/1.0"),
        pytest.param(faults.header("Content-Encoding", "identity"), id="Content-Encoding"),
        pytest.param(
            faults.raw(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + FILE), id="HTTP/1.0, length"
        ),
    ],
)
def test_other_bodies_are_left_to_httpx(served: Origin, eager: Client, fault: OriginFault) -> None:
    served.fault("*", fault)
    pieces = read(eager, served.url(PATH))
    assert data(pieces) == FILE
    assert not is_direct(pieces)


@pytest.mark.parametrize(
    ("direct_from", "expected"),
    [(SIZE, True), (SIZE + 1, False), (math.inf, False)],
    indirect=["direct_from"],
)
def test_bodies_below_the_threshold_are_left_to_httpx(
    origin: Origin, client: Client, url: str, expected: bool
) -> None:
    assert is_direct(read(client, url)) is expected


class FakeStream:
    """The network stream that httpcore adds to a response."""

    def __init__(self, sock: socket.socket | None, ssl_object: object = None) -> None:
        self._info = {"socket": sock, "ssl_object": ssl_object}

    def get_extra_info(self, info: str) -> object:
        return self._info[info]


CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
PLAIN, SECURE = socket.socket(), CONTEXT.wrap_socket(socket.socket(), server_hostname="x")
for closed in (PLAIN, SECURE):  # only their class matters
    closed.close()
NESTED = CONTEXT.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x")


def answer(
    *,
    url: str = "http://x/",
    method: str = "GET",
    status: int = 206,
    version: bytes = b"HTTP/1.1",
    stream: FakeStream | None = None,
    length: int | None = 7,
    **headers: str,
) -> httpx.Response:
    """A response that can be read directly, except for the given changes."""
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    if length is not None:
        fields.append(("Content-Length", str(length)))
    extensions = {"http_version": version, "network_stream": stream or FakeStream(PLAIN)}
    request = httpx.Request(method, url)
    return httpx.Response(status, headers=fields, request=request, extensions=extensions)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        pytest.param(answer(), PLAIN, id="a range"),
        pytest.param(answer(status=200), PLAIN, id="a whole file"),
        pytest.param(answer(url="https://x/", stream=FakeStream(SECURE)), SECURE, id="TLS"),
        pytest.param(answer(stream=FakeStream(SECURE)), SECURE, id="plain, by a proxy under TLS"),
    ],
)
def test_what_may_be_read_directly(response: httpx.Response, expected: socket.socket) -> None:
    assert socket_of(response, 7) is expected


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(answer(version=b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(answer(version=b"HTTP/2"), id="HTTP/2"),
        pytest.param(answer(method="HEAD"), id="HEAD"),
        pytest.param(answer(status=203), id="another status"),
        pytest.param(answer(length=None), id="no length"),
        pytest.param(answer(length=8), id="another length"),
        pytest.param(answer(content_length="7"), id="two lengths"),
        pytest.param(answer(transfer_encoding="chunked"), id="chunked"),
        pytest.param(answer(content_encoding="identity"), id="Content-Encoding"),
        pytest.param(answer(stream=FakeStream(None)), id="no socket"),
        pytest.param(answer(url="https://x/", stream=FakeStream(PLAIN)), id="https, yet no TLS"),
        pytest.param(answer(url="https://x/", stream=FakeStream(SECURE, NESTED)), id="TLS in TLS"),
    ],
)
def test_what_must_not_be_read_directly(response: httpx.Response) -> None:
    assert socket_of(response, 7) is None


# Proxies


@pytest.fixture
def by_proxy(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Proxy], Client]:
    """Makes a client that uses this proxy for all other hosts, and trusts the authority."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "ca.pem")))

    def client(proxy: Proxy) -> Client:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        return Client(EAGER, Cancellation())

    return client


@pytest.mark.parametrize(
    ("to_proxy", "to_origin"),
    [("plain", "plain"), ("plain", "TLS"), ("TLS", "plain"), ("TLS", "TLS")],
    ids=["plain", "TLS in a tunnel", "plain inside TLS", "TLS in TLS"],
)
def test_bodies_by_proxy(
    authority: Authority, by_proxy: Callable[[Proxy], Client], to_proxy: str, to_origin: str
) -> None:
    """All except TLS in TLS are read from the socket; there it would return ciphertext of the tunnel."""
    tls = authority.server("models.example") if to_origin == "TLS" else None
    gate = authority.server() if to_proxy == "TLS" else None
    with (
        Origin(tls=tls) as origin,
        Proxy(to=origin.port, tls=gate) as proxy,
        closing(by_proxy(proxy)) as client,
    ):
        origin.add("big.bin", CONTENT)
        pieces = read(client, f"{'https' if tls else 'http'}://models.example{PATH}")
        assert len(proxy.requests) == 1
        assert bool(proxy.tunnels) is bool(tls)
    assert data(pieces) == FILE
    assert is_direct(pieces) is not (bool(tls) and bool(gate))


# Size and delay of pieces


@BOTH_WAYS
def test_what_follows_the_body_is_not_read(origin: Origin, client: Client, url: str) -> None:
    sent = Content.random("more than a buffer", 600_000).data
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(sent)
    origin.fault("*", faults.raw(head + sent + b"x" * 70_000))
    got = get(client, url, size=len(sent))
    assert got.error is None
    assert got.data == sent


def test_large_bodies_come_in_full_buffers_by_default(
    origin: Origin, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_reads, "HOLD_SECONDS", HELD)  # the server may be slow
    content = Content.random("larger", 5_000_000)
    origin.add("larger.bin", content)
    pieces = read(client, origin.url("/files/larger.bin"), size=content.size)
    assert is_direct(pieces)
    assert data(pieces) == content.data
    assert max(len(piece.data) for piece in pieces) == LARGE_BYTES


def test_a_slow_body_stays_live(served: Origin, eager: Client) -> None:
    """Small pieces are collected, but not until the last byte, which arrives after minutes."""
    served.fault("*", faults.all_of(faults.stall(100_000), faults.trickle(size=1000, every=0.002)))
    pieces = taken(eager, served.url(PATH))
    sizes: list[int] = []
    while sum(sizes) < 100_000:
        sizes.append(len(next(pieces).data))
    assert 1 < len(sizes) < 100
    pieces.close()


def test_cancelling_in_the_middle_yields_nothing_but_the_file(
    served: Origin, eager: Client, cancel: Cancellation
) -> None:
    has_begun = threading.Event()
    served.fault("*", faults.all_of(faults.stall(1000, until=has_begun), faults.stall(50_000)))
    pieces = taken(eager, served.url(PATH))
    got = [next(pieces)]
    has_begun.set()
    got.append(next(pieces))
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(pieces)
    assert is_direct(got)
    assert FILE.startswith(data(got))


def test_bytes_before_a_reset_are_kept(served: Origin, eager: Client) -> None:
    served.fault("*", faults.all_of(faults.trickle(size=1000, every=0.002), faults.cut(30_000, reset=True)))
    got = get(eager, served.url(PATH))
    assert got.failure.retry
    assert got.data == FILE[:30_000]

"""TLS: which certificates are trusted, and that nothing is sent without trust."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault
from modelfetch.net.client import Client
from modelfetch.net.credentials import Credential
from modelfetch.net.tls import Trust
from tests.net.asking import BOTH_WAYS, CANARY, CONTENT, FILE, PATIENT, SIZE, everything_shown, get
from tests.origin import Fault as OriginFault
from tests.origin import Origin, faults
from tests.origin.certificates import Authority
from tests.origin.channel import Channel
from tests.origin.listener import Listener
from tests.patience import HELD

PATH = "/files/big.bin"


@pytest.fixture
def trusting(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct_from: float
) -> Iterator[Client]:
    """A client that trusts the authority by SSL_CERT_FILE."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "ca.pem")))
    client = Client(replace(PATIENT, direct_from=direct_from), Cancellation())
    yield client
    client.close()


@pytest.fixture
def secure(authority: Authority) -> Iterator[Origin]:
    with Origin(tls=authority.server()) as origin:
        origin.add("big.bin", CONTENT)
        yield origin


@BOTH_WAYS
def test_ssl_cert_file_is_honored(secure: Origin, trusting: Client) -> None:
    assert get(trusting, secure.url(PATH)).data == FILE


def test_an_unknown_authority_is_refused(secure: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    with closing(Client(PATIENT, Cancellation())) as client:
        error = get(client, secure.url(PATH)).failure
    assert error.fault is Fault.TLS
    assert not error.retry
    assert "certificate" in error.message
    assert "SSL_CERT_FILE" in error.hint
    assert (secure.connections, secure.requests) == (1, [])


def test_a_handshake_that_hangs_holds_up_no_other(secure: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    with (
        closing(Client(PATIENT, Cancellation())) as client,
        socket.create_server(("127.0.0.1", 0)) as mute,
    ):
        hanging = threading.Thread(target=get, args=(client, f"https://127.0.0.1:{mute.getsockname()[1]}/"))
        hanging.start()
        with mute.accept()[0] as connection:
            assert connection.recv(1), "the handshake has begun"
            assert get(client, secure.url(PATH)).failure.fault is Fault.TLS
            assert hanging.is_alive()
        hanging.join()


def test_the_authorities_of_the_system_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    trust = Trust()
    assert trust.context() is trust.context()
    assert trust.context().verify_mode is ssl.CERT_REQUIRED
    assert trust.context().check_hostname


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_without_a_secure_address_no_authority_is_read(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading them would block, because the file is a pipe."""
    os.mkfifo(pipe := tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(pipe))
    with closing(Client(PATIENT, Cancellation())) as client:
        client.prepare(origin.url(PATH))
        assert get(client, origin.url(PATH)).data == FILE
    assert "modelfetch-tls" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("host", "expired", "word", "advice"),
    [
        ("other.example", False, "127.0.0.1", "Check the address"),
        ("127.0.0.1", True, "expired", "Check the clock"),
    ],
    ids=["wrong host", "expired"],
)
def test_a_bad_certificate_is_refused_without_a_second_try(
    authority: Authority, trusting: Client, host: str, expired: bool, word: str, advice: str
) -> None:
    with Origin(tls=authority.server(host, expired=expired)) as origin:
        error = get(trusting, origin.url(PATH)).failure
        assert (origin.connections, origin.requests) == (1, [])
    assert error.fault is Fault.TLS
    assert not error.retry
    assert word in error.message
    assert advice in error.hint


def test_https_to_a_plain_server_fails_and_stays_https(client: Client) -> None:
    received: list[bytes] = []

    def plain(channel: Channel) -> None:
        received.append(channel.sock.recv(65_536))
        channel.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with closing(Listener(plain)) as listener:
        error = get(client, f"https://127.0.0.1:{listener.port}/").failure
    assert error.fault is Fault.TLS
    assert not error.retry
    assert len(received) == 1
    assert not received[0].startswith(b"GET")


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_a_handshake_that_is_cut_may_be_tried_again(client: Client, reset: bool) -> None:
    def hang_up(channel: Channel) -> None:
        channel.sock.recv(65_536)
        channel.end(reset=reset)

    with closing(Listener(hang_up)) as listener:
        error = get(client, f"https://127.0.0.1:{listener.port}/").failure
    assert error.fault in (Fault.CUT, Fault.CONNECT)
    assert error.retry


def test_a_handshake_that_never_ends_is_left() -> None:
    with (
        closing(Listener(lambda channel: channel.wait(HELD))) as listener,
        closing(Client(replace(PATIENT, connect_timeout=0.2), Cancellation())) as hasty,
    ):
        error = get(hasty, f"https://127.0.0.1:{listener.port}/").failure
    assert error.fault is Fault.CONNECT
    assert error.retry


def test_a_step_down_to_http_is_refused(secure: Origin, origin: Origin, trusting: Client) -> None:
    secure.fault("*", faults.redirect_to(origin))
    error = get(trusting, secure.url(PATH), credential=Credential.bearer(secure.endpoint, CANARY)).failure
    assert error.fault is Fault.REDIRECT
    assert not error.retry
    assert origin.requests == []
    assert CANARY not in everything_shown(error)


@BOTH_WAYS
def test_a_step_up_to_https_is_followed(secure: Origin, origin: Origin, trusting: Client) -> None:
    origin.fault("*", faults.redirect_to(secure))
    credential = Credential.bearer(origin.endpoint, CANARY)
    assert get(trusting, origin.url(PATH), credential=credential).data == FILE
    assert secure.foreign_headers == set()


@pytest.mark.quick(every=3)
@BOTH_WAYS
@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (faults.no_length_cut(1000), 1000),
        (faults.cut(1000), 1000),
        (faults.cut(SIZE - 1), SIZE - 1),
        (faults.all_of(faults.chunked(), faults.cut(1000)), 1000),
    ],
    ids=lambda value: value.name if isinstance(value, OriginFault) else "",
)
def test_a_cut_without_close_notify_is_found(
    secure: Origin, trusting: Client, fault: OriginFault, kept: int
) -> None:
    secure.fault("*", fault)
    got = get(trusting, secure.url(PATH))
    assert got.failure.fault is Fault.CUT
    assert got.data == FILE[:kept]


def test_a_stale_connection_is_replaced_once(secure: Origin, trusting: Client) -> None:
    secure.fault("*", faults.no_answer(), when=lambda request: request.reused)
    for _ in range(2):
        assert get(trusting, secure.url(PATH)).data == FILE
    assert secure.connections == 2


# Settings that cannot be used


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, b"", b"not a certificate"], ids=["missing", "empty", "garbage"])
def test_unusable_authorities_are_named_when_tls_is_used(
    origin: Origin,
    secure: Origin,
    content: bytes | None,
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "ca\x1b.pem"
    if content is not None:
        path.write_bytes(content)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(path))
    with closing(Client(PATIENT, Cancellation())) as client:
        assert get(client, origin.url(PATH)).data == FILE, "a request without TLS needs none"
        error = get(client, secure.url(PATH)).failure
    assert error.fault is Fault.TLS
    assert not error.retry
    assert f"environment {variable}: " in error.message
    assert error.message.isprintable()
    assert variable in error.hint


def test_the_bundle_of_requests_is_honored(
    authority: Authority, secure: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.write(tmp_path / "ca.pem")))
    with closing(Client(PATIENT, Cancellation())) as client:
        assert get(client, secure.url(PATH)).data == FILE


def test_ssl_cert_file_comes_before_the_bundle_of_requests(
    authority: Authority, secure: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "ca.pem")))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    with closing(Client(PATIENT, Cancellation())) as client:
        assert get(client, secure.url(PATH)).data == FILE

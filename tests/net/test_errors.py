"""Translation of exceptions: the fault of each class, and nothing of their texts in messages."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest

from modelfetch.errors import Fault
from modelfetch.net.httpx_errors import source_error
from modelfetch.net.proxies import Proxy

CANARY = "s3cr3t-canary"
PROXY = Proxy(f"http://user:{CANARY}@proxy.example", "https_proxy")


def caused(error: Exception, *causes: BaseException) -> Exception:
    """An exception raised from another, raised from another, ..."""
    outer: BaseException = error
    for cause in causes:
        outer.__cause__ = cause
        outer = cause
    return error


def unverified(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, CANARY)
    error.verify_message = message
    return error


def connect_error(*causes: BaseException) -> Exception:
    return caused(httpx.ConnectError(CANARY), *causes)


HUNG_UP = httpx.RemoteProtocolError("Server disconnected without sending a response.")
SHORT = httpx.RemoteProtocolError("peer closed connection without sending complete message body (received 5")


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("error", "before", "inside"),
    [
        (httpx.ConnectTimeout(CANARY), Fault.CONNECT, Fault.CONNECT),
        (httpx.ReadTimeout(CANARY), Fault.TIMEOUT, Fault.STALL),
        (httpx.WriteTimeout(CANARY), Fault.TIMEOUT, Fault.STALL),
        (httpx.ReadError(CANARY), Fault.CUT, Fault.CUT),
        (httpx.WriteError(CANARY), Fault.CUT, Fault.CUT),
        (HUNG_UP, Fault.CUT, Fault.CUT),
        (SHORT, Fault.CUT, Fault.CUT),
        (httpx.RemoteProtocolError(f"illegal status line: {CANARY}"), Fault.PROTOCOL, Fault.PROTOCOL),
        (httpx.RemoteProtocolError("Receive buffer too long"), Fault.PROTOCOL, Fault.PROTOCOL),
        (httpx.LocalProtocolError(CANARY), Fault.PROTOCOL, Fault.PROTOCOL),
        (httpx.UnsupportedProtocol(CANARY), Fault.PROTOCOL, Fault.PROTOCOL),
        (httpx.InvalidURL(CANARY), Fault.PROTOCOL, Fault.PROTOCOL),
        (httpx.ProxyError(f"503 {CANARY}"), Fault.PROXY, Fault.PROXY),
        (httpx.ProxyError(f"407 {CANARY}"), Fault.PROXY, Fault.PROXY),
        (TimeoutError(CANARY), Fault.TIMEOUT, Fault.STALL),
        (ConnectionResetError(CANARY), Fault.CUT, Fault.CUT),
        (ssl.SSLError(1, CANARY), Fault.CUT, Fault.CUT),
        (UnicodeError(CANARY), Fault.PROTOCOL, Fault.PROTOCOL),
        (RuntimeError(CANARY), Fault.PROTOCOL, Fault.PROTOCOL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_the_class_before_and_inside_the_body(error: Exception, before: Fault, inside: Fault) -> None:
    for body, fault in ((False, before), (True, inside)):
        found = source_error(error, body=body)
        assert found.fault is fault
        assert found.retry == fault.is_transient
        assert CANARY not in found.message + found.hint


@pytest.mark.parametrize(
    ("error", "fault", "retry", "words"),
    [
        (connect_error(), Fault.CONNECT, True, "no connection"),
        (connect_error(ConnectionRefusedError(111, "Connection refused")), Fault.CONNECT, True, "refused"),
        (connect_error(OSError(113, "No route to host")), Fault.CONNECT, True, "no route to host"),
        (connect_error(ConnectionResetError(104, "Connection reset by peer")), Fault.CONNECT, True, "reset"),
        (connect_error(socket.gaierror(socket.EAI_AGAIN, CANARY)), Fault.CONNECT, True, "at the moment"),
        (connect_error(socket.gaierror(socket.EAI_NONAME, CANARY)), Fault.CONNECT, False, "resolve host"),
        (connect_error(unverified("certificate has expired")), Fault.TLS, False, "certificate has expired"),
        (connect_error(ssl.SSLError(1, CANARY)), Fault.TLS, False, "handshake failed"),
        (connect_error(ssl.SSLEOFError(8, CANARY)), Fault.CUT, True, "handshake"),
        (connect_error(ssl.SSLZeroReturnError(6, CANARY)), Fault.CUT, True, "handshake"),
    ],
    ids=lambda value: type(value.__cause__).__name__ if isinstance(value, Exception) else None,
)
def test_why_a_connection_could_not_be_made(error: Exception, fault: Fault, retry: bool, words: str) -> None:
    found = source_error(error, body=False)
    assert (found.fault, found.retry) == (fault, retry)
    assert words in found.message
    assert CANARY not in found.message + found.hint


def test_the_cause_is_found_however_deep() -> None:
    """httpx wraps exceptions of httpcore, which wraps those of the operating system."""
    deep = connect_error(httpx.ConnectError(CANARY), ConnectionRefusedError(111, "Connection refused"))
    assert source_error(deep, body=False).message == "connection refused"


def test_a_refused_certificate_comes_with_advice_and_without_its_control_bytes() -> None:
    """On some systems the text contains the subject of the certificate, which an attacker can choose."""
    found = source_error(connect_error(unverified("“evil\x1b[2J\u202e” is not trusted")), body=False)
    assert found.message == "certificate refused: “evil[2J” is not trusted"
    assert "SSL_CERT_FILE" in found.hint


@pytest.mark.parametrize(("code", "word"), [(10, "clock"), (9, "clock"), (62, "address"), (64, "address")])
def test_a_trust_anchor_is_not_advised_where_it_does_not_help(code: int, word: str) -> None:
    refused = unverified("IP address mismatch, certificate is not valid for '127.0.0.1'.")
    refused.verify_code = code
    found = source_error(connect_error(refused), body=False)
    assert word in found.hint
    assert "SSL_CERT_FILE" not in found.hint
    assert found.message.endswith("for '127.0.0.1'")


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (connect_error(ConnectionRefusedError(111, "Connection refused")), True),
        (httpx.ConnectTimeout(CANARY), True),
        (connect_error(socket.gaierror(socket.EAI_NONAME, CANARY)), False),
    ],
)
def test_behind_a_proxy_it_is_the_proxy_that_cannot_be_reached(error: Exception, retry: bool) -> None:
    found = source_error(error, body=False, proxy=PROXY)
    assert (found.fault, found.retry) == (Fault.PROXY, retry)
    assert "proxy" in found.message
    assert found.hint


@pytest.mark.parametrize(
    "error", [connect_error(unverified("self-signed certificate")), httpx.ReadTimeout(CANARY), HUNG_UP]
)
def test_what_goes_wrong_behind_the_proxy_is_not_its_fault(error: Exception) -> None:
    assert source_error(error, body=False, proxy=PROXY).fault is not Fault.PROXY


def test_a_proxy_that_wants_credentials_comes_with_advice() -> None:
    found = source_error(httpx.ProxyError(f"407 {CANARY}"), body=False)
    assert "credentials (407)" in found.message
    assert "HTTPS_PROXY" in found.hint


def test_a_location_that_httpx_cannot_parse_is_a_bad_redirect() -> None:
    error = httpx.RemoteProtocolError(f"Invalid URL in location header: {CANARY}.")
    found = source_error(error, body=False)
    assert found.fault is Fault.REDIRECT
    assert CANARY not in found.message

"""Hostile responses: memory, time, terminal control characters, and secrets."""

from __future__ import annotations

import logging
import time
import tracemalloc

import pytest

from modelfetch.errors import Fault
from modelfetch.net.client import Client
from modelfetch.net.credentials import Credential
from tests.net.asking import CANARY, FILE, SIZE, everything_shown, get
from tests.origin import Fault as OriginFault
from tests.origin import Origin, faults, refusing_port
from tests.patience import IN_TIME

HALF = SIZE // 2

# Memory and time


def test_a_gzip_bomb_is_refused_in_flat_memory(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.gzip_bomb(32 << 20))
    get(client, url)  # the server builds the bomb at the first request
    tracemalloc.start()
    try:
        error = get(client, url).failure
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.fault is Fault.PROTOCOL
    assert "gzip" in error.message
    assert peak < 4_000_000


def test_an_endless_error_body_is_left(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.status(404, body=b"x" * 20_000_000))
    assert get(client, url).failure.fault is Fault.NOT_FOUND
    origin.until(lambda origin: origin.active == 0)
    assert origin.bytes_sent < 15_000_000


@pytest.mark.parametrize("fault", [faults.stall(3), faults.trickle(1, every=0.1)], ids=["stall", "trickle"])
def test_an_error_body_that_never_arrives_is_not_waited_for(
    origin: Origin, client: Client, url: str, fault: OriginFault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.net.heads.EXCERPT_SECONDS", 0.1)
    origin.fault("*", faults.all_of(faults.status(404, body=b"x" * 5000), fault))
    started = time.monotonic()
    assert get(client, url).failure.fault is Fault.NOT_FOUND
    assert time.monotonic() - started < IN_TIME


# Terminal control characters


@pytest.mark.parametrize(
    "fault",
    [
        faults.all_of(faults.status(500), faults.reason("\x1b]0;owned\x07")),
        faults.all_of(faults.html_login(), faults.header("Content-Type", "\x1b[31mtext/html")),
        faults.header("Content-Encoding", "\x1b[2J\x9b"),
        faults.header("ETag", '"\x1b[2J"'),
        faults.content_range("bytes \x1b[2J/\x07"),
        faults.status(404, body=b"\x1b]52;c;ZXZpbA==\x07"),
        faults.raw(b"HTTP/1.1 200 \x1b[2J\r\nX\x1b: y\r\n\r\n"),
    ],
    ids=lambda fault: fault.name,
)
def test_no_terminal_control_of_a_server_reaches_a_message(
    origin: Origin, client: Client, url: str, fault: OriginFault
) -> None:
    origin.fault("*", fault)
    got = get(client, url, HALF)
    shown = "" if got.error is None else got.error.message + got.error.hint
    assert shown.isprintable()


def test_cookies_are_never_stored(origin: Origin, client: Client, url: str) -> None:
    origin.fault("*", faults.header("Set-Cookie", "session=abc; Path=/; Max-Age=9999"), times=1)
    for _ in range(2):
        get(client, url)
    assert [request.header("Cookie") for request in origin.requests] == [None, None]


# Secrets


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "fault",
    [
        *[faults.status(status) for status in (401, 403, 404, 407, 429, 500, 511)],
        *[
            faults.no_answer(),
            faults.cut(10),
            faults.html_login(),
            faults.wrong_start(),
            faults.two_lengths(1),
        ],
        *[faults.raw(b"nonsense\r\n\r\n"), faults.redirect_loop(), faults.redirect(f"ftp://h/?{CANARY}")],
        faults.redirect(f"http://user:{CANARY}@127.0.0.1/"),
        faults.redirect(f"http://[::1/?{CANARY}"),
        faults.redirect(f"/x?{CANARY}\x1b"),
    ],
    ids=lambda fault: fault.name,
)
def test_no_secret_in_any_error_nor_in_what_caused_it(
    origin: Origin, client: Client, url: str, fault: OriginFault
) -> None:
    origin.fault("*", fault)
    secret = Credential.bearer(origin.endpoint, CANARY)
    got = get(client, f"{url}?X-Amz-Signature={CANARY}", credential=secret)
    assert CANARY not in everything_shown(got.failure)


def test_no_secret_is_shown_when_no_server_answers(client: Client) -> None:
    with refusing_port() as port:
        got = get(client, f"http://127.0.0.1:{port}/x?token={CANARY}")
    assert CANARY not in everything_shown(got.failure)


def test_no_secret_in_the_logs_of_those_who_log_everything(
    origin: Origin, client: Client, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    origin.fault("*", faults.redirect(f"/files/big.bin?sig={CANARY}"), times=1)
    got = get(client, f"{url}?token={CANARY}", credential=Credential.bearer(origin.endpoint, CANARY))
    assert got.data == FILE
    assert CANARY not in caplog.text

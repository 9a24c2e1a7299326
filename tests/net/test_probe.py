"""Checking whether hosts answer."""

from __future__ import annotations

import threading

from modelfetch.net.probe import Question, probe
from tests.origin import Origin, Request, faults, refusing_port
from tests.patience import HELD, IN_TIME


def test_any_answer_counts_with_its_status_and_time() -> None:
    with Origin() as origin:
        origin.add("there", b"x" * 100_000)
        [head, byte, missing] = probe(
            [
                Question(origin.url("/files/there")),
                Question(origin.url("/files/there"), is_head=False),
                Question(origin.url("/nowhere/at/all")),
            ],
            limit=HELD,
        )
        assert (head.status, byte.status, missing.status) == (200, 206, 404)
        assert {head.error, byte.error, missing.error} == {""}
        assert all(0 < reply.seconds < IN_TIME for reply in (head, byte, missing))
        assert sorted(request.method for request in origin.requests) == ["GET", "HEAD", "HEAD"]
        assert origin.bytes_sent <= 1


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with Origin() as origin:
        origin.fault("*", faults.redirect_loop())
        [reply] = probe([Question(origin.url("/x"))], limit=HELD)
        assert reply.status in (301, 302, 303, 307, 308)
        assert len(origin.requests) == 1


def test_a_host_that_is_not_there_is_said_so() -> None:
    with refusing_port() as port:
        [reply] = probe([Question(f"http://127.0.0.1:{port}/")], limit=HELD)
    assert (reply.status, reply.error) == (None, "connection refused")


def test_a_host_that_does_not_answer_delays_no_other() -> None:
    with Origin() as origin:
        was_asked = threading.Event()

        def note(_: Request) -> bool:
            was_asked.set()
            return False

        origin.fault("/silent", faults.stall(until=was_asked))
        origin.fault("/nowhere", faults.no_answer(), when=note)
        silent, good = probe(
            [Question(origin.url("/silent")), Question(origin.url("/nowhere"))], limit=IN_TIME
        )
    assert (silent.status, good.status) == (404, 404), "each was answered only because both were asked"


def test_a_host_that_does_not_answer_is_said_so() -> None:
    with Origin() as origin:
        origin.fault("/cut", faults.no_answer())
        [cut] = probe([Question(origin.url("/cut"))], limit=HELD)
        origin.fault("/silent", faults.stall())
        [silent] = probe([Question(origin.url("/silent"))], limit=0.1)
    assert (cut.status, silent.status) == (None, None)
    assert cut.error
    assert silent.error


def test_an_unusable_address_is_an_ordinary_failure() -> None:
    [reply] = probe([Question("http://exa mple/")])
    assert reply.status is None


def test_no_questions_no_requests() -> None:
    assert probe([]) == []

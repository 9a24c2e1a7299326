"""Answers of unknown size: their limits, and ends that are no ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.net.answers import Answer
from modelfetch.net.client import Client
from tests.engine.fakes import FakeClock
from tests.hubs.server import HubServer, Reply, Request
from tests.net.asking import PATIENT


class Empty(HubServer):
    """Serves what is scripted."""

    def answer(self, request: Request) -> Reply:
        return Reply(404)


@pytest.fixture
def server() -> Iterator[Empty]:
    with Empty() as server:
        yield server


def ask(client: Client, server: Empty, reply: Reply) -> Answer:
    server.script("/", reply)
    return client.open(f"{server.endpoint}/x", {}, None)


def test_a_body(client: Client, server: Empty) -> None:
    with ask(client, server, Reply(201, {"X-A": "b"}, b"abc")) as answer:
        assert (answer.status, answer.headers["x-a"], answer.length) == (201, "b", 3)
        assert answer.url == f"{server.endpoint}/x"
        assert answer.read() == b"abc"


def test_a_body_of_unknown_length(client: Client, server: Empty) -> None:
    with ask(client, server, Reply(body=b"abc", chunked=True)) as answer:
        assert answer.length is None
        assert answer.read(3) == b"abc"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long(client: Client, server: Empty, chunked: bool) -> None:
    with ask(client, server, Reply(body=bytes(100), chunked=chunked)) as answer:
        with pytest.raises(SourceError, match="more than 99 bytes") as caught:
            answer.read(99)
        assert caught.value.fault is Fault.SIZE


@pytest.mark.parametrize("cut", [0, 99])
def test_a_body_that_was_cut(client: Client, server: Empty, cut: int) -> None:
    with ask(client, server, Reply(body=bytes(100), cut=cut)) as answer:
        with pytest.raises(SourceError) as caught:
            answer.read()
        assert (caught.value.fault, caught.value.retry) == (Fault.CUT, True)


@pytest.mark.parametrize("encoding", ["gzip", "br", "x"])
def test_compressed_content_is_refused_unread(client: Client, server: Empty, encoding: str) -> None:
    with (
        ask(client, server, Reply(headers={"Content-Encoding": encoding}, body=b"abc")) as answer,
        pytest.raises(SourceError, match="compressed content") as caught,
    ):
        answer.read()
    assert caught.value.fault is Fault.PROTOCOL


@pytest.mark.parametrize("encoding", ["identity", "", " Identity "])
def test_content_that_is_not_compressed(client: Client, server: Empty, encoding: str) -> None:
    with ask(client, server, Reply(headers={"Content-Encoding": encoding}, body=b"abc")) as answer:
        assert answer.read() == b"abc"


@pytest.mark.parametrize(("body", "value"), [(b"{}", {}), (b"null", None), (b'"\xc3\xa9"', "é")])
def test_json(client: Client, server: Empty, body: bytes, value: object) -> None:
    with ask(client, server, Reply(body=body)) as answer:
        assert answer.json() == value


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 200_000, b"\xff"])
def test_what_is_not_json(client: Client, server: Empty, body: bytes) -> None:
    with ask(client, server, Reply(body=body)) as answer, pytest.raises(SourceError, match="not JSON"):
        answer.json()


def test_a_silent_server_is_given_up(server: Empty) -> None:
    clock = FakeClock()
    patient = Client(PATIENT, Cancellation(), clock)
    with ask(patient, server, Reply(length=100)) as answer:
        clock.now += PATIENT.stall_timeout - 0.1
        with pytest.raises(SourceError) as caught:
            answer.read()
        assert caught.value.fault is Fault.STALL
    patient.close()

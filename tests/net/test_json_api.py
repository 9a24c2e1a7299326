"""The JSON API client: what is sent, what is accepted, and what is rejected."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.errors import Fault, SourceError
from modelfetch.net.json_api import ANSWER_BYTES, Api, Reply, Stream
from modelfetch.net.sse import LIMIT, Message
from tests.origin.certificates import Authority
from tests.origin.listener import Listener, refusing_port
from tests.patience import HELD, IN_TIME
from tests.remote.scripted import TOKEN, Answer, Script, document, refusal, serving, stream, whole

JOBS = "GET /v1/jobs"
STREAM = "GET /stream"


@contextmanager
def asking(answer: Answer, cancel: Cancellation | None = None) -> Iterator[tuple[Api, Script]]:
    """A client, and a server that sends the same response to every request."""
    script = Script({JOBS: [answer], STREAM: [answer], "POST /v1/jobs": [answer]})
    with serving(script) as address, closing(Api(address.base, TOKEN, cancel or Cancellation())) as client:
        yield client, script


def why(ask: Callable[[], object]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        ask()
    assert TOKEN not in f"{caught.value.message}{caught.value.hint}"
    return caught.value


def test_a_document_is_sent_with_the_token_and_the_answer_read() -> None:
    with asking(document({"job_id": "job-1"}, 202)) as (client, script):
        reply = client.request("POST", "/v1/jobs", {"model": "m"})
    assert (reply.status, reply.kind, reply.document) == (202, "application/json", {"job_id": "job-1"})
    [request] = script.asked
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.body == b'{"model":"m"}'


def test_a_request_without_a_document_has_no_body() -> None:
    with asking(document({})) as (client, script):
        client.request("GET", "/v1/jobs")
    [request] = script.asked
    assert "content-type" not in request.headers
    assert "content-length" not in request.headers


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff", b"[" * 100_000, b"3"])
def test_an_answer_that_is_no_object_has_no_document(body: bytes) -> None:
    assert Reply(200, "application/json", body).document is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    with asking(document({})) as (_, other):
        away = whole(b"", status, location="http://127.0.0.1:1/")
        with asking(away) as (client, script):
            assert client.request("GET", "/v1/jobs").status == status
            answer = client.listen("/stream", None)
            assert isinstance(answer, Reply)
            assert answer.status == status
        assert len(script.asked) == 2
        assert other.asked == []


def test_an_answer_is_bounded() -> None:
    with asking(whole(b"x" * (ANSWER_BYTES + 1))) as (client, _):
        error = why(lambda: client.request("GET", "/v1/jobs"))
    assert (error.fault, error.retry) == (Fault.PROTOCOL, False)


def test_no_server_is_reported() -> None:
    with refusing_port() as port, closing(Api(f"http://127.0.0.1:{port}", TOKEN, Cancellation())) as client:
        error = why(lambda: client.request("GET", "/v1/jobs"))
    assert (error.fault, error.message) == (Fault.CONNECT, "connection refused")


def test_silence_is_waited_for_as_long_as_requested() -> None:
    with asking(lambda channel: channel.wait(HELD)) as (client, _):
        started = time.monotonic()
        error = why(lambda: client.request("GET", "/v1/jobs", seconds=0.1))
    assert error.fault is Fault.TIMEOUT
    assert time.monotonic() - started < IN_TIME


def test_an_answer_that_is_cut_is_none() -> None:
    def cut(channel: object) -> None:
        channel.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}")  # type: ignore[attr-defined]

    with asking(cut) as (client, _):
        assert why(lambda: client.request("GET", "/v1/jobs")).fault is Fault.CUT


def test_credentials_of_other_files_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with asking(document({})) as (client, script):
        client.request("GET", "/v1/jobs")
    assert script.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_this_machine_is_never_reached_by_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with asking(document({})) as (client, _):
        assert client.request("GET", "/v1/jobs").status == 200


def test_tls_is_trusted_as_for_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority()
    script = Script({JOBS: [document({"jobs": []})]})
    with closing(Listener(script, tls=authority.server())) as listener:
        base = f"https://127.0.0.1:{listener.port}"
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name, raising=False)
        with closing(Api(base, TOKEN, Cancellation())) as client:
            assert why(lambda: client.request("GET", "/v1/jobs")).fault is Fault.TLS
        assert script.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "ca.pem")))
        with closing(Api(base, TOKEN, Cancellation())) as client:
            assert client.request("GET", "/v1/jobs").document == {"jobs": []}


# Streams


def received(client: Api, seconds: float = IN_TIME) -> list[list[Message]]:
    answer = client.listen("/stream", None, seconds=seconds)
    assert isinstance(answer, Stream)
    with closing(answer):
        return list(answer)


def test_a_stream_gives_messages_as_they_come_and_nothing_for_a_heartbeat() -> None:
    with asking(stream("data: x\n\n", date="Fri, 20 Nov 2026 06:00:00 GMT")) as (client, script):
        answer = client.listen("/stream", 7)
        assert isinstance(answer, Stream)
        with closing(answer):
            assert list(answer) == [[Message("x")]]
        assert answer.date == 1795154400.0
    [request] = script.asked
    assert request.after == "7"
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    with asking(stream(": heartbeat\n\n")) as (client, script):
        assert received(client) == [[]]
    assert script.asked[0].after is None


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 99 Nov 2026 06:00:00 GMT"])
def test_a_stream_without_a_date_has_none(date: str) -> None:
    with asking(stream(date=date)) as (client, _):
        answer = client.listen("/stream", None)
        assert isinstance(answer, Stream)
        assert answer.date is None
        answer.close()


@pytest.mark.parametrize(
    "answer", [refusal(404, "unknown_job", "no"), document({}), whole(b"<html>"), whole(b"", 204)]
)
def test_what_is_no_stream_is_an_answer(answer: Answer) -> None:
    with asking(answer) as (client, _):
        assert isinstance(client.listen("/stream", None), Reply)


def test_a_reset_stream_is_cut() -> None:
    with asking(stream("data: x\n\n", reset=True)) as (client, _):
        error = why(lambda: received(client))
    assert (error.fault, error.retry) == (Fault.CUT, True)


def test_a_silent_stream_is_left() -> None:
    started = time.monotonic()
    with asking(stream("data: x\n\n", hold=True)) as (client, _):
        while (fault := why(lambda: received(client, seconds=0.1)).fault) is Fault.TIMEOUT:
            assert time.monotonic() - started < IN_TIME, "on a busy machine the head may be late as well"
    assert fault is Fault.STALL


@pytest.mark.slow
def test_a_message_without_an_end_is_refused() -> None:
    with asking(stream(b"data: " + b"x" * LIMIT)) as (client, _):
        error = why(lambda: received(client))
    assert (error.fault, error.retry) == (Fault.PROTOCOL, False)


def test_a_stream_that_says_nothing_is_woken_by_a_cancel() -> None:
    cancel = Cancellation()
    with asking(stream("data: x\n\n", hold=True), cancel) as (client, _):
        threading.Timer(0.1, cancel.cancel).start()
        started = time.monotonic()
        with pytest.raises(Cancelled):
            received(client)
    assert time.monotonic() - started < IN_TIME

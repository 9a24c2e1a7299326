"""A server with scripted answers, one per connection, that records the requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from modelfetch.engine.events import Event
from modelfetch.engine.record import to_json
from modelfetch.remote import Address
from tests.origin.channel import Channel
from tests.origin.listener import Listener
from tests.patience import HELD
from tests.scripted import at_once, stamped

TOKEN = "t0ken-canary"
JOB = "job-0b54c6de-5b0a-4a3f-8f56-0c5ee6a7a4c1"
STREAM = f"GET /v1/jobs/{JOB}/stream"


@dataclass(frozen=True)
class Asked:
    """One request."""

    line: str
    """Method and path."""
    headers: Mapping[str, str]
    body: bytes

    @property
    def after(self) -> str | None:
        """Its ``Last-Event-ID``."""
        return self.headers.get("last-event-id")


Answer = Callable[[Channel], None]
"""Writes an answer to a connection."""


@dataclass
class Script:
    """Answers by method and path, in order; the last one is repeated."""

    answers: dict[str, list[Answer]]
    asked: list[Asked] = field(default_factory=list)

    def __call__(self, channel: Channel) -> None:
        head = channel.read_head()
        if head is None:
            return
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        request = Asked(
            first.rpartition(" ")[0], headers, _body(channel, int(headers.get("content-length", 0)))
        )
        self.asked.append(request)
        waiting = self.answers.get(request.line) or [refusal(404, "unknown_job", "there is no such thing")]
        (waiting.pop(0) if len(waiting) > 1 else waiting[0])(channel)

    def to(self, line: str) -> list[Asked]:
        """The requests for one method and path."""
        return [request for request in self.asked if request.line == line]


def _body(channel: Channel, length: int) -> bytes:
    body = channel._buffer
    while len(body) < length:
        body += channel.sock.recv(length - len(body))
    return body


@contextmanager
def serving(script: Script, port: int = 0) -> Iterator[Address]:
    """Serve a script on the loopback interface."""
    with closing(Listener(script, port=port)) as listener:
        yield Address(f"http://127.0.0.1:{listener.port}", TOKEN)
        assert listener.errors == []


# Answers


def document(body: Any, status: int = 200, **headers: str) -> Answer:
    """Answer in JSON."""
    return whole(json.dumps(body).encode(), status, "application/json", **headers)


def refusal(status: int, code: str, message: str, hint: str = "") -> Answer:
    """Refuse as a modelfetch server does."""
    return document({"error": {"code": code, "message": message, "hint": hint}}, status)


def whole(body: bytes, status: int = 200, kind: str = "text/html", **headers: str) -> Answer:
    """Answer with any body."""

    def answer(channel: Channel) -> None:
        fields = {"content-type": kind, "content-length": str(len(body)), "connection": "close"} | headers
        channel.sock.sendall(head(status, fields) + body)
        channel.end()

    return answer


def stream(*pieces: str | bytes, reset: bool = False, hold: bool = False, **headers: str) -> Answer:
    """Stream pieces; then close the connection in order, reset it, or leave it open."""

    def answer(channel: Channel) -> None:
        fields = {"content-type": "text/event-stream; charset=utf-8", "connection": "close"} | headers
        channel.sock.sendall(head(200, fields))
        for piece in pieces:
            channel.sock.sendall(piece.encode() if isinstance(piece, str) else piece)
        if hold:
            channel.wait(HELD)
        channel.end(reset=reset)

    return answer


def head(status: int, fields: Mapping[str, str]) -> bytes:
    """The head of an answer."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# What servers say


def records_of(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the records of a run, a tenth of a second apart."""
    return [to_json(record) | {"human": "words"} for record in stamped(at_once(events))]


def frame(record: Mapping[str, Any]) -> str:
    """One record as a message of a stream."""
    return f"id: {record['n']}\nevent: {record['event']}\ndata: {json.dumps(record)}\n\n"


def frames(records: Iterable[Mapping[str, Any]]) -> str:
    """Several records as messages of a stream."""
    return "".join(map(frame, records))


DONE = "data: [DONE]\n\n"
CANCELLED = "data: [CANCELLED]\n\n"


def snapshot(job_id: str = JOB, **other: Any) -> dict[str, Any]:
    """A job as a server describes it."""
    return {
        "job_id": job_id,
        "operation": "model_download",
        "model": "whisper-base",
        "title": "Whisper",
        "repair": False,
        "force": False,
        "status": "running",
        "phase": "fetching",
        "created_at": "2026-11-20T06:00:00.000Z",
        "started_at": None,
        "finished_at": None,
        "retry_of": None,
        "received": 84713746,
        "size": 295287109,
        "speed": 12345678,
        "eta": 17.056,
        "percent": 28.6,
        "files_total": 9,
        "files_done": 3,
        "sources": [{"source": "huggingface", "host": "huggingface.co", "received": 84_713_746}],
        "waiting": None,
        "fetched": 84713746,
        "error": None,
        "exit_code": None,
        "last_event_id": 41,
        "human": "",
        **other,
    }

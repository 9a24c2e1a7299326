"""What all streams have in common: heartbeats, an end at disconnect, a released stream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, MutableMapping
from functools import partial
from typing import Any

from modelfetch.server.event_streams import Stream, Streams, event_frame, log_frames
from modelfetch.server.job_log import Entry, Log

Sent = list[MutableMapping[str, Any]]


class Reader:
    """The client side of an ASGI application."""

    def __init__(self, method: str = "GET") -> None:
        self.sent: Sent = []
        self.left = asyncio.Event()
        self.scope = {"type": "http", "method": method, "headers": []}

    async def receive(self) -> MutableMapping[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


def of(log: Log, streams: Streams, after: int = -1) -> Stream:
    return streams.response(log.subscribe, partial(log_frames, log, after))


def test_heartbeats_are_sent_without_events() -> None:
    heartbeat = b": heartbeat\n\n"

    async def run() -> tuple[bytes, float]:
        log, reader = Log([Entry(0, "run_started", "{}")]), Reader()
        stream, began = of(log, Streams(heartbeat=0.05)), time.monotonic()
        task = asyncio.create_task(stream(reader.scope, reader.receive, reader.send))
        while reader.body.count(heartbeat) < 3:
            await asyncio.sleep(0.01)
        log.end("[DONE]")
        await task
        return reader.body, time.monotonic() - began

    body, seconds = asyncio.run(run())
    assert body.startswith(b"id: 0\nevent: run_started\ndata: {}\n\n" + heartbeat)
    assert 3 <= body.count(heartbeat) <= seconds / 0.05
    assert body.endswith(b"data: [DONE]\n\n")


def test_a_disconnected_reader_releases_its_stream() -> None:
    async def run() -> tuple[int, int, int]:
        log, streams = Log(), Streams(limit=1)
        first, second, third = Reader(), Reader(), Reader()
        task = asyncio.create_task(of(log, streams)(first.scope, first.receive, first.send))
        while not first.sent:
            await asyncio.sleep(0)
        await of(log, streams)(second.scope, second.receive, second.send)
        first.left.set()
        await task
        log.end("[DONE]")
        await of(log, streams)(third.scope, third.receive, third.send)
        assert not log._followers
        return first.status, second.status, third.status

    assert asyncio.run(run()) == (200, 429, 200)


def test_a_head_request_opens_no_stream() -> None:
    async def run() -> Reader:
        reader = Reader("HEAD")
        await of(Log(), Streams(limit=0))(reader.scope, reader.receive, reader.send)
        return reader

    reader = asyncio.run(run())
    assert (reader.status, reader.body) == (200, b"")


def test_a_frame_is_one_event_whatever_it_contains() -> None:
    assert event_frame("jobs", {"a": "x\r\n\r\ndata: [DONE]\u2028<"}) == (
        b'event: jobs\ndata: {"a":"x\\r\\n\\r\\ndata: [DONE]\\u2028\\u003c"}\n\n'
    )


def test_a_failing_stream_is_released() -> None:
    async def run() -> int:
        streams = Streams(limit=1)

        async def broken(_alarm: object) -> AsyncIterator[bytes]:
            yield b"data: x\n\n"
            raise ZeroDivisionError

        readers = Reader(), Reader()
        for reader in readers:
            with contextlib.suppress(ZeroDivisionError):
                await streams.response(Log().subscribe, broken)(reader.scope, reader.receive, reader.send)
        return readers[-1].status

    assert asyncio.run(run()) == 200

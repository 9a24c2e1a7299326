"""Server-sent events: the log of a job, and the snapshots of all jobs, as streams that end in one way.

The format is that of the WHATWG HTML standard, section 9.2, with a line feed as the end of each line.

All jobs in one stream of snapshots, for pages that show them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modelfetch.server.error_responses import Refusal, dumps, refuse
from modelfetch.server.job_log import Crowded, Entry, Log
from modelfetch.server.job_snapshot import moving

if TYPE_CHECKING:
    from modelfetch.server.job_queue import Jobs, Known

HEARTBEAT: Final = 10
"""Seconds between two comments: shorter than the patience of any proxy (nginx: 60)."""
BATCH: Final = 64
"""Entries sent in one piece: a replay of thousands is quick, and a stalled reader holds little memory."""
STREAMS: Final = 256
"""Streams open at the same time."""

Frames = AsyncIterator[bytes]
Following = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Has what it is given called after each change, as long as it is entered."""

# It would cut streams off at the end of the server, without their last word. Ours end by themselves.
AppStatus.enable_automatic_graceful_drain = False


class Alarm:
    """Wakes one task from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._is_rung = False

    def ring(self) -> None:
        """Wake the task, now or when it next waits."""
        if not self._is_rung:
            self._is_rung = True
            with suppress(RuntimeError):  # the loop is closed, so nobody waits
                self._loop.call_soon_threadsafe(self._event.set)

    def reset(self) -> None:
        """Forget what was rung so far; call it before looking for news, never after."""
        self._event.clear()
        self._is_rung = False

    async def wait(self) -> None:
        """Wait until it rings."""
        await self._event.wait()


class Streams:
    """All open streams, which are bounded.

    Attributes:
        heartbeat: Seconds between two comments.
    """

    def __init__(self, limit: int = STREAMS, heartbeat: float = HEARTBEAT) -> None:
        self.heartbeat = heartbeat
        self._free = limit

    def serve(self, following: Following, frames: Callable[[Alarm], Frames]) -> Stream:
        """Make the answer that streams ``frames``, woken by ``following``."""
        return Stream(self, following, frames)

    def enter(self) -> bool:
        """Take a place, if there is one."""
        if not self._free:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self._free += 1


class Stream:
    """One answer that streams (an ASGI application, as every answer)."""

    def __init__(self, streams: Streams, following: Following, frames: Callable[[Alarm], Frames]) -> None:
        self._streams = streams
        self._following = following
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end, or until the reader goes."""
        if scope["method"] == "HEAD":
            await Response(media_type="text/event-stream")(scope, receive, send)
            return
        alarm = Alarm()
        if not self._streams.enter():
            await _crowded()(scope, receive, send)
            return
        try:
            with self._following(alarm.ring):
                response = EventSourceResponse(
                    self._frames(alarm), ping=self._streams.heartbeat, ping_message_factory=_heartbeat
                )
                await response(scope, receive, send)
        except Crowded:
            await _crowded()(scope, receive, send)
        finally:
            self._streams.leave()


def _crowded() -> Response:
    message = "as many readers follow already as may"
    return refuse(Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too_many_followers", message, "Close one of them."))


def _heartbeat() -> ServerSentEvent:
    return ServerSentEvent(comment="heartbeat", sep="\n")


def frame(kind: str, document: object) -> bytes:
    """Write an event that has no number."""
    return f"event: {kind}\ndata: {dumps(document)}\n\n".encode()


def numbered(entry: Entry) -> bytes:
    """Write an entry of a log."""
    return f"id: {entry.n}\nevent: {entry.kind}\ndata: {entry.data}\n\n".encode()


async def entries(log: Log, after: int, alarm: Alarm) -> Frames:
    """Give a job's entries behind a number, then those to come, and its marker."""
    while True:
        alarm.reset()
        end = log.marker  # looked at first: nothing is added once it is there
        batch = log.after(after, BATCH)
        if batch:
            after = batch[-1].n
            yield b"".join(map(numbered, batch))
        elif end is not None:
            yield f"data: {end}\n\n".encode()
            return
        else:
            await alarm.wait()


def last_event_id(value: str | None) -> int:
    """Read ``Last-Event-ID``; what is not a number counts as absent: from the beginning."""
    text = (value or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else -1


PAUSE: Final = 0.25
"""Seconds between two snapshots of one job: bars move four times a second, which looks alive."""


async def snapshots(jobs: Jobs, alarm: Alarm) -> Frames:
    """Give a snapshot of each job, and another one after each change; ends with the server."""
    seen: dict[str, int] = {}
    alarm.reset()
    async for piece in _changed(jobs, seen):
        yield piece
    yield frame("ready", {"jobs": list(seen)})
    while True:
        await alarm.wait()
        alarm.reset()
        for gone in seen.keys() - {job.id for job in jobs.all()}:
            del seen[gone]
            yield frame("gone", {"job_id": gone})
        async for piece in _changed(jobs, seen):
            yield piece
        if jobs.is_closed:
            return
        await asyncio.sleep(PAUSE)


async def _changed(jobs: Jobs, seen: dict[str, int]) -> Frames:
    """Give the jobs that are not what was seen of them; oldest first."""
    for job in jobs.all():
        version = job.version
        if seen.get(job.id) != version:
            seen[job.id] = version
            yield await run_in_threadpool(_frame, job)


def _frame(job: Known) -> bytes:
    return frame("jobs", moving(job.snapshot()))

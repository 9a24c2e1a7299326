"""Server-sent events: the stream of one job's log, and the stream of snapshots of all jobs.

The format is that of the WHATWG HTML standard, section 9.2, with a line feed as the end of each line::

    id: 9
    event: progress
    data: {"v":1,"n":9,...}

The log of a job is replayed from the position in ``Last-Event-ID`` and ends with a marker such as
``data: [DONE]``. Snapshots have no ids: a client that reconnects gets the current ones. Both kinds send a
comment as a heartbeat, and the number of open streams is limited.

Jobs change on their own threads, while streams run on the event loop. A :class:`ThreadEvent` connects the
two: each stream subscribes one, and looks for new data whenever it was set.
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

from modelfetch.server.error_responses import Refusal, dumps, error_response
from modelfetch.server.job_log import Entry, Log, TooManyFollowers
from modelfetch.server.job_snapshot import limit_files

if TYPE_CHECKING:
    from modelfetch.server.job_queue import AnyJob, Jobs

HEARTBEAT_SECONDS: Final = 10
"""Seconds between two comments: less than the read timeout of common proxies (nginx: 60)."""
BATCH_ENTRIES: Final = 64
"""Entries sent in one piece: a replay of thousands is fast, and a stalled reader holds little memory."""
MAX_STREAMS: Final = 256
"""Streams open at the same time."""
SNAPSHOT_SECONDS: Final = 0.25
"""Seconds between two snapshots of one job: four a second make a progress bar move smoothly."""

Frames = AsyncIterator[bytes]
Subscribe = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""While its context is entered, the callback it was given is called after each change."""

# sse-starlette would cancel open streams at shutdown, before the last event of a job was sent. Here each
# stream ends by itself, because shutdown ends every job first (Server.shutdown).
AppStatus.enable_automatic_graceful_drain = False


# What all streams have in common


class ThreadEvent:
    """An event that any thread may set and one task of the event loop waits for."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._is_set = False

    def set(self) -> None:
        """Wake the task, now or when it next waits."""
        # Jobs set it for every entry; without this check the event loop would get a call for each.
        if not self._is_set:
            self._is_set = True
            with suppress(RuntimeError):  # the loop is closed, so no task waits
                self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Reset it. Call it before looking for new data: the other way round, a change would be missed."""
        self._event.clear()
        self._is_set = False

    async def wait(self) -> None:
        """Wait until it is set."""
        await self._event.wait()


class Streams:
    """Limits the number of open streams.

    Attributes:
        heartbeat: Seconds between two comments.
    """

    def __init__(self, limit: int = MAX_STREAMS, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self.heartbeat = heartbeat
        self._free = limit

    def response(self, subscribe: Subscribe, frames: Callable[[ThreadEvent], Frames]) -> Stream:
        """Make the response that streams ``frames``, woken by ``subscribe``."""
        return Stream(self, subscribe, frames)

    # No lock: both methods run on the event loop only, and do not await.

    def acquire(self) -> bool:
        """Reserve one stream; False if the limit is reached."""
        if not self._free:
            return False
        self._free -= 1
        return True

    def release(self) -> None:
        """Give one stream back."""
        self._free += 1


class Stream:
    """One streamed response (an ASGI application, as every response of Starlette)."""

    def __init__(
        self, streams: Streams, subscribe: Subscribe, frames: Callable[[ThreadEvent], Frames]
    ) -> None:
        self._streams = streams
        self._subscribe = subscribe
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the frames end or the client disconnects."""
        if scope["method"] == "HEAD":  # no body, so nothing to reserve or to subscribe
            await Response(media_type="text/event-stream")(scope, receive, send)
            return
        changed = ThreadEvent()
        if not self._streams.acquire():
            await _too_many_followers()(scope, receive, send)
            return
        try:
            # Subscribed before the first frame is made, so that no change falls between the two.
            with self._subscribe(changed.set):
                response = EventSourceResponse(
                    self._frames(changed), ping=self._streams.heartbeat, ping_message_factory=_heartbeat
                )
                await response(scope, receive, send)
        except TooManyFollowers:
            await _too_many_followers()(scope, receive, send)
        finally:
            self._streams.release()


def _too_many_followers() -> Response:
    message = "the limit of open streams is reached"
    refusal = Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too_many_followers", message, "Close one of them.")
    return error_response(refusal)


def _heartbeat() -> ServerSentEvent:
    return ServerSentEvent(comment="heartbeat", sep="\n")


def event_frame(kind: str, document: object) -> bytes:
    """Write an event without an id."""
    return f"event: {kind}\ndata: {dumps(document)}\n\n".encode()


# The log of one job


async def log_frames(log: Log, after: int, changed: ThreadEvent) -> Frames:
    """Stream the entries of a log with a number above ``after``, then new ones, then its end marker."""
    while True:
        changed.clear()
        # The marker is read before the entries: once it is set, no entry is added. In the other order,
        # entries added between the two reads would be lost.
        end = log.marker
        batch = log.after(after, BATCH_ENTRIES)
        if batch:
            after = batch[-1].n
            yield b"".join(map(_entry_frame, batch))
        elif end is not None:
            yield f"data: {end}\n\n".encode()
            return
        else:
            await changed.wait()


def _entry_frame(entry: Entry) -> bytes:
    return f"id: {entry.n}\nevent: {entry.kind}\ndata: {entry.data}\n\n".encode()


def last_event_id(value: str | None) -> int:
    """Parse ``Last-Event-ID``; anything but a number counts as absent: -1, which replays everything."""
    text = (value or "").strip()
    # 15 digits are more than any run has events, and spare the conversion of an endless number.
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else -1


# Snapshots of all jobs


async def snapshot_frames(jobs: Jobs, changed: ThreadEvent) -> Frames:
    """Stream a snapshot of each job, then one for each change, until the server stops."""
    seen: dict[str, int] = {}  # the version of each job that was sent last
    changed.clear()
    is_last = jobs.is_closed
    async for piece in _changed_jobs(jobs, seen):
        yield piece
    yield event_frame("ready", {"jobs": list(seen)})
    while not is_last:
        await changed.wait()
        changed.clear()
        # Read before the jobs: once it is set, none of them changes. In the other order, the end of a job
        # between the two reads would be lost.
        is_last = jobs.is_closed
        for gone in seen.keys() - {job.id for job in jobs.all()}:
            del seen[gone]
            yield event_frame("gone", {"job_id": gone})
        async for piece in _changed_jobs(jobs, seen):
            yield piece
        if not is_last:
            await asyncio.sleep(SNAPSHOT_SECONDS)


async def _changed_jobs(jobs: Jobs, seen: dict[str, int]) -> Frames:
    """Stream the jobs whose version differs from the one sent last; oldest first."""
    for job in jobs.all():
        # Read before the snapshot: a change in between then causes one more snapshot, not a lost one.
        version = job.version
        if seen.get(job.id) != version:
            seen[job.id] = version
            # In a thread: a snapshot waits for the job's lock, which must not block the event loop.
            yield await run_in_threadpool(_snapshot_frame, job)


def _snapshot_frame(job: AnyJob) -> bytes:
    return event_frame("jobs", limit_files(job.snapshot()))

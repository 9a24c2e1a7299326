"""Following one job to its end, with reconnects.

:class:`JobFollower` opens the job's event stream and yields its records. When the connection is cut or the
server is temporarily unavailable, it reconnects with exponential backoff and resumes after the last record.
It gives up when there was no contact for two minutes (:class:`ReconnectPolicy`). In every case the last
record is ``run_finished``:

=======================================  ==========================================================
the stream ended with                    the end is
=======================================  ==========================================================
``run_finished``                         that event
an end marker only                       that of the job's snapshot, else what the marker says
404 or 401 after an earlier success      ``interrupted``: the server was restarted without the job
any other refusal                        ``failed`` with the server's error
nothing, for longer than two minutes     ``failed``: unavailable
=======================================  ==========================================================
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING, Final

from modelfetch.engine.events import ErrorInfo, RunFinished
from modelfetch.errors import Fault, ModelfetchError, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize
from modelfetch.net.json_api import Stream
from modelfetch.net.retry import Jitter, RetryPolicy, backoff
from modelfetch.remote.client import Job, ServerClient, shorten
from modelfetch.remote.decoder import Decoder, JobRecord, OtherVersionError
from modelfetch.remote.errors import is_temporary, refusal_error, unavailable, unreachable
from modelfetch.signal_exit_codes import SIGTERM_EXIT

if TYPE_CHECKING:
    from modelfetch.net.sse import Message

GIVE_UP_SECONDS: Final = 120.0
"""Seconds without contact after which the follower gives up; a machine restarts in less."""
DATE_SECONDS: Final = 1.0
"""Seconds by which the header ``Date`` may be behind, as it has whole seconds (RFC 9110, 5.6.7)."""

_BACKOFF: Final = RetryPolicy(base=0.5, cap=5.0)
"""Pauses between reconnects: a server that is available again is found within five seconds."""


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """How often to reconnect, and when to give up."""

    seconds: float = GIVE_UP_SECONDS
    """Seconds without contact after which to give up."""
    backoff: RetryPolicy = _BACKOFF
    jitter: Jitter = random.uniform


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """The state of the connection, reported whenever it changes."""

    job: Job
    wait: str
    """What the follower waits for, in words; empty while records arrive."""
    since: float
    """Start of this state, in monotonic seconds."""


Update = JobRecord | ConnectionState


class _Unavailable(Exception):  # noqa: N818 - not an error while reconnects are allowed
    """The server is temporarily unavailable; the text is the reason."""


class _Ended(Exception):  # noqa: N818 - carries the end of the job, whatever it is
    """There will be no more records."""

    def __init__(self, finished: RunFinished) -> None:
        super().__init__()
        self.finished = finished


class JobFollower:
    """Follows one job of a server.

    Args:
        server: The server.
        job: The job.
        reconnect: When to reconnect and when to give up.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        server: ServerClient,
        job: Job,
        reconnect: ReconnectPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._job = job
        self._reconnect = reconnect or ReconnectPolicy()
        self._clock = clock
        self._decoder = Decoder(job, clock)
        self._last_contact = clock()
        self._was_connected = False
        self._unavailable_since: float | None = None
        self._failures = 0

    def follow(self) -> Generator[Update, None, RunFinished]:
        """Yield the records of the job from its beginning to its end, each once.

        Returns:
            The end of the job. It is also the event of the last record; if the server did not send that
            record, it is made here.

        Raises:
            Cancelled: The client was cancelled.
        """
        while (finished := (yield from self._attempt())) is None:
            self._failures += 1
            pause = backoff(self._reconnect.backoff, self._failures, self._reconnect.jitter)
            self._server.cancellation.sleep(pause)
        if self._decoder.finished is None:
            yield self._decoder.end_record(finished)
        return finished

    # One connection

    def _attempt(self) -> Generator[Update, None, RunFinished | None]:
        """Follow the job over one connection; returns its end, or None to reconnect."""
        try:
            with closing(self._connect()) as stream:
                yield from self._read(stream)
            reason = "the connection was cut"
        except SourceError as error:
            # A name that could be resolved before can be again, so CONNECT is temporary here.
            if not (error.retry or error.fault is Fault.CONNECT):
                return _failure(unreachable(self._server.base, self._action, error))
            reason = error.message
        except _Unavailable as error:
            reason = str(error)
        except _Ended as ended:
            return ended.finished
        return (yield from self._after_disconnect(reason))

    def _connect(self) -> Stream:
        answer = self._server.open_stream(self._job.id, self._decoder.last)
        if isinstance(answer, Stream):
            return answer
        if is_temporary(answer):
            raise _Unavailable(f"HTTP {answer.status}")
        # Token and job were valid before, so another server process answers now, with a new token or no jobs.
        if answer.status in (401, 404) and self._was_connected:
            raise _Ended(self._interrupted())
        raise _Ended(_failure(refusal_error(self._server.base, self._action, answer)))

    def _read(self, stream: Stream) -> Generator[Update, None, None]:
        """Yield the new records of a stream, up to its end marker or its end."""
        self._last_contact, self._was_connected, self._unavailable_since = self._clock(), True, None
        self._decoder.synchronize(time.time() if stream.date is None else stream.date + DATE_SECONDS)
        wait = "" if self._decoder.last is not None else f"its turn in the queue of {self._server.base}"
        yield ConnectionState(self._job, wait, self._last_contact)
        for messages in stream:  # an empty list for a heartbeat, which is contact too
            self._last_contact = self._clock()
            for record in self._decode(messages):
                # Only a record resets the backoff: a proxy may accept connections and cut them at once.
                self._failures = 0
                yield record
            if self._decoder.marker is not None:
                return

    def _decode(self, messages: list[Message]) -> list[JobRecord]:
        try:
            return [record for each in messages if (record := self._decoder.decode(each)) is not None]
        except OtherVersionError:
            why = "its events have another version"
            raise _Ended(self._failed(why, "Install the same version of modelfetch here.")) from None

    def _after_disconnect(self, reason: str) -> Generator[Update, None, RunFinished | None]:
        """Return the end of the job if it is known or if it is time to give up; else None to reconnect."""
        if self._decoder.finished is not None:
            return self._decoder.finished
        if self._decoder.marker is not None:
            return self._request_end(self._decoder.marker)
        if self._clock() - self._last_contact > self._reconnect.seconds:
            return self._gave_up(reason)
        if self._unavailable_since is None:
            self._unavailable_since = self._clock()
        yield ConnectionState(self._job, f"{self._server.base}: {reason}", self._unavailable_since)
        return None

    # Ends that the stream did not contain

    def _request_end(self, marker: str) -> RunFinished:
        """Request the end of the job: its stream had the end marker, but not the event before it."""
        try:
            finished = self._server.job(self._job.id).finished()
        except ModelfetchError:
            finished = None
        if finished is None and marker == "[DONE]":
            return RunFinished("completed", 0, 0.0, (), None)
        why = f"its stream ended with {sanitize(marker)} only"
        return finished or self._failed(why, "`modelfetch jobs` shows its status.")

    def _interrupted(self) -> RunFinished:
        message = f"modelfetch server at {self._server.base}: it was stopped during {self._job.model}"
        hint = "Once it runs again, the same command resumes where this one stopped."
        return RunFinished("failed", SIGTERM_EXIT, 0.0, (), ErrorInfo("interrupted", message, hint))

    def _gave_up(self, reason: str) -> RunFinished:
        seconds = self._clock() - self._last_contact
        hint = f"The job may still run there: modelfetch attach {shorten(self._job.id)}"
        return self._failed(f"{reason}, for {seconds:.0f} s", hint)

    def _failed(self, why: str, hint: str) -> RunFinished:
        return _failure(unavailable(self._server.base, self._action, why, hint))

    @property
    def _action(self) -> str:
        return f"follow {shorten(self._job.id)}"


def _failure(error: ModelfetchError) -> RunFinished:
    info = ErrorInfo(error.code, error.message, error.hint)
    return RunFinished("failed", error.exit_code, 0.0, (), info)

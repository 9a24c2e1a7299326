"""Listening to one job to its end, however often the line is cut."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING, Final

from modelfetch.engine.events import ErrorInfo, RunFinished
from modelfetch.errors import Fault, ModelfetchError, SourceError
from modelfetch.exit_codes import SIGTERM_EXIT
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitise
from modelfetch.net.json_api import Stream
from modelfetch.net.retry import Jitter, RetryPolicy, backoff
from modelfetch.remote.client import Job, ServerClient, shorten
from modelfetch.remote.decoder import Decoder, OtherVersionError, Received
from modelfetch.remote.errors import may_pass, refused, unavailable, unreachable

if TYPE_CHECKING:
    from modelfetch.net.sse import Message

PATIENCE: Final = 120.0
"""Seconds without any contact after which the server counts as gone; a machine restarts in less."""
DATE_SECONDS: Final = 1.0
"""How much later it may be than the header ``Date`` says, which has whole seconds."""

_POLICY: Final = RetryPolicy(base=0.5, cap=5.0)
"""Pauses between attempts: a server that is back is found within five seconds."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, and how often, a server that is away is asked again. Times are in seconds."""

    seconds: float = PATIENCE
    policy: RetryPolicy = _POLICY
    jitter: Jitter = random.uniform


@dataclass(frozen=True, slots=True)
class Line:
    """How the line to the server is, whenever that changes."""

    job: Job
    wait: str
    """What is waited for, for a person; empty when nothing is."""
    since: float
    """Since when, in monotonic seconds."""


Heard = Received | Line


class _Away(Exception):  # noqa: N818 - not an error as long as there is patience
    """The server cannot be heard just now; the reason is the text."""


class _Lost(Exception):  # noqa: N818 - the end of a story, put into one event
    """There is nothing more to hear."""

    def __init__(self, finished: RunFinished) -> None:
        super().__init__()
        self.finished = finished


class Listener:
    """Follows one job of a server.

    Args:
        server: The server.
        job: The job.
        patience: With a server that is away.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        server: ServerClient,
        job: Job,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._job = job
        self._patience = patience or Patience()
        self._clock = clock
        self._ear = Decoder(job, clock)
        self._contact = clock()
        self._was_heard = False
        self._away_since: float | None = None
        self._failures = 0

    def listen(self) -> Generator[Heard, None, RunFinished]:
        """Tell everything from the beginning of the job to its end, each record once.

        Returns:
            How it ended. Its record is the last one told in any case: where the server cannot tell it any
            more, one that says what is known.

        Raises:
            Cancelled: The listening was ended from this side.
        """
        while (ending := (yield from self._attempt())) is None:
            self._failures += 1
            pause = backoff(self._patience.policy, self._failures, self._patience.jitter)
            self._server.cancellation.sleep(pause)
        if self._ear.finished is None:
            yield self._ear.conclude(ending)
        return ending

    def _attempt(self) -> Generator[Heard, None, RunFinished | None]:
        """Listen as long as the line holds; give the end if there is one."""
        try:
            with closing(self._open()) as stream:
                yield from self._hear(stream)
            reason = "the connection was cut"
        except SourceError as error:
            if not (error.retry or error.fault is Fault.CONNECT):  # a name that was known will be again
                return _failure(unreachable(self._server.base, self._doing, error))
            reason = error.message
        except _Away as away:
            reason = str(away)
        except _Lost as lost:
            return lost.finished
        if self._ear.finished is not None or self._ear.marker is not None:
            return self._ear.finished or self._ask_end(self._ear.marker or "")
        if self._clock() - self._contact > self._patience.seconds:
            return self._given_up(reason)
        self._away_since = self._clock() if self._away_since is None else self._away_since
        yield Line(self._job, f"{self._server.base}: {reason}", self._away_since)
        return None

    def _open(self) -> Stream:
        answer = self._server.listen(self._job.id, self._ear.last)
        if isinstance(answer, Stream):
            return answer
        if may_pass(answer):
            raise _Away(f"HTTP {answer.status}")
        if answer.status in (401, 404) and self._was_heard:  # so token and job were right before
            raise _Lost(self._interrupted())
        raise _Lost(_failure(refused(self._server.base, self._doing, answer)))

    def _hear(self, stream: Stream) -> Generator[Heard, None, None]:
        """Tell what a stream brings, up to its end or its last message."""
        self._contact, self._was_heard, self._away_since = self._clock(), True, None
        self._ear.synchronise(time.time() if stream.date is None else stream.date + DATE_SECONDS)
        wait = "" if self._ear.last is not None else f"its turn at {self._server.base}"
        yield Line(self._job, wait, self._contact)
        for messages in stream:
            self._contact = self._clock()
            for told in self._take(messages):
                self._failures = 0
                yield told
            if self._ear.marker is not None:
                return

    def _take(self, messages: list[Message]) -> list[Received]:
        try:
            return [told for message in messages if (told := self._ear.take(message)) is not None]
        except OtherVersionError:
            why = "its events have a form of another version"
            raise _Lost(self._unavailable(why, "Install the same version of modelfetch here.")) from None

    def _ask_end(self, marker: str) -> RunFinished:
        """Ask how the job ended: its stream said only that it did."""
        try:
            finished = self._server.job(self._job.id).finished()
        except ModelfetchError:
            finished = None
        if finished is None and marker == "[DONE]":
            return RunFinished("completed", 0, 0.0, (), None)
        why = f"all it says is {sanitise(marker)}"
        return finished or self._unavailable(why, "modelfetch jobs shows what became of it.")

    def _interrupted(self) -> RunFinished:
        message = f"modelfetch server at {self._server.base}: it was stopped during {self._job.model}"
        hint = "Once it runs again, the same command resumes where this one stopped."
        return RunFinished("failed", SIGTERM_EXIT, 0.0, (), ErrorInfo("interrupted", message, hint))

    def _given_up(self, reason: str) -> RunFinished:
        seconds = self._clock() - self._contact
        hint = f"The job may go on there: modelfetch attach {shorten(self._job.id)}"
        return self._unavailable(f"{reason}, for {seconds:.0f} s", hint)

    def _unavailable(self, why: str, hint: str) -> RunFinished:
        return _failure(unavailable(self._server.base, self._doing, why, hint))

    @property
    def _doing(self) -> str:
        return f"follow {shorten(self._job.id)}"


def _failure(error: ModelfetchError) -> RunFinished:
    info = ErrorInfo(error.code, error.message, error.hint)
    return RunFinished("failed", error.exit_code, 0.0, (), info)

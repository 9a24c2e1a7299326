"""Reports to peers how far files are that a process of this machine is fetching.

Machines that start at the same time must not all read the origin. So a peer that asks for a file may say that
it would rather wait (``Prefer``, RFC 7240), and for how long. Answers with a status that HTTP has for that::

    GET /blobs/sha256/a9f3...
    Prefer: respond-async, wait=2

    HTTP/1.1 202 Accepted
    Preference-Applied: respond-async
    Retry-After: 1
    X-Modelfetch-Instance: 3f9a0c11d2e4b7a6

    {"received":1048576,"size":82468078,"begun":3.5,"available":[[0,1048576]]}

The answer is held back for the seconds of ``wait``, until the file is here; then it is the file itself. All
requests for one file wait for the same look at the disk, five times a second; none of them takes a thread. If
a look fails, all of them get its refusal, as after a first look: what an earlier one found may be wrong by
now. Without ``Prefer`` the answer is 404, as for any file that is not here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.server.error_responses import Refusal, json_response
from modelfetch.server.pull_results import copy_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from modelfetch.store.in_progress import InProgress

LONGEST_SECONDS: Final = 10.0
"""Most seconds that an answer is held back, whatever a client prefers: proxies and clients give up waiting
for a first byte after half a minute or so."""
LOOK_SECONDS: Final = 0.2
"""Seconds between two looks at a file that is waited for."""

_RESPOND_ASYNC: Final = re.compile(r"(?i)(?:^|[,;])\s*respond-async\s*(?=[,;]|$)")
_WAIT: Final = re.compile(r"(?i)(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=[,;]|$)")

Look = Callable[[str], Awaitable["InProgress | None"]]
"""Looks, without blocking the event loop, how far a process is with a digest."""


def preferred_wait(prefer: str) -> float | None:
    """Return for how many seconds a client would rather wait; None if it did not ask for that.

    Args:
        prefer: The field ``Prefer``; anything else in it is ignored, as RFC 7240 says.
    """
    if _RESPOND_ASYNC.search(prefer) is None:
        return None
    wait = _WAIT.search(prefer)
    return min(LONGEST_SECONDS, float(wait[1])) if wait is not None else 0.0


class FetchProgress:
    """The files that are being fetched, and the requests that wait for them. Used by the event loop only.

    Args:
        look: Looks how far a process is with a file.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self._watches: dict[str, _Watch] = {}
        """By digest: those that requests wait for."""

    async def wait(self, sha256: str, seconds: float) -> InProgress | None:
        """Wait until no process is fetching a file, for some seconds at most.

        Args:
            sha256: Digest of the file, as a client sent it.
            seconds: How long.

        Returns:
            The progress after that time; None if no process is fetching the file any more, or none was.

        Raises:
            Refusal: The disk could not be looked at.
        """
        found = await self._look(sha256)
        if found is None or seconds <= 0:
            return found
        watch = self._watches.get(sha256)
        if watch is None or watch.task.done():
            watch = self._watches[sha256] = _Watch(lambda: self._look(sha256))
        watch.latest = found
        watch.waiting += 1
        try:
            await asyncio.wait({watch.task}, timeout=seconds)
            return watch.result()
        finally:
            watch.waiting -= 1
            if not watch.waiting:
                watch.task.cancel()
                if self._watches.get(sha256) is watch:
                    del self._watches[sha256]


class _Watch:
    """Looks at one file again and again for all requests that wait for it, until no process fetches it.

    Args:
        look: Looks how far the file is.
    """

    def __init__(self, look: Callable[[], Awaitable[InProgress | None]]) -> None:
        self._look = look
        self.latest: InProgress | None = None
        """The result of the last look; set before the task runs for the first time."""
        self.waiting = 0
        """Number of requests that wait."""
        self.task = asyncio.create_task(self._run())

    def result(self) -> InProgress | None:
        """Return the result of the last look.

        Raises:
            Refusal: It failed; a copy for each request.
        """
        if self.task.done():
            try:
                self.task.result()
            except Refusal as refusal:
                raise copy_of(refusal) from None
        return self.latest

    async def _run(self) -> None:
        while self.latest is not None:
            await asyncio.sleep(LOOK_SECONDS)
            self.latest = await self._look()


def accepted(progress: InProgress, available: Sequence[tuple[int, int]] = ()) -> Response:
    """Make the answer that a file is on its way.

    Args:
        progress: How far it is.
        available: Start and end of each range that can be requested already.
    """
    response = json_response({**progress._asdict(), "available": available}, 202)
    response.headers.update(
        {"Preference-Applied": "respond-async", "Retry-After": "1", "Cache-Control": "no-store"}
    )
    return response

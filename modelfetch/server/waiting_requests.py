"""Requests that wait for a file, a pin or a slot, and their limits.

A request that waits holds a connection, so the number of them is limited, in all and for each client address.
In return its connection is not closed for lack of a token, and interim responses keep its client waiting::

    with waiting.of(request.scope) as interim:
        while not task.done():
            await asyncio.wait({task}, timeout=INTERIM_SECONDS)
            interim.keep_waiting()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from modelfetch.server.client_limit import ClientLimit
from modelfetch.server.interim_responses import INTERIM_SECONDS, InterimResponses
from modelfetch.server.pull_results import queue_full
from modelfetch.server.request_scope import client_address, connection_of

if TYPE_CHECKING:
    from starlette.types import Scope

MAX_WAITING: Final = 256
"""Requests that wait at the same time: half of all connections (``MAX_CONNECTIONS``), and enough for 32
machines that start at once, as clients of Hugging Face have eight workers."""
MAX_WAITING_OF_ONE: Final = 128
"""The same from one client address; many machines may share one."""


class WaitingRequests:
    """Counts the requests that wait. Used by the event loop only.

    Attributes:
        interim_seconds: Seconds between two interim responses.
    """

    def __init__(self) -> None:
        self.interim_seconds = INTERIM_SECONDS
        self._limit = ClientLimit(MAX_WAITING, MAX_WAITING_OF_ONE, queue_full)

    @property
    def count(self) -> int:
        """Number of requests that wait."""
        return self._limit.count

    def is_full(self, client: str) -> bool:
        """Whether :meth:`of` would refuse a request of a client address."""
        return self._limit.is_full(client)

    @contextmanager
    def of(self, scope: Scope) -> Iterator[InterimResponses]:
        """Count a request until the end of the block; gives what keeps its client waiting.

        Raises:
            Refusal: Too many wait.
        """
        connection = connection_of(scope)
        with (
            self._limit.hold(client_address(scope)),
            connection.spared() if connection is not None else nullcontext(),
        ):
            yield InterimResponses(scope, self.interim_seconds)

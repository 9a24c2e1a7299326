"""What all responses with shared bytes use together: limits, counters and threads.

A response takes a slot before it sends a body, and does its blocking work in the threads of the outlet::

    with outlet.slot(scope):
        block = await outlet.run(read_up_to, fd, offset, count)

or waits for one, behind those that wait already::

    async with outlet.slot_in_turn(scope, 10.0, waiting.of(scope)):
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future
from http import HTTPStatus
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.server.error_responses import Refusal
from modelfetch.server.pull_results import unreadable
from modelfetch.server.request_scope import client_address, connection_of
from modelfetch.server.share_limits import no_slot

if TYPE_CHECKING:
    from starlette.types import Scope

    from modelfetch.server.share_counters import ShareCounters
    from modelfetch.server.share_limits import ShareLimits

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outlet:
    """Limits, counters and threads of one server."""

    limits: ShareLimits
    counters: ShareCounters
    pool: Executor
    """Threads for transfers, one for each slot of ``limits``."""

    @contextlib.contextmanager
    def slot(self, scope: Scope) -> Iterator[None]:
        """Take a slot for the transfer of a response until the end of the block.

        Its connection is not closed for lack of a token meanwhile: slots are limited by themselves. A refusal
        with status 503 is counted, also one from inside of the block, where no thread is free.

        Raises:
            Refusal: No slot is free.
        """
        with self._counting(), self.limits.slots.hold(client_address(scope)), _spared(scope):
            yield

    @contextlib.asynccontextmanager
    async def slot_in_turn(
        self, scope: Scope, seconds: float, waiting: contextlib.AbstractContextManager[Callable[[], None]]
    ) -> AsyncIterator[None]:
        """Wait for a slot, and take it until the end of the block; otherwise as :meth:`slot`.

        Args:
            scope: Of the request.
            seconds: Longest wait.
            waiting: Entered for the wait; gives the ``check`` of :meth:`.ClientLimit.wait`.

        Raises:
            Refusal: No slot became free in time, or what ``waiting`` and ``check`` raise.
        """
        with self._counting():
            with waiting as check:
                place = await self.limits.slots.wait(client_address(scope), seconds, check)
            with place, _spared(scope):
                yield

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        """Count the refusals of the block."""
        try:
            yield
        except Refusal as refusal:
            if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
                self.counters.refuse()
            raise

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a function in one of the threads; see :func:`submit`."""
        return submit(self.pool, function, *args, **kwargs)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in one of the threads, and return its result.

        Raises:
            Refusal: No thread is free.
        """
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))


def _spared(scope: Scope) -> contextlib.AbstractContextManager[None]:
    connection = connection_of(scope)
    return connection.spared() if connection is not None else contextlib.nullcontext()


def submit(pool: Executor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Start a function in a thread of a pool.

    Where it raises a StoreError, the result is a refusal with status 500. Its text has no path, unlike that
    of the error.

    Raises:
        Refusal: There is no thread.
    """

    def call() -> T:
        try:
            return function(*args, **kwargs)
        except StoreError as error:
            raise unreadable("cache") from error

    try:
        return pool.submit(call)
    except RuntimeError:  # the server is stopping, or the system allows no more threads
        raise no_slot() from None

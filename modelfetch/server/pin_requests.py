"""Requests that wait until a repository is pinned: several for one repository wait for one result.

What may be pinned, and how, is decided by :mod:`modelfetch.server.pin_on_demand`. Repositories are resolved
one after another, in a thread. Clients take turns, because one of them can name several that each take the
whole time limit. A client that leaves does not end what it began::

    if await requests.pin(on_demand, request.scope, RepoReference("hf", "org/repo")): ...
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from modelfetch.server.client_limit import ClientLimit, network_of
from modelfetch.server.error_responses import Refusal
from modelfetch.server.pin_on_demand import MAX_PINS, MAX_PINS_OF_ONE
from modelfetch.server.pull_results import queue_full, result_of
from modelfetch.server.request_scope import client_address
from modelfetch.server.share_outlet import submit

if TYPE_CHECKING:
    from starlette.types import Scope

    from modelfetch.server.pin_on_demand import PinOnDemand
    from modelfetch.server.waiting_requests import WaitingRequests
    from modelfetch.share.on_demand import Named


class PinRequests:
    """The repositories that are being pinned, or wait for that. Used by the event loop only.

    Args:
        waiting: Counts the requests that wait.
    """

    def __init__(self, waiting: WaitingRequests) -> None:
        self._waiting = waiting
        # One thread: repositories are resolved one at a time.
        self._pool = ThreadPoolExecutor(1, "share-pin")
        self._tasks: dict[Named, asyncio.Task[bool | Refusal]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By client: held for the one of its repositories that is in the queue of the thread."""
        self._limit = ClientLimit(MAX_PINS, MAX_PINS_OF_ONE, queue_full)

    def __len__(self) -> int:
        return len(self._tasks)

    def close(self) -> None:
        """Start no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def pin(self, on_demand: PinOnDemand, scope: Scope, wanted: Named) -> bool:
        """Have a repository pinned, and wait for that.

        Args:
            on_demand: Pins it.
            scope: Of the request that names it.
            wanted: The repository or artifact.

        Returns:
            Whether it is pinned now; False if there is nothing public of that name, or it is not allowed.

        Raises:
            Refusal: A limit is reached, the Hub or the registry cannot be reached, or the client has left.
        """
        with self._waiting.of(scope) as interim:
            task = self._tasks.get(wanted) or self._begin(on_demand, client_address(scope), wanted)
            while not task.done():
                await asyncio.wait({task}, timeout=self._waiting.interim_seconds)
                interim.keep_waiting()
        return result_of(task)

    def _begin(self, on_demand: PinOnDemand, client: str, wanted: Named) -> asyncio.Task[bool | Refusal]:
        """Have a repository pinned after those that wait.

        Raises:
            Refusal: More of them wait, in all or of this client, than would be resolved within an hour.
        """
        held = ExitStack()
        held.enter_context(self._limit.hold(client))

        def end(_: object) -> None:
            self._tasks.pop(wanted, None)
            held.close()

        task = self._tasks[wanted] = asyncio.ensure_future(self._run(on_demand, client, wanted))
        task.add_done_callback(end)
        return task

    async def _run(self, on_demand: PinOnDemand, client: str, wanted: Named) -> bool | Refusal:
        """Pin a repository. A refusal is returned: it is for all requests that wait for it."""
        turn = self._turns.setdefault(network_of(client), asyncio.Lock())
        try:
            async with turn:
                return await asyncio.wrap_future(submit(self._pool, on_demand.pin, client, wanted))
        except Refusal as refusal:
            return refusal

"""Counts what the shared endpoints send: requests and bytes, by endpoint and by client address.

The panel shows a snapshot::

    {"requests": 12, "bytes": 5368709120, "active": 2, "refused": 0,
     "endpoints": {"blobs": {"requests": 12, "bytes": 5368709120}},
     "clients": [{"client": "192.0.2.7", "requests": 12, "bytes": 5368709120, "active": 2, "idle": 0.1}]}

Counts begin with the server and are kept in memory only. The table of clients is bounded, as anyone who can
connect adds to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from modelfetch.lazy_dataclass import dataclass

MOST_CLIENTS: Final = 256
"""Client addresses that are counted by themselves; of more, the ones idle longest are dropped."""


@dataclass(slots=True)
class _Tally:
    """Counts of one endpoint or one client."""

    requests: int = 0
    bytes: int = 0
    active: int = 0
    """Responses under way."""
    last: float = 0.0
    """When it was last active, in monotonic seconds."""


class ShareCounters:
    """The counts of one server. Thread-safe.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._all = _Tally()
        self._refused = 0
        self._endpoints: dict[str, _Tally] = {}
        self._clients: dict[str, _Tally] = {}
        """In the order of the last request, so that the first one is the one to drop."""

    def begin(self, endpoint: str, client: str) -> ServedBytes:
        """Count a request that is answered with data, and return what counts its bytes."""
        now = self._clock()
        with self._lock:
            of_client = self._clients.pop(client, None) or _Tally()
            self._clients[client] = of_client
            self._drop_clients()
            of_endpoint = self._endpoints.setdefault(endpoint, _Tally())
            tallies = self._all, of_endpoint, of_client
            for tally in tallies:
                tally.requests += 1
                tally.active += 1
                tally.last = now
        return ServedBytes(self, tallies)

    def refuse(self) -> None:
        """Count a request that was refused for lack of a slot."""
        with self._lock:
            self._refused += 1

    def _drop_clients(self) -> None:
        idle = (client for client, tally in list(self._clients.items()) if not tally.active)
        while len(self._clients) > MOST_CLIENTS and (client := next(idle, None)) is not None:
            del self._clients[client]

    def add(self, tallies: tuple[_Tally, ...], count: int, *, is_over: bool) -> None:
        """Add to some tallies; called by :class:`ServedBytes` only."""
        now = self._clock()
        with self._lock:
            for tally in tallies:
                tally.bytes += count
                tally.active -= is_over
                tally.last = now

    def snapshot(self) -> dict[str, Any]:
        """Return all counts; clients with the most bytes first."""
        now = self._clock()
        with self._lock:
            clients = sorted(self._clients.items(), key=lambda item: -item[1].bytes)
            return {
                "requests": self._all.requests,
                "bytes": self._all.bytes,
                "active": self._all.active,
                "refused": self._refused,
                "endpoints": {
                    name: {"requests": tally.requests, "bytes": tally.bytes}
                    for name, tally in sorted(self._endpoints.items())
                },
                "clients": [
                    {
                        "client": client,
                        "requests": tally.requests,
                        "bytes": tally.bytes,
                        "active": tally.active,
                        "idle": round(now - tally.last, 1),
                    }
                    for client, tally in clients
                ],
            }


class ServedBytes:
    """Counts the bytes of one response. Used by one thread at a time."""

    def __init__(self, counters: ShareCounters, tallies: tuple[_Tally, ...]) -> None:
        self._counters = counters
        self._tallies = tallies

    def sent(self, count: int) -> None:
        """Count bytes that were sent."""
        self._counters.add(self._tallies, count, is_over=False)

    def end(self) -> None:
        """Count the response as over; to be called once."""
        self._counters.add(self._tallies, 0, is_over=True)

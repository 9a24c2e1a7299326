"""Limits for clients of the shared endpoints: transfers at the same time, and bytes per second.

Anyone who can connect may use the shared endpoints, so each response with a body needs a slot. There is a
number of slots in all, and half of them for one client address. Without a free slot the answer is 503 with
``Retry-After``. Waiting in a queue holds the connection as well, so it is for requests that are limited by
themselves. Requests are limited in the same way.

The rate is one budget for all transfers together. Bytes are booked before they are sent; a booking gives the
seconds to wait::

    with limits.slots.hold("192.0.2.7"):
        wait = limits.book(65536)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from modelfetch.engine.rate_limit import BURST_SECONDS, Allowance
from modelfetch.server.client_limit import ClientLimit
from modelfetch.server.error_responses import Refusal

TRANSFERS: Final = 64
"""Default of ``serve.share_clients``: transfers at the same time. Each takes a thread and two descriptors.

The setting allows 200 at most: so many threads, and two descriptors for each."""
REQUESTS: Final = 448
"""Requests that are answered at the same time, also those whose clients have left: as many as there are
connections without a token (``MAX_ANONYMOUS``). The rest of all (``MAX_CONNECTIONS``) is for the owner."""
REQUESTS_OF_ONE: Final = 256
"""The same of one client address: more than it may have waiting (``MAX_WAITING_OF_ONE``) and as transfers."""
RETRY_SECONDS: Final = 5
"""``Retry-After`` of a response without a free slot, in seconds."""
LARGEST_PIECE: Final = 4 << 20
"""Most bytes of one booking, and of one system call: a call that sends more delays a cancellation."""
SMALLEST_PIECE: Final = 4 << 10
"""Least bytes of one booking: at lower rates the waits become longer instead."""


class ShareLimits:
    """The limits of one server. Thread-safe.

    Args:
        transfers: Transfers at the same time.
        rate: Bytes per second of all transfers together; None for no limit.
        clock: Monotonic seconds.

    Attributes:
        slots: One for each transfer.
        requests: One for each request until it is answered.
    """

    def __init__(
        self,
        transfers: int = TRANSFERS,
        rate: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = ClientLimit(transfers, max(1, transfers // 2), no_slot)
        self.requests = ClientLimit(REQUESTS, REQUESTS_OF_ONE, no_slot)
        self._rate = rate
        self._clock = clock
        self._allowance = Allowance()

    @property
    def piece(self) -> int:
        """The most bytes to send after one booking: at a limited rate those of a quarter of a second."""
        if self._rate is None:
            return LARGEST_PIECE
        return min(LARGEST_PIECE, max(SMALLEST_PIECE, int(self._rate * BURST_SECONDS)))

    def book(self, count: int) -> float:
        """Book some bytes, and return the seconds to wait before they may be sent; 0 or less for none."""
        if self._rate is None:
            return 0.0
        return self._allowance.book(count / self._rate, self._clock())


def no_slot() -> Refusal:
    """Make the refusal of a transfer for which there is no slot or no thread."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too_many_transfers",
        "too many transfers at the same time",
        "Try again in some seconds.",
        {"Retry-After": str(RETRY_SECONDS)},
    )

"""Documents of the shared endpoints: large ones are sent in pieces, so that a slow client holds little."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message

from modelfetch.server.connection_timeouts import CONNECTION
from modelfetch.server.share_counters import ShareCounters
from modelfetch.server.share_limits import ShareLimits
from modelfetch.server.share_outlet import Outlet
from modelfetch.server.share_responses import FREE_BYTES, DocumentResponse

LARGE = bytes(range(256)) * 2048 + b"end"
"""8 pieces and 3 bytes."""


def sent(body: bytes, *, is_lost: bool = False) -> tuple[list[bytes], Outlet]:
    """Send a document; returns the pieces of its body."""
    pieces: list[bytes] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            pieces.append(message["body"])

    with ThreadPoolExecutor(1) as pool:
        outlet = Outlet(ShareLimits(), ShareCounters(), pool)
        connection = SimpleNamespace(is_lost=is_lost, spared=nullcontext)
        scope = {"type": "http", "method": "GET", "headers": [], "state": {CONNECTION: connection}}
        receive: Any = None
        asyncio.run(DocumentResponse(body, outlet, "test")(scope, receive, send))
    return pieces, outlet


@pytest.mark.parametrize("size", [0, 1, FREE_BYTES, FREE_BYTES + 1, 2 * FREE_BYTES, len(LARGE)])
def test_a_document_is_sent_in_pieces_of_the_size_that_is_buffered_anyway(size: int) -> None:
    pieces, outlet = sent(LARGE[:size])
    assert b"".join(pieces) == LARGE[:size]
    assert max(map(len, pieces)) <= FREE_BYTES
    counts = outlet.counters.snapshot()
    assert (counts["bytes"], counts["active"]) == (size, 0)


def test_nothing_more_is_sent_to_a_client_that_has_left() -> None:
    pieces, outlet = sent(LARGE, is_lost=True)
    assert len(pieces) == 1
    assert outlet.counters.snapshot()["bytes"] == FREE_BYTES

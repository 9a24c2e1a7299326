"""Waiting for a place of a limit: in turn, and nobody who has left keeps one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus

import pytest

from modelfetch.server import client_limit
from modelfetch.server.client_limit import ClientLimit
from modelfetch.server.error_responses import Refusal
from tests.patience import HELD, IN_TIME

Waiter = asyncio.Task[AbstractContextManager[None]]


def refusal() -> Refusal:
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "full", "full")


def stay() -> None:
    """Keep on waiting."""


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> ClientLimit:
    """Two places, one for each address; nobody looks for a free one meanwhile."""
    monkeypatch.setattr(client_limit, "CHECK_SECONDS", HELD)
    return ClientLimit(2, 1, refusal)


async def queued(slots: ClientLimit, client: str, check: Callable[[], None] = stay) -> Waiter:
    """Let a client wait."""
    waiter = asyncio.create_task(slots.wait(client, HELD, check))
    await asyncio.sleep(0)
    return waiter


async def place_of(waiter: Waiter) -> AbstractContextManager[None]:
    return await asyncio.wait_for(waiter, IN_TIME)


def test_a_place_that_is_free_is_taken_at_once(slots: ClientLimit) -> None:
    async def main() -> None:
        with await slots.wait("a", 0.0, stay):
            assert slots.count == 1

    asyncio.run(main())
    assert slots.count == 0


def test_who_came_first_gets_the_first_place(slots: ClientLimit) -> None:
    served: list[int] = []

    async def main() -> None:
        async def serve(number: int) -> None:
            with await slots.wait("a", HELD, stay):
                served.append(number)
                await asyncio.sleep(0)

        with slots.hold("a"):
            tasks = [asyncio.create_task(serve(number)) for number in range(20)]
            await asyncio.sleep(0)
            assert not served
        await asyncio.wait_for(asyncio.gather(*tasks), IN_TIME)

    asyncio.run(main())
    assert served == [*range(20)]


def test_nobody_overtakes_those_who_wait(slots: ClientLimit) -> None:
    async def main() -> None:
        with slots.hold("a"):
            waiter = await queued(slots, "a")
        assert not waiter.done()
        with pytest.raises(Refusal), slots.hold("a"):
            pass
        with await place_of(waiter):
            assert slots.count == 1

    asyncio.run(main())


def test_an_address_that_has_its_part_holds_up_no_other_one(slots: ClientLimit) -> None:
    async def main() -> None:
        with slots.hold("a"):
            with slots.hold("b"):
                first, second = await queued(slots, "a"), await queued(slots, "c")
            with await place_of(second):
                assert not first.done()
        with await place_of(first):
            pass

    asyncio.run(main())
    assert slots.count == 0


@pytest.mark.parametrize("is_given", [False, True])
def test_a_waiter_that_is_cancelled_gives_its_place_up(slots: ClientLimit, is_given: bool) -> None:
    async def main() -> None:
        with slots.hold("a"):
            cancelled, other = await queued(slots, "a"), await queued(slots, "a")
            if not is_given:
                cancelled.cancel()
        if is_given:  # it has the place, but could not note that yet
            cancelled.cancel()
        with await place_of(other):
            assert cancelled.cancelled()
            assert slots.count == 1

    asyncio.run(main())
    assert slots.count == 0


def test_a_client_that_left_gives_its_place_up(slots: ClientLimit) -> None:
    def leave() -> None:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "too_slow", "gone")

    async def main() -> None:
        with slots.hold("a"):
            left, other = await queued(slots, "a", leave), await queued(slots, "a")
        with await place_of(other):
            with pytest.raises(Refusal, match="gone"):
                await left
            assert slots.count == 1

    asyncio.run(main())
    assert slots.count == 0


def test_a_client_that_left_is_noticed_meanwhile(slots: ClientLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_limit, "CHECK_SECONDS", 0.01)

    def leave() -> None:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "too_slow", "gone")

    async def main() -> None:
        with slots.hold("a"), pytest.raises(Refusal, match="gone"):
            await slots.wait("a", HELD, leave)

    asyncio.run(main())
    assert slots.count == 0


def test_without_a_place_in_time_the_answer_is_the_refusal(slots: ClientLimit) -> None:
    async def main() -> None:
        with slots.hold("a"), pytest.raises(Refusal, match="full"):
            await slots.wait("a", 0.01, stay)

    asyncio.run(main())
    assert slots.count == 0


def test_a_place_may_be_given_back_in_any_thread(slots: ClientLimit) -> None:
    go = threading.Event()

    def hold() -> None:
        with slots.hold("a"):
            go.wait(IN_TIME)

    async def main() -> None:
        holding = asyncio.create_task(asyncio.to_thread(hold))
        while not slots.is_full("a"):
            await asyncio.sleep(0)
        waiter = await queued(slots, "a")
        go.set()
        with await place_of(waiter):
            pass
        await holding

    asyncio.run(main())
    assert slots.count == 0

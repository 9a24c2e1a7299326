"""Repositories that wait to be pinned: those of several clients take turns."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from modelfetch.model.reference import RepoReference
from modelfetch.server.pin_requests import PinRequests
from modelfetch.server.waiting_requests import WaitingRequests
from tests.patience import IN_TIME


class SlowPins:
    """Pins that are made one after another, once a test says so."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.order: list[str] = []

    def pin(self, client: str, wanted: RepoReference) -> bool:
        assert self.go.wait(IN_TIME)
        self.order.append(wanted.repo)
        return True


def test_a_client_that_names_many_repositories_lets_others_take_their_turn() -> None:
    async def ask() -> list[str]:
        pins, requests = SlowPins(), PinRequests(WaitingRequests())
        on_demand: Any = pins

        def asked(client: str, name: str) -> asyncio.Task[bool]:
            scope = {"client": (client, 1), "headers": []}
            return asyncio.create_task(requests.pin(on_demand, scope, RepoReference("hf", name)))

        tasks = [asked("192.0.2.1", f"many/{number}") for number in range(4)]
        await asyncio.sleep(0.05)
        tasks += [asked("192.0.2.2", f"one/{number}") for number in range(2)]
        await asyncio.sleep(0.05)
        pins.go.set()
        assert all(await asyncio.gather(*tasks))
        assert not requests._turns, "nothing is remembered of clients"
        requests.close()
        return pins.order

    assert asyncio.run(ask()) == ["many/0", "one/0", "many/1", "one/1", "many/2", "many/3"]

"""Fixtures: a model, and a client for the sources that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.net.client import Client
from modelfetch.net.time_limits import Limits
from modelfetch.sources import ipfs, peer, peer_search
from tests.origin import Origin
from tests.patience import HELD, IN_TIME


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A client shared by all tests: making one takes longer than most of them."""
    client = Client(Limits(connect_timeout=HELD, stall_timeout=HELD), Cancellation())
    yield client
    client.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give machines near by all the time that a busy one takes; a test of silence gives less."""
    monkeypatch.setattr(ipfs, "LOCAL_SECONDS", IN_TIME)
    monkeypatch.setattr(peer, "ANSWER_SECONDS", IN_TIME)
    monkeypatch.setattr(peer, "SLOW_SECONDS", IN_TIME)
    monkeypatch.setattr(peer_search, "SEARCH_SECONDS", IN_TIME)


@pytest.fixture(scope="session")
def near(client: Client) -> Client:
    """A client for machines of the local network."""
    return client.nearby(IN_TIME)


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin that serves nothing yet."""
    with Origin() as origin:
        yield origin

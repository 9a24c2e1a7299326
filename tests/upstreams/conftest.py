"""Fixtures: a registry, and a client for hubs that waits for nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.net.client import Client
from modelfetch.net.hub_client import HubClient
from modelfetch.net.time_limits import Limits
from tests.hubs.registry import Registry
from tests.patience import HELD


@pytest.fixture(scope="session")
def session_client() -> Iterator[Client]:
    """A client shared by all tests: making one takes longer than most of them."""
    client = Client(Limits(connect_timeout=HELD, stall_timeout=HELD), Cancellation())
    yield client
    client.close()


@pytest.fixture
def hub(session_client: Client) -> HubClient:
    """A client for hubs; its delays take no time."""
    return HubClient(session_client, Cancellation(), sleep=lambda _: None)


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry that holds nothing yet."""
    with Registry() as registry:
        yield registry

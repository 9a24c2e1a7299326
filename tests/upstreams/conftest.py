"""Fixtures: a client for hubs that does not wait between attempts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.net.client import Client
from modelfetch.net.hub_client import HubClient
from modelfetch.net.retry import RetryPolicy
from modelfetch.net.time_limits import Limits
from tests.patience import HELD

LIMITS = Limits(connect_timeout=HELD, stall_timeout=HELD, min_speed=0.0)


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Shared by all tests: making one takes longer than most of them."""
    client = Client(LIMITS, Cancellation())
    yield client
    client.close()


@pytest.fixture
def hub(client: Client) -> HubClient:
    return HubClient(client, Cancellation(), RetryPolicy(attempts=2, base=0.0), sleep=lambda _: None)

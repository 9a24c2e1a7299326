"""Fixtures: loopback hubs, and a client for them whose waits are recorded and take no time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.net.client import Client
from modelfetch.net.hub_client import HubClient
from modelfetch.net.time_limits import Limits
from tests.hubs.huggingface import HuggingFaceHub
from tests.hubs.modelscope import ModelScopeSite
from tests.hubs.registry import Registry
from tests.patience import HELD


@dataclass
class Waits:
    """What a client waited for, and what it reported."""

    seconds: list[float] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    client = Client(Limits(connect_timeout=HELD, stall_timeout=HELD, min_speed=0), Cancellation())
    yield client
    client.close()


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def hub(client: Client, waits: Waits) -> HubClient:
    return HubClient(client, Cancellation(), sleep=waits.seconds.append, waiting=waits.lines.append)


@pytest.fixture
def hf() -> Iterator[HuggingFaceHub]:
    with HuggingFaceHub() as hf:
        yield hf


@pytest.fixture
def site() -> Iterator[ModelScopeSite]:
    with ModelScopeSite() as site:
        yield site


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry

"""Fixtures: a model, and a client for the sources that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.net.client import Client
from modelfetch.net.time_limits import Limits
from tests.origin import Origin
from tests.patience import HELD


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A client shared by all tests: making one takes longer than most of them."""
    client = Client(Limits(connect_timeout=HELD, stall_timeout=HELD), Cancellation())
    yield client
    client.close()


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin that serves nothing yet."""
    with Origin() as origin:
        yield origin

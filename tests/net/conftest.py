"""An origin with one file, and clients to ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelfetch.net.cancel import Cancellation
from modelfetch.net.client import Client
from tests.net.asking import CONTENT, HASTY, PATIENT
from tests.origin import Origin


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A client in no hurry, shared by all tests: making one costs more than most of them."""
    client = Client(PATIENT, Cancellation())
    yield client
    client.close()


@pytest.fixture(scope="session")
def hasty() -> Iterator[Client]:
    """A client that loses patience after 0.2 s."""
    client = Client(HASTY, Cancellation())
    yield client
    client.close()


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Serves ``/files/big.bin``."""
    with Origin() as origin:
        origin.add("big.bin", CONTENT)
        yield origin


@pytest.fixture
def url(origin: Origin) -> str:
    """Where the file is."""
    return origin.url("/files/big.bin")

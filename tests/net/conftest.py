"""Fixtures: a server with one file, and clients for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.net.client import Client
from modelfetch.net.time_limits import Limits
from tests.net.asking import CONTENT, HASTY, PATIENT
from tests.origin import Origin
from tests.origin.certificates import Authority


@pytest.fixture(scope="session")
def direct_from(request: pytest.FixtureRequest) -> float:
    """Smallest body that is read from the socket directly: the default, or see ``BOTH_WAYS``."""
    return float(getattr(request, "param", Limits().direct_from))


@pytest.fixture(scope="session")
def client(direct_from: float) -> Iterator[Client]:
    """A client with long timeouts, shared by all tests: making one takes longer than most of them."""
    client = Client(replace(PATIENT, direct_from=direct_from), Cancellation())
    yield client
    client.close()


@pytest.fixture(scope="session")
def hasty(direct_from: float) -> Iterator[Client]:
    """A client that leaves a server after 0.2 s of silence."""
    client = Client(replace(HASTY, direct_from=direct_from), Cancellation())
    yield client
    client.close()


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Serves ``/files/big.bin``."""
    with Origin() as origin:
        origin.add("big.bin", CONTENT)
        yield origin


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The certificate authority of the tests."""
    return Authority()


@pytest.fixture(params=["plain", "TLS"])
def served(
    request: pytest.FixtureRequest, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Origin]:
    """The same server without and with TLS; clients made from now on trust its certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "ca.pem")))
    with Origin(tls=authority.server() if request.param == "TLS" else None) as origin:
        origin.add("big.bin", CONTENT)
        yield origin


@pytest.fixture
def url(origin: Origin) -> str:
    """The URL of the file."""
    return origin.url("/files/big.bin")

"""Uploads to a registry in the public internet, and time limits of what is sent: with a stand-in for HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.net.hub_client import HubClient
from modelfetch.net.outgoing import Outgoing, Sending
from modelfetch.net.registry_auth import RegistryAuth
from modelfetch.net.registry_uploads import RegistryUploads, Upload, UploadLost
from modelfetch.net.registry_urls import RegistryRepository
from modelfetch.net.retry import RetryPolicy
from modelfetch.net.time_limits import Limits, StallTimer

REPOSITORY = RegistryRepository("registry.example", "lab/tiny")
OWN = "https://registry.example/v2/lab/tiny/blobs/uploads/1"
OTHER = "https://storage.example/put/1?signature=secret"


@dataclass
class Reply:
    """An answer, as the client returns it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    is_public: bool = True
    challenge: None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, _: int) -> bytes:
        return b""

    def json(self, _: int) -> Any:
        return {}


@dataclass
class FakeClient:
    """Answers in order, and records what is sent."""

    replies: list[Reply]
    sent: list[tuple[str, Outgoing, bool]] = field(default_factory=list)

    def send(self, url: str, outgoing: Outgoing, _: object, *, public_only: bool) -> Reply:
        self.sent.append((url, outgoing, public_only))
        return self.replies.pop(0)


def uploads(*replies: Reply) -> tuple[RegistryUploads, FakeClient]:
    client: Any = FakeClient(list(replies))
    hub = HubClient(client, Cancellation(), RetryPolicy(attempts=1))
    return RegistryUploads(hub, RegistryAuth(client), REPOSITORY), client


def begun(location: str) -> Reply:
    return Reply(202, {"location": location})


def test_a_public_registry_cannot_lead_an_upload_into_a_private_network() -> None:
    registry, client = uploads(begun(OTHER), Reply(202, {"range": "0-9"}), Reply(201))
    upload = registry.begin()
    assert upload == Upload(OTHER, public_only=True)
    following, received = registry.append(upload, 0, 10, lambda: [b"0123456789"])
    assert (following, received) == (upload, 10)
    registry.finish(following, "0" * 64, 10)
    assert [public for _, _, public in client.sent] == [False, True, True]
    assert client.sent[-1][0] == f"{OTHER}&digest=sha256:{'0' * 64}"


def test_a_relative_address_stays_at_the_registry() -> None:
    registry, _ = uploads(begun("/v2/lab/tiny/blobs/uploads/1"))
    assert registry.begin() == Upload(OWN)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://registry.example/v2/lab/tiny/blobs/uploads/1", "from https to http"),
        ("http://127.0.0.1/", "from https to http"),
        ("", "without saying where"),
    ],
)
def test_no_byte_goes_anywhere_else(location: str, words: str) -> None:
    registry, client = uploads(begun(location))
    with pytest.raises(SourceError, match=words):
        registry.begin()
    assert len(client.sent) == 1


@pytest.mark.parametrize("stated", ["0-99", "0-10", "7-9", "", "0-x"])
def test_a_registry_cannot_have_more_than_was_sent_or_say_nothing(stated: str) -> None:
    registry, _ = uploads(Reply(204, {"range": stated}))
    with pytest.raises(UploadLost):
        registry.status(Upload(OWN), 10)


def test_the_registry_gets_time_to_read_a_large_blob_again() -> None:
    registry, client = uploads(Reply(201))
    registry.finish(Upload(OWN), "0" * 64, 5_000_000_000)
    assert client.sent[0][1].answer_seconds == 100


def test_a_redirect_of_an_upload_is_refused() -> None:
    registry, _ = uploads(Reply(307, {"location": OTHER}))
    with pytest.raises(SourceError, match="redirects an upload") as raised:
        registry.begin()
    assert raised.value.fault is Fault.REDIRECT
    assert "secret" not in str(raised.value)


def test_the_disk_may_be_slow_but_the_connection_may_not() -> None:
    now = [0.0]
    timer = StallTimer(Limits(stall_timeout=30), lambda: now[0])

    def read() -> list[bytes]:
        now[0] += 100
        return [b"x" * 100_000]

    for _ in Sending(Outgoing("PUT", size=100_000, pieces=read), timer):
        assert timer.remaining() == 30
        now[0] += 40
        with pytest.raises(TimeoutError):
            timer.remaining()

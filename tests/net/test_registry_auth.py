"""Credentials of registries: which requests are sent, to whom, and with what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.net.credentials import Credential
from modelfetch.net.registry_auth import RegistryAuth, check_realm
from modelfetch.net.registry_urls import RegistryRepository
from modelfetch.net.responses import RangeRequest
from modelfetch.net.time_limits import Memory
from modelfetch.settings.docker_credentials import RegistryLogin
from modelfetch.settings.values import Secret
from tests.hubs.registry import Registry, digest_of

DATA = b"the pinned bytes" * 64
SHA256 = digest_of(DATA).removeprefix("sha256:")
LOGIN = RegistryLogin("user", Secret("s3cr3t"), "file auth.json")
IDENTITY = RegistryLogin("", Secret("refresh-1"), "docker-credential-lab", is_identity_token=True)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.add(DATA)
        yield registry


class Reader:
    """Reads a blob as a transfer does."""

    def __init__(self, client: Client, registry: Registry, login: RegistryLogin | None = None) -> None:
        self.now = 1000.0
        self.looked_up: list[tuple[str, str]] = []
        self.repository = RegistryRepository(registry.host, "lab/m")
        self._client = client

        def find(host: str, name: str) -> RegistryLogin | None:
            self.looked_up.append((host, name))
            return login

        self.auth = RegistryAuth(client, find, lambda: self.now)

    def read(self, start: int = 0) -> bytes:
        url = self.repository.blob_url(SHA256)

        def request(credential: Credential | None) -> bytes:
            body = self._client.request(
                url, RangeRequest(start, len(DATA)), credential=credential, memory=Memory()
            )
            with closing(body):
                return b"".join(bytes(piece) for piece in body)

        return self.auth.send(self.repository, request)

    def error(self) -> SourceError:
        with pytest.raises(SourceError) as caught:
            self.read()
        return caught.value


def test_a_public_repository_costs_one_request_and_no_look_up(client: Client, registry: Registry) -> None:
    reader = Reader(client, registry, LOGIN)
    assert reader.read() == DATA
    assert (len(registry.asked), reader.looked_up) == (1, [])


def test_an_anonymous_token_is_fetched_once_for_all_requests(client: Client, registry: Registry) -> None:
    registry.scheme = "Bearer"
    reader = Reader(client, registry)
    assert [reader.read(), reader.read(5)] == [DATA, DATA[5:]]
    [token] = [each for each in registry.asked if each.path.startswith("/token")]
    assert token.query == {"service": "lab", "scope": "repository:lab/m:pull"}
    assert token.authorization == ""
    assert len(registry.paths("blobs")) == 3  # the first one without a token


def test_a_login_goes_to_the_token_service_and_not_to_the_registry(
    client: Client, registry: Registry
) -> None:
    registry.scheme, registry.login = "Bearer", ("user", "s3cr3t")
    reader = Reader(client, registry, LOGIN)
    assert reader.read() == DATA
    assert {each.authorization.partition(" ")[0] for each in registry.asked if "/token" in each.path} == {
        "Basic"
    }
    assert [each.authorization for each in registry.asked if "blobs" in each.path] == ["", "Bearer token-0"]
    assert reader.looked_up == [(registry.host, "lab/m")]


def test_basic(client: Client, registry: Registry) -> None:
    registry.scheme, registry.login = "Basic", ("user", "s3cr3t")
    reader = Reader(client, registry, LOGIN)
    assert [reader.read(), reader.read()] == [DATA, DATA]
    assert len(registry.asked) == 3


def test_an_identity_token_is_posted(client: Client, registry: Registry) -> None:
    registry.scheme, registry.identity_token = "Bearer", "refresh-1"
    assert Reader(client, registry, IDENTITY).read() == DATA
    [token] = [each for each in registry.asked if each.path == "/token"]
    assert token.method == "POST"
    assert token.form == {
        "grant_type": "refresh_token",
        "client_id": "modelfetch",
        "service": "lab",
        "scope": "repository:lab/m:pull",
        "refresh_token": "refresh-1",
    }


def test_an_expired_token_is_renewed_before_the_request(client: Client, registry: Registry) -> None:
    registry.scheme = "Bearer"
    reader = Reader(client, registry)
    reader.read()
    registry.tokens[0] = "no longer valid"
    reader.now += 296
    registry.asked.clear()
    reader.read()
    assert [each.authorization for each in registry.asked] == ["", "Bearer token-1"]


def test_a_token_that_is_refused_early_is_renewed_once(client: Client, registry: Registry) -> None:
    registry.scheme = "Bearer"
    reader = Reader(client, registry)
    reader.read()
    registry.tokens[0] = "no longer valid"
    assert reader.read() == DATA
    assert len(registry.paths("token")) == 2


def test_a_registry_that_never_accepts_its_tokens_is_asked_twice(client: Client, registry: Registry) -> None:
    registry.scheme, registry.token_answer = "Bearer", {"token": "worthless"}
    error = Reader(client, registry).error()
    assert error.fault is Fault.AUTHORIZATION
    assert f"docker login {registry.host}" in error.hint
    assert len(registry.paths("blobs")) == 2


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_wrong_password_is_sent_once(client: Client, registry: Registry, scheme: str) -> None:
    registry.scheme, registry.login = scheme, ("user", "another")
    reader = Reader(client, registry, LOGIN)
    for _ in range(2):
        error = reader.error()
        assert error.fault is Fault.AUTHORIZATION
        assert "file auth.json" in error.hint
        assert "s3cr3t" not in f"{error!r}{error.hint}"
    sent = [each for each in registry.asked if each.authorization.startswith("Basic")]
    assert len(sent) <= (1 if scheme == "Bearer" else 2)


def test_a_private_repository_without_a_login(client: Client, registry: Registry) -> None:
    registry.scheme, registry.login = "Basic", ("user", "s3cr3t")
    error = Reader(client, registry).error()
    assert (error.fault, error.message) == (Fault.AUTHORIZATION, "access refused (401)")
    assert "podman login" in error.hint


def test_many_threads_share_one_token(client: Client, registry: Registry) -> None:
    registry.scheme = "Bearer"
    reader = Reader(client, registry)
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(reader.read())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [DATA] * 8
    assert len(registry.paths("token")) == 1


def test_a_token_of_another_thread_that_has_expired_is_renewed(client: Client, registry: Registry) -> None:
    registry.scheme = "Bearer"
    reader = Reader(client, registry)
    url, attempts = reader.repository.blob_url(SHA256), list[Credential | None]()

    def request(credential: Credential | None) -> bytes:
        attempts.append(credential)
        if len(attempts) == 1:  # another thread has the 401 answered, and its token expires at once
            reader.read()
            registry.tokens[0] = "no longer valid"
        with closing(
            client.request(url, RangeRequest(0, len(DATA)), credential=credential, memory=Memory())
        ) as body:
            return b"".join(bytes(piece) for piece in body)

    assert reader.auth.send(reader.repository, request) == DATA
    assert [each and each.value for each in attempts] == [None, "Bearer token-0", "Bearer token-1"]


def test_no_token_goes_to_a_cdn(client: Client, registry: Registry) -> None:
    with Registry() as cdn:
        cdn.add(DATA)
        registry.scheme, registry.cdn = "Bearer", cdn.endpoint
        assert Reader(client, registry).read(100) == DATA[100:]
        [asked] = cdn.asked
    assert asked.authorization == ""
    assert asked.headers["range"] == f"bytes=100-{len(DATA) - 1}"


def test_a_cdn_cannot_ask_for_a_login(client: Client, registry: Registry) -> None:
    with Registry(scheme="Basic", login=("user", "s3cr3t")) as cdn:
        registry.cdn = f"{cdn.endpoint}/v2/x/blobs/sha256:0#"
        reader = Reader(client, registry, LOGIN)
        assert reader.error().fault is Fault.AUTHORIZATION
        assert {each.authorization for each in cdn.asked} == {""}
    assert reader.looked_up == []


def test_a_token_service_elsewhere_is_used(client: Client, registry: Registry) -> None:
    with Registry() as service:
        registry.scheme, registry.realm = "Bearer", f"{service.endpoint}/token?account=a"
        registry.tokens = service.tokens
        assert Reader(client, registry).read() == DATA
        [asked] = service.asked
    assert asked.query == {"account": "a", "service": "lab", "scope": "repository:lab/m:pull"}


def test_a_token_service_elsewhere_is_named_if_it_fails(client: Client, registry: Registry) -> None:
    with Registry(token_status=503) as service:
        registry.scheme, registry.realm = "Bearer", f"{service.endpoint}/token"
        assert Reader(client, registry).error().elsewhere == service.host


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("answer", "status", "fault", "retry"),
    [
        ({"token": None}, 200, Fault.PROTOCOL, False),
        ({"token": "two\nlines"}, 200, Fault.PROTOCOL, False),
        ({"token": "x" * 100_000}, 200, Fault.PROTOCOL, False),
        ({"token": ["x"]}, 200, Fault.PROTOCOL, False),
        ({"token": "x" * 300_000}, 200, Fault.SIZE, False),
        ({}, 429, Fault.BUSY, True),
        ({}, 503, Fault.BUSY, True),
        ({}, 403, Fault.AUTHORIZATION, False),
        ({}, 404, Fault.NOT_FOUND, False),
    ],
)
def test_a_token_service_that_misbehaves(
    client: Client, registry: Registry, answer: dict[str, object], status: int, fault: Fault, retry: bool
) -> None:
    registry.scheme, registry.token_answer, registry.token_status = "Bearer", answer, status
    reader = Reader(client, registry)
    error = reader.error()
    assert (error.fault, error.retry) == (fault, retry)
    assert error.message.startswith("no token: ")
    assert error.elsewhere == ""
    assert reader.error().fault is fault
    # A failure that may pass is tried again; any other one is known by now.
    assert len(registry.paths("token")) == (2 if retry else 1)


@pytest.mark.parametrize(
    "field", ["Negotiate", "Digest realm=x", 'Bearer service="s"', 'Bearer realm="/token"']
)
def test_a_challenge_that_cannot_be_answered(client: Client, registry: Registry, field: str) -> None:
    registry.scheme, registry.challenge = "Bearer", field
    assert Reader(client, registry, LOGIN).error().fault in (Fault.AUTHORIZATION, Fault.REDIRECT)
    assert registry.paths("token") == []


PUBLIC = RegistryRepository("registry.example", "m")
LAN = RegistryRepository("10.0.0.5:5000", "m")
HERE = RegistryRepository("localhost:5000", "m")


@pytest.mark.parametrize(
    ("realm", "repository", "is_public"),
    [
        ("https://auth.example/token", PUBLIC, True),
        ("https://auth.example/token", PUBLIC, False),
        ("https://auth.example/token", HERE, False),
        ("https://10.0.0.6/token", PUBLIC, False),  # a name in a company's network
        ("https://10.0.0.6/token", LAN, False),
        ("http://localhost:5001/token", HERE, False),
        ("http://127.0.0.1:5001/token", HERE, False),
        ("https://[::1]:5001/token", HERE, False),
    ],
)
def test_a_realm_that_may_be_asked(realm: str, repository: RegistryRepository, is_public: bool) -> None:
    assert check_realm(f"{realm}#x", repository, is_public=is_public) == realm


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    ("realm", "repository", "is_public", "why"),
    [
        ("http://auth.example/token", PUBLIC, True, "without TLS"),
        ("http://auth.example/token", HERE, False, "without TLS"),
        ("http://10.0.0.6/token", LAN, False, "without TLS"),
        ("http://127.0.0.1:2375/token", PUBLIC, True, "without TLS"),
        ("https://127.0.0.1/token", PUBLIC, True, "private network"),
        ("https://localhost/token", LAN, False, "private network"),
        ("https://127.1/token", LAN, False, "private network"),
        ("https://0x7f000001/token", PUBLIC, True, "private network"),
        ("https://[::ffff:127.0.0.1]/token", PUBLIC, True, "private network"),
        ("https://169.254.169.254/latest/meta-data", PUBLIC, True, "private network"),
        ("https://10.0.0.6/token", PUBLIC, True, "private network"),
        ("https://[fd00::1]/token", PUBLIC, True, "private network"),
        ("https://user:secret@auth.example/", PUBLIC, True, "no valid address"),
        ("https://auth.example\\@127.0.0.1/", PUBLIC, True, "no valid address"),
        ("https://auth.example/a b", PUBLIC, True, "no valid address"),
        ("https://auth.example:99999/", PUBLIC, True, "no valid address"),
        ("https://[/", PUBLIC, True, "no valid address"),
        ("file:///etc/passwd", PUBLIC, True, "no valid address"),
        ("/token", PUBLIC, True, "no valid address"),
        ("", PUBLIC, True, "no valid address"),
    ],
)
def test_a_realm_that_must_not_be_asked(
    realm: str, repository: RegistryRepository, is_public: bool, why: str
) -> None:
    with pytest.raises(SourceError, match=why) as caught:
        check_realm(realm, repository, is_public=is_public)
    assert caught.value.fault is Fault.REDIRECT
    assert "secret" not in caught.value.message


def test_a_name_that_leads_into_a_private_network_is_refused_for_a_public_registry(
    client: Client, registry: Registry
) -> None:
    with pytest.raises(SourceError, match="private network"):
        client.open(f"{registry.endpoint}/token", {}, None, public_only=True)
    with pytest.raises(SourceError, match="private network"):
        client.open(f"{registry.endpoint}/token", {}, None, public_only=True, form={"a": "b"})
    assert registry.asked == []

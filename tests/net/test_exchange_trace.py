"""Verbose output: what is printed of an exchange, and that nothing secret is."""

from __future__ import annotations

import base64
from contextlib import closing

import pytest

from modelfetch import tracing
from modelfetch.cancel import Cancellation
from modelfetch.errors import SourceError
from modelfetch.net.client import Client
from modelfetch.net.credentials import Credential
from modelfetch.net.hub_client import HubClient
from modelfetch.net.registry_auth import RegistryAuth
from modelfetch.net.registry_urls import RegistryRepository
from modelfetch.net.responses import RangeRequest
from modelfetch.net.retry import RetryPolicy
from modelfetch.net.time_limits import Memory
from modelfetch.settings.docker_credentials import RegistryLogin
from modelfetch.settings.secret_values import KnownSecrets
from modelfetch.settings.values import Secret
from modelfetch.sources.base import HttpOffer
from tests.hubs.registry import Registry, digest_of
from tests.net.asking import FILE, PATIENT, SIZE
from tests.origin import Origin, Proxy, faults

TOKEN = "canary-token-of-the-user"
PASSWORD = "canary-password"
SIGNATURE = "canary-signature"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every line at the level of ``-vv``."""
    lines: list[str] = []
    trace = tracing.Trace(tracing.DETAILS, KnownSecrets({"HF_TOKEN": TOKEN}), lines.append)
    monkeypatch.setattr(tracing, "active", trace)
    return lines


@pytest.fixture
def shared(client: Client) -> Client:
    """The client of all tests, whose idle connections are closed first."""
    client.close_idle()
    return client


def offer(client: Client, url: str, credential: Credential | None = None) -> HttpOffer:
    return HttpOffer("mirror", url, SIZE, client, credential)


def read(client: Client, url: str, credential: Credential | None = None) -> None:
    stream = offer(client, url, credential).open(0)
    with closing(stream):
        assert b"".join(bytes(piece) for piece in stream) == FILE


def having(lines: list[str], *words: str) -> list[str]:
    return [line for line in lines if all(word in line for word in words)]


@pytest.mark.parametrize("served", ["TLS"], indirect=True)
def test_an_exchange_with_its_details(served: Origin, lines: list[str]) -> None:
    with closing(Client(PATIENT, Cancellation())) as client:
        read(client, served.url("/files/big.bin"))
    [number] = {line.split()[2] for line in lines}
    host = f"127.0.0.1:{served.port}"
    [exchange] = having(lines, " GET ")
    assert f"{number} GET https://{host}/files/big.bin bytes=0-99999 -> 206 bytes 0-99999/100000" in exchange
    assert exchange.endswith(" s (mirror)")
    assert ", 100 kB in " in exchange
    assert having(lines, "proxy: none is set")
    assert having(lines, f"dns: {host} is 127.0.0.1; ")
    assert having(lines, "tcp: connected to ", f"port {served.port}")
    assert having(lines, "tls: TLSv1.", "issued by ", "valid until ")
    assert having(lines, "> range: bytes=0-99999")
    assert having(lines, "< etag: ")
    assert having(lines, "connection: new")


def test_without_details_there_is_one_line_for_an_exchange(
    shared: Client, url: str, lines: list[str]
) -> None:
    assert tracing.active is not None
    tracing.active.level = tracing.EXCHANGES
    read(shared, url)
    [line] = lines
    assert " GET " in line


def test_small_files_over_one_connection(shared: Client, url: str, lines: list[str]) -> None:
    read(shared, url)
    read(shared, url)
    assert len(having(lines, " GET ", "-> 206", "100 kB in", "(mirror)")) == 2
    assert len(having(lines, "connection: reused")) == 1


def test_the_target_of_a_redirect_is_a_host_and_nothing_else(
    shared: Client, origin: Origin, url: str, lines: list[str]
) -> None:
    with Origin() as cdn:
        cdn.add("big.bin", FILE)
        target = cdn.url(f"/files/{SIGNATURE}/../big.bin?X-Amz-Signature={SIGNATURE}")
        origin.fault("*", faults.redirect(target))
        read(shared, url)
        [first, second] = having(lines, " GET ")
        assert first.partition("-> ")[2].startswith(f"302 to 127.0.0.1:{cdn.port}, ")
        assert f" GET http://127.0.0.1:{cdn.port}/*** bytes=" in second
        assert having(lines, f"< location: 127.0.0.1:{cdn.port}/***")
    assert not having(lines, SIGNATURE)


def test_a_hostile_server_that_repeats_secrets_has_none_printed(
    shared: Client, origin: Origin, url: str, lines: list[str]
) -> None:
    encoded = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    hostile = f"{TOKEN} {PASSWORD} {encoded} user%3a{PASSWORD} %63anary-password \x1b[31m"
    names = ("ETag", "Server", "Set-Cookie", "X-Amz-Meta", "X-Other", "Via", "WWW-Authenticate")
    origin.fault("*", faults.all_of(*(faults.header(name, f'"{hostile}"') for name in names)))
    with pytest.raises(SourceError):
        read(shared, f"{url}.{TOKEN}", Credential.basic(url, "user", PASSWORD))
    assert having(lines, "> authorization: ***")
    assert having(lines, "< set-cookie: ***")
    assert having(lines, "< x-amz-meta: ***")
    assert having(lines, "-> 404")
    assert not having(lines, "canary")
    assert not having(lines, encoded)
    assert all(line.isprintable() for line in lines)


def test_a_failed_exchange_says_why(shared: Client, lines: list[str]) -> None:
    with pytest.raises(SourceError):
        read(shared, f"http://user:{PASSWORD}@127.0.0.1:9/{TOKEN}?key={SIGNATURE}#{SIGNATURE}")
    [line] = having(lines, " GET ")
    assert "http://***@127.0.0.1:9/***?***" in line
    assert "-> failed: connection refused" in line
    assert not having(lines, "canary")


def test_the_proxy_is_shown_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, origin: Origin, lines: list[str]
) -> None:
    with Proxy() as proxy:
        host = proxy.url.removeprefix("http://")
        address = f"http://user:{PASSWORD}@{host}"
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("NO_PROXY", "internal.example")
        with closing(Client(PATIENT, Cancellation())) as client, pytest.raises(SourceError):
            read(client, "http://model.invalid/big.bin")
    assert having(lines, f"proxy: http://***@{host} of HTTP_PROXY")
    assert not having(lines, "canary")


def test_the_token_dance_of_a_registry_shows_no_credential(shared: Client, lines: list[str]) -> None:
    login = RegistryLogin("user", Secret(PASSWORD), "file auth.json")
    identity = RegistryLogin("", Secret("canary-refresh"), "helper", is_identity_token=True)
    for used in (login, identity):
        with Registry() as registry:
            registry.add(FILE)
            registry.scheme = "Bearer"
            repository = RegistryRepository(registry.host, "lab/m")
            auth = RegistryAuth(shared, lambda _host, _name, used=used: used)  # type: ignore[misc]
            url = repository.blob_url(digest_of(FILE).removeprefix("sha256:"))

            def request(credential: Credential | None, url: str = url) -> bytes:
                body = shared.request(url, RangeRequest(0, SIZE), credential=credential, memory=Memory())
                with closing(body):
                    return b"".join(bytes(piece) for piece in body)

            assert auth.send(repository, request) == FILE
            sent = {each.authorization.partition(" ")[2] for each in registry.asked} - {""}
        assert sent
        assert not [secret for secret in (*sent, PASSWORD, "canary") if having(lines, secret)]
    assert having(lines, "-> 401")
    assert having(lines, "< www-authenticate: Bearer, realm at ")
    assert having(lines, "/token", "-> 200")


def test_retries_of_a_hub_are_reported(shared: Client, origin: Origin, url: str, lines: list[str]) -> None:
    origin.fault("*", faults.status(503), times=1)
    hub = HubClient(shared, Cancellation(), RetryPolicy(base=0.0), sleep=lambda _: None)
    with hub.get(url) as answer:
        assert answer.status == 200
    assert having(lines, "retry: ", "service unavailable (503); next attempt in 0.0 s")

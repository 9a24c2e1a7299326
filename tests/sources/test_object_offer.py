"""Object stores as mirrors: ranges, limits, faults, credentials, and what a manifest cannot decide."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.errors import Fault as Why
from modelfetch.errors import SourceError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.client import Client
from modelfetch.net.responses import Unranged
from modelfetch.net.time_limits import Limits
from modelfetch.sources.base import Offer
from modelfetch.sources.mirror import MirrorSource, UrlSource, expand
from tests.engine.fakes import TickingClock
from tests.object_server import Fault, ObjectServer
from tests.patience import HELD, IN_TIME
from tests.sources.samples import DATA, SHA256, manifest, read, spec

pytest.importorskip("obstore")

KEY = f"models/m/{SHA256}"
URL = f"s3://{KEY}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectServer]:
    with ObjectServer() as server:
        for name, value in {**server.environment, "HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        server.objects[KEY] = DATA
        yield server


@pytest.fixture
def stores() -> Iterator[Client]:
    client = Client(Limits(connect_timeout=IN_TIME, stall_timeout=IN_TIME, min_speed=1024), Cancellation())
    yield client
    client.close()


@pytest.fixture
def impatient() -> Iterator[Client]:
    client = Client(Limits(connect_timeout=IN_TIME, stall_timeout=0.3, min_speed=1024), Cancellation())
    yield client
    client.close()


def offer(client: Client, template: str = "s3://models/m/{sha256}") -> Offer:
    file = spec()
    [found] = MirrorSource(client, [template]).offers(manifest(file), file)
    return found


def fails(found: Offer, offset: int = 0, end: int | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(found, offset, end)
    return caught.value


def test_a_template_names_an_object(stores: Client) -> None:
    found = offer(stores)
    assert (found.kind, found.host, found.address) == ("mirror", "s3://models", URL)


def test_a_version_that_no_key_may_have_fails_as_a_source(stores: Client) -> None:
    file = spec()
    [found] = MirrorSource(stores, ["s3://models/{version}/x"]).offers(Manifest("m", "..", (file,)), file)
    assert fails(found).fault is Why.PROTOCOL


def test_keys_are_literal() -> None:
    file = spec("a b/ü%20+@.bin")
    assert expand("gs://models/{name}/{path}", manifest(file), file) == "gs://models/m/a b/ü%20+@.bin"


@pytest.mark.parametrize("key", ["a b", "ü%20+", "a@b=c&d", "x~(1)'!", "[x]{y}"])
def test_any_key_is_read(server: ObjectServer, stores: Client, key: str) -> None:
    server.objects[f"models/d/{key}"] = DATA
    file = spec(key)
    [found] = MirrorSource(stores, ["s3://models/d/{path}"]).offers(manifest(file), file)
    assert read(found) == DATA


@pytest.mark.parametrize("offset", [0, 1, len(DATA) - 1])
def test_it_delivers_from_any_offset(server: ObjectServer, stores: Client, offset: int) -> None:
    found = offer(stores)
    stream = found.open(offset)
    assert (stream.start, stream.ranged) == (offset, True)
    assert b"".join(map(bytes, stream)) == DATA[offset:]
    stream.close()


def test_it_delivers_a_part(server: ObjectServer, stores: Client) -> None:
    assert read(offer(stores), 10, 20) == DATA[10:20]
    assert server.seen[-1].range == "bytes=10-19"


def test_addresses_of_a_file_may_be_objects(server: ObjectServer, stores: Client) -> None:
    file = spec(urls=(URL,))
    [found] = UrlSource(stores).offers(manifest(file), file)
    assert (found.kind, read(found)) == ("url", DATA)


def test_requests_are_signed_with_the_key_of_the_environment(server: ObjectServer, stores: Client) -> None:
    read(offer(stores))
    assert "Credential=AKIDEXAMPLE/" in server.seen[-1].authorization
    assert "wJalrXUtnFEMI" not in server.seen[-1].authorization


def test_google_is_read_by_the_same_way(
    server: ObjectServer, stores: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_BASE_URL", server.endpoint)
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    assert read(offer(stores, "gs://models/m/{sha256}"), 5) == DATA[5:]
    assert not server.seen[-1].is_signed


def test_azure_is_read_by_the_same_way(
    server: ObjectServer, stores: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AZURE_STORAGE_ACCOUNT_NAME": "lab",
        "AZURE_STORAGE_ENDPOINT": server.endpoint,
        "AZURE_STORAGE_ACCOUNT_KEY": "bm90IGEga2V5",
    }.items():
        monkeypatch.setenv(name, value)
    assert read(offer(stores, "az://models/m/{sha256}"), 5, 50) == DATA[5:50]
    assert server.seen[-1].authorization.startswith("SharedKey lab:")


def test_azure_without_an_account_says_what_to_set(stores: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    error = fails(offer(stores, "az://models/m/{sha256}"))
    assert error.fault is Why.AUTHORIZATION
    assert "AZURE_STORAGE_ACCOUNT_NAME" in error.hint


# Faults


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("fault", "why", "is_retried"),
    [
        (Fault(404, "NoSuchKey"), Why.NOT_FOUND, False),
        (Fault(404, "NoSuchBucket"), Why.NOT_FOUND, False),
        (Fault(403, "AccessDenied"), Why.AUTHORIZATION, False),
        (Fault(401, "Unauthorized"), Why.AUTHORIZATION, False),
        (Fault(400, "ExpiredToken"), Why.AUTHORIZATION, False),
        (Fault(403, "SignatureDoesNotMatch"), Why.AUTHORIZATION, False),
        (Fault(503, "SlowDown"), Why.BUSY, True),
        (Fault(429, "TooManyRequests"), Why.BUSY, True),
        (Fault(500, "InternalError"), Why.SERVER, True),
        (Fault(502, "BadGateway"), Why.SERVER, True),
        (Fault(400, "InvalidRequest"), Why.PROTOCOL, False),
        (Fault(301, "PermanentRedirect"), Why.PROTOCOL, False),
        (Fault(cut_after=100), Why.CUT, True),
        (Fault(body=DATA + b"x"), Why.SIZE, False),
        (Fault(body=DATA[:-1]), Why.SIZE, False),
        (Fault(body=b""), Why.SIZE, False),
    ],
    ids=lambda value: f"{value.status}{value.code}" if isinstance(value, Fault) else str(value),
)
def test_a_failure_has_its_fault(
    server: ObjectServer, stores: Client, fault: Fault, why: Why, is_retried: bool
) -> None:
    server.faults[KEY] = fault
    error = fails(offer(stores))
    assert (error.fault, error.retry) == (why, is_retried)
    assert "127.0.0.1" not in error.message


def test_a_refusal_names_the_tools_of_the_store(server: ObjectServer, stores: Client) -> None:
    server.faults[KEY] = Fault(403, "AccessDenied")
    error = fails(offer(stores))
    assert error.message == "access refused (403, AccessDenied)"
    assert "AWS_PROFILE" in error.hint


def test_a_bucket_of_another_region_says_what_to_set(server: ObjectServer, stores: Client) -> None:
    server.faults[KEY] = Fault(301, "PermanentRedirect")
    assert "AWS_REGION" in fails(offer(stores)).hint


def test_text_of_the_server_is_not_shown(server: ObjectServer, stores: Client) -> None:
    server.faults[KEY] = Fault(400, "\x1b[31mEvil</Code><Code>")
    error = fails(offer(stores))
    assert "Evil" not in error.message + error.hint


def test_a_part_beyond_the_object_is_refused(server: ObjectServer, stores: Client) -> None:
    server.objects[KEY] = DATA[:10]
    assert fails(offer(stores), 20, 30).fault is Why.SIZE


def test_a_store_without_ranges_is_reported_as_such(server: ObjectServer, stores: Client) -> None:
    server.faults[KEY] = Fault(unranged=True)
    assert isinstance(fails(offer(stores), 10, 20), Unranged)


def test_an_endpoint_that_refuses_connections(stores: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with ObjectServer() as gone:
        for name, value in gone.environment.items():
            monkeypatch.setenv(name, value)
    assert fails(offer(stores)).fault is Why.CONNECT


def test_a_host_that_does_not_exist(
    server: ObjectServer, stores: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://nothing.invalid")
    assert fails(offer(stores)).fault is Why.CONNECT


# Limits


def test_silence_ends_a_request(server: ObjectServer, impatient: Client) -> None:
    server.faults[KEY] = Fault(silent=True)
    began = time.monotonic()
    assert fails(offer(impatient)).fault is Why.TIMEOUT
    assert time.monotonic() - began < IN_TIME


def test_a_shorter_limit_for_the_first_byte_holds(server: ObjectServer, stores: Client) -> None:
    server.faults[KEY] = Fault(silent=True)
    with pytest.raises(SourceError) as caught:
        offer(stores).open(0, first_byte=0.05)
    assert caught.value.fault is Why.TIMEOUT


def fails_after_a_piece(server: ObjectServer, fault: Fault, step: float) -> SourceError:
    """Read a large object; after the first piece each look at the clock takes ``step`` of its seconds."""
    content = bytes(100_000)
    file = FileSpec("a.bin", len(content), hashlib.sha256(content).hexdigest())
    server.objects[f"models/m/{file.sha256}"] = content
    server.faults[f"models/m/{file.sha256}"] = fault
    clock = TickingClock()
    with closing(Client(Limits(HELD, HELD, min_speed=1024), Cancellation(), clock)) as client:
        [found] = MirrorSource(client, ["s3://models/m/{sha256}"]).offers(manifest(file), file)
        with closing(found.open(0)) as stream:
            pieces = iter(stream)
            assert next(pieces)
            clock.step = step
            with pytest.raises(SourceError) as caught:
                list(pieces)
    return caught.value


def test_a_stall_ends_a_transfer(server: ObjectServer) -> None:
    error = fails_after_a_piece(server, Fault(stall_after=100), HELD - 0.1)
    assert (error.fault, "too slow" in error.message) == (Why.STALL, False)


def test_a_transfer_that_is_too_slow_ends(server: ObjectServer) -> None:
    error = fails_after_a_piece(server, Fault(drip=0.01), 1.0)
    assert (error.fault, "too slow" in error.message) == (Why.STALL, True)


@pytest.mark.parametrize("fault", [Fault(silent=True), Fault(stall_after=100)], ids=["head", "body"])
def test_cancelling_ends_a_read_within_a_moment(server: ObjectServer, fault: Fault) -> None:
    server.faults[KEY] = fault
    cancel = Cancellation()
    client = Client(Limits(stall_timeout=60), cancel)
    threading.Timer(0.15, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        read(offer(client))
    assert time.monotonic() - began < IN_TIME


def test_several_parts_are_read_at_the_same_time(server: ObjectServer, stores: Client) -> None:
    found = offer(stores)
    half = len(DATA) // 2
    first, second = found.open(0, half), found.open(half)
    assert b"".join(map(bytes, second)) == DATA[half:]
    assert b"".join(map(bytes, first)) == DATA[:half]


# Credentials


def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


def test_without_credentials_a_request_is_not_signed(
    server: ObjectServer, stores: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_keys(monkeypatch)
    assert read(offer(stores)) == DATA
    assert not server.seen[-1].is_signed
    server.faults[KEY] = Fault(403, "AccessDenied")
    assert "No credentials were found" in fails(offer(stores)).hint


def test_the_profile_of_the_aws_tools_is_used(
    server: ObjectServer, stores: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_keys(monkeypatch)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    directory = tmp_path / ".aws"
    directory.mkdir()
    (directory / "credentials").write_text(
        "[default]\naws_access_key_id=WRONG\naws_secret_access_key=x\n"
        "[lab]\naws_access_key_id = AKIDLAB\naws_secret_access_key = a%b\n"
    )
    (directory / "config").write_text(
        f"[profile lab]\nregion = eu-west-1\nendpoint_url = {server.endpoint}\n"
    )
    assert read(offer(stores)) == DATA
    assert "Credential=AKIDLAB/" in server.seen[-1].authorization
    assert "/eu-west-1/s3/" in server.seen[-1].authorization


def test_a_profile_that_needs_a_login_says_how(
    server: ObjectServer, stores: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_keys(monkeypatch)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[default]\nsso_session = lab\n")
    server.faults[KEY] = Fault(403, "AccessDenied")
    assert "aws configure export-credentials" in fails(offer(stores)).hint


def test_a_client_of_a_server_cannot_use_its_credentials(server: ObjectServer) -> None:
    client = Client(Limits(), Cancellation(), may_be_private=())
    assert fails(offer(client)).fault is Why.AUTHORIZATION
    assert not server.seen


def test_without_obstore_a_line_says_what_to_install(stores: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    error = fails(offer(stores))
    assert (error.fault, error.retry) == (Why.PROTOCOL, False)
    assert error.hint == "Install it: pip install 'modelfetch[s3]'"

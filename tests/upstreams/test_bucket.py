"""Objects and prefixes as references: listings that are bounded, and bytes of one version only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import AuthorizationError, UnavailableError, UnknownModelError, UsageError
from modelfetch.model.object_address import parse_object_url
from modelfetch.model.parse_reference import parse_reference
from modelfetch.net.client import Client
from modelfetch.net.hub_client import HubClient
from modelfetch.net.object_store import StoredObject
from modelfetch.net.retry import RetryPolicy
from modelfetch.net.time_limits import Limits
from modelfetch.upstreams.base import Listing
from modelfetch.upstreams.bucket import Bucket, _without_directories
from tests.object_server import Fault, ObjectServer
from tests.patience import HELD

pytest.importorskip("obstore")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectServer]:
    with ObjectServer() as server:
        for name, value in {**server.environment, "HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        server.objects["lab/whisper/base.bin"] = b"base"
        server.objects["lab/whisper/onnx/encoder.onnx"] = b"encoder"
        server.objects["lab/whisper2/other.bin"] = b"other"
        yield server


@pytest.fixture
def bucket() -> Bucket:
    cancel = Cancellation()
    client = Client(Limits(connect_timeout=HELD, stall_timeout=HELD), cancel)
    return Bucket(HubClient(client, cancel, RetryPolicy(attempts=3, base=0.01)))


def resolve(bucket: Bucket, text: str) -> Listing:
    return bucket.resolve(parse_reference(text, exists=lambda _: False))


def test_one_object_is_one_file(server: ObjectServer, bucket: Bucket) -> None:
    found = resolve(bucket, "s3://lab/whisper/base.bin")
    [file] = found.files
    assert (file.path, file.size, file.sha256, file.urls) == (
        "base.bin",
        4,
        None,
        ("s3://lab/whisper/base.bin",),
    )
    assert (found.name, found.stated_by, found.revision) == ("base", "computed", "")


@pytest.mark.parametrize("text", ["s3://lab/whisper/", "s3://lab/whisper"])
def test_a_prefix_is_all_below_it(server: ObjectServer, bucket: Bucket, text: str) -> None:
    found = resolve(bucket, text)
    assert [file.path for file in found.files] == ["base.bin", "onnx/encoder.onnx"]
    assert found.files[1].urls == ("s3://lab/whisper/onnx/encoder.onnx",)
    assert found.name == "whisper"


def test_a_whole_bucket_is_a_prefix(server: ObjectServer, bucket: Bucket) -> None:
    found = resolve(bucket, "s3://lab")
    assert [file.path for file in found.files] == [
        "whisper/base.bin",
        "whisper/onnx/encoder.onnx",
        "whisper2/other.bin",
    ]
    assert found.name == "lab"


def test_a_listing_has_several_pages(server: ObjectServer, bucket: Bucket) -> None:
    server.state.page_size = 1
    assert len(resolve(bucket, "s3://lab/whisper/").files) == 2


def test_objects_that_stand_for_directories_are_left_out(server: ObjectServer, bucket: Bucket) -> None:
    server.objects["lab/whisper/"] = b""
    server.objects["lab/whisper/onnx/"] = b""
    server.objects["lab/whisper/empty"] = b""
    found = resolve(bucket, "s3://lab/whisper/")
    assert [file.path for file in found.files] == ["base.bin", "empty", "onnx/encoder.onnx"]


def test_nothing_at_an_address_is_an_unknown_model(server: ObjectServer, bucket: Bucket) -> None:
    for text in ("s3://lab/nothing", "s3://lab/nothing/", "s3://lab/whisp"):
        with pytest.raises(UnknownModelError, match="no object"):
            resolve(bucket, text)


@pytest.mark.slow
def test_a_listing_that_is_too_long_is_refused(server: ObjectServer, bucket: Bucket) -> None:
    server.objects.update({f"lab/many/{number:05}": b"" for number in range(20_001)})
    with pytest.raises(UsageError, match="20,000"):
        resolve(bucket, "s3://lab/many/")


@pytest.mark.slow
def test_a_listing_without_end_is_refused(server: ObjectServer, bucket: Bucket) -> None:
    server.objects.update({f"lab/many/{number:05}": b"" for number in range(1000)})
    server.state.endless = True
    with pytest.raises(UsageError, match="20,000"):
        resolve(bucket, "s3://lab/many/")


@pytest.mark.parametrize("key", ["../escape", "a/../../b", "c//d"])
def test_keys_that_are_no_paths_are_refused(server: ObjectServer, bucket: Bucket, key: str) -> None:
    server.objects[f"lab/whisper/{key}"] = b"x"
    try:
        found = resolve(bucket, "s3://lab/whisper/")
    except (UnavailableError, UsageError):
        return
    assert all(".." not in file.path and "//" not in file.path for file in found.files)


def test_objects_outside_of_the_prefix_are_left_out() -> None:
    """Only a store that lies lists them."""
    listed = [StoredObject("other/evil.bin", 3), StoredObject("models/a.bin", 3)]
    found = _without_directories(parse_object_url("s3://bucket/models/"), listed)
    assert [path for path, _ in found] == ["a.bin"]


def test_a_refusal_needs_credentials(server: ObjectServer, bucket: Bucket) -> None:
    server.faults["lab"] = Fault(403, "AccessDenied")
    with pytest.raises(AuthorizationError, match="s3://lab: access refused"):
        resolve(bucket, "s3://lab/whisper/")


def test_a_busy_store_is_asked_again(server: ObjectServer, bucket: Bucket) -> None:
    server.faults["lab"] = Fault(503, "SlowDown", times=2)
    assert len(resolve(bucket, "s3://lab/whisper/").files) == 2


def test_bytes_continue_where_a_transfer_was_cut(server: ObjectServer, bucket: Bucket) -> None:
    server.objects["lab/x"] = bytes(range(256)) * 100
    [file] = resolve(bucket, "s3://lab/x").files
    server.faults["lab/x"] = Fault(cut_after=1000, times=1)
    with bucket.open(file) as pieces:
        assert b"".join(pieces) == server.objects["lab/x"]
    assert server.seen[-1].range.startswith("bytes=1000-")


def test_bytes_that_change_meanwhile_are_refused(server: ObjectServer, bucket: Bucket) -> None:
    server.objects["lab/x"] = b"old" * 1000
    [file] = resolve(bucket, "s3://lab/x").files
    server.faults["lab/x"] = Fault(cut_after=1000, times=1)
    with bucket.open(file) as pieces:
        next(pieces)
        server.objects["lab/x"] = b"new" * 1000
        with pytest.raises(UnavailableError, match="changed while it was read"):
            b"".join(pieces)


def test_a_transfer_that_fails_again_and_again_ends(server: ObjectServer, bucket: Bucket) -> None:
    server.objects["lab/x"] = b"x" * 1000
    [file] = resolve(bucket, "s3://lab/x").files
    server.faults["lab/x"] = Fault(cut_after=0)
    with bucket.open(file) as pieces, pytest.raises(UnavailableError):
        b"".join(pieces)

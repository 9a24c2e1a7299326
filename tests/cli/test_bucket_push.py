"""``bundle push`` to a bucket: a mirror by digest, which never gets a damaged file, and reading from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelfetch.model.manifest import Manifest
from modelfetch.model.parse import load_manifest
from modelfetch.net import object_store, object_transfer
from tests.e2e.command import Command, InProcess, Result, assert_fails
from tests.hubs.registry import digest_of
from tests.hubs.test_push import blob_path, place, runs
from tests.object_server import Fault, ObjectServer
from tests.patience import IN_TIME

pytest.importorskip("obstore")

LARGE = bytes(range(256)) * 41_000
"""10.5 MB: three parts, of the least size that a store takes except for the last one."""
BIG = LARGE[:2_000]
"""One part."""
FILES = {"big.bin": BIG, "config.json": b"{}", "empty.txt": b"", "copy.json": b"{}"}
TEMPLATE = "s3://lab/models/{sha256}"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_transfer, "SMALL", 1_000)
    monkeypatch.setattr(object_transfer, "PART", 5 << 20)
    monkeypatch.setattr(object_store, "_ABORT_SECONDS", 2.0)


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with ObjectServer() as server:
        yield server


@pytest.fixture
def cli(tmp_path: Path, server: ObjectServer) -> InProcess:
    """A machine that has the model tiny."""
    cli = InProcess(tmp_path / "machine")
    cli.environment |= server.environment
    place(cli, "tiny", FILES)
    return cli


@pytest.fixture
def large(cli: InProcess) -> InProcess:
    """The same with a file of several parts."""
    place(cli, "tiny", FILES | {"big.bin": LARGE})
    return cli


def key(data: bytes) -> str:
    return f"lab/models/{digest_of(data)[7:]}"


def pushed(cli: InProcess, *words: str) -> Result:
    return cli("bundle", "push", "tiny", "s3://lab/models", *words)


def document(cli: InProcess, *words: str) -> dict[str, Any]:
    result = pushed(cli, "--json", *words)
    assert result.code == 0, result.out
    [model] = result.document["models"]
    return dict(model)


def writes(server: ObjectServer) -> list[str]:
    return [seen.key for seen in server.seen if seen.method in ("PUT", "POST")]


def test_a_model_is_pushed_once_and_skipped_then(large: InProcess, server: ObjectServer) -> None:
    first = pushed(large)
    assert first.code == 0, first.err
    assert first.lines == [TEMPLATE]
    assert "config set sources.mirrors" in first.err
    for data in (FILES | {"big.bin": LARGE}).values():
        assert server.objects[key(data)] == data
    assert not server.state.parts
    assert len({*server.objects}) == 4  # each digest once, and the manifest
    server.seen.clear()
    again = document(large)
    assert writes(server) == ["lab/models/tiny/1/tiny.toml"]
    assert again["sent"] == 0
    assert {blob["state"] for blob in again["blobs"]} == {"present"}


def test_the_manifest_beside_it_names_the_mirror(cli: InProcess, server: ObjectServer) -> None:
    assert document(cli)["manifest"] == "s3://lab/models/tiny/1/tiny.toml"
    text = server.objects["lab/models/tiny/1/tiny.toml"]
    found: Manifest = load_manifest(Path("tiny.toml"), text)
    assert found.mirrors == (TEMPLATE,)
    own = load_manifest(Path("tiny.toml"), (cli.catalog / "tiny.toml").read_bytes())
    assert found.identity == own.identity


def test_another_machine_reads_from_the_mirror(cli: InProcess, server: ObjectServer, tmp_path: Path) -> None:
    assert pushed(cli).code == 0
    other = InProcess(tmp_path / "other")
    other.environment |= server.environment
    (other.catalog / "tiny.toml").write_bytes((cli.catalog / "tiny.toml").read_bytes())
    ensured = other("ensure", "tiny", MODELFETCH_SOURCES_MIRRORS=TEMPLATE)
    assert ensured.code == 0, ensured.err
    for path, data in FILES.items():
        assert (Path(ensured.out.strip()) / path).read_bytes() == data


def test_a_manifest_alone_is_enough(cli: InProcess, server: ObjectServer, tmp_path: Path) -> None:
    assert pushed(cli).code == 0
    other = InProcess(tmp_path / "other")
    other.environment |= server.environment
    (other.catalog / "tiny.toml").write_bytes(server.objects["lab/models/tiny/1/tiny.toml"])
    assert other("ensure", "tiny").code == 0


def test_a_dry_run_writes_nothing(cli: InProcess, server: ObjectServer) -> None:
    server.objects[key(b"{}")] = b"{}"
    model = document(cli, "--dry-run")
    assert writes(server) == []
    states = {blob["path"]: blob["state"] for blob in model["blobs"]}
    assert states == {"big.bin": "missing", "copy.json": "present", "empty.txt": "missing"}
    assert "would push: big.bin" in pushed(cli, "--dry-run").err


def test_an_object_of_another_size_is_replaced(cli: InProcess, server: ObjectServer) -> None:
    server.objects[key(BIG)] = BIG[:100]
    assert pushed(cli).code == 0
    assert server.objects[key(BIG)] == BIG


@pytest.mark.parametrize("data", [LARGE, b"{}"], ids=["parts", "one request"])
def test_a_damaged_file_is_never_there(large: InProcess, server: ObjectServer, data: bytes) -> None:
    path = blob_path(large, data)
    path.chmod(0o644)
    path.write_bytes(b"X" + data[1:])
    assert_fails(pushed(large), 5, "is damaged")
    assert key(data) not in server.objects
    assert not server.state.parts  # the upload was discarded at the store
    assert "lab/models/tiny/1/tiny.toml" not in server.objects


def test_a_push_continues_with_the_files_that_are_missing(cli: InProcess, server: ObjectServer) -> None:
    server.faults[key(b"{}")] = Fault(403, "AccessDenied", method="PUT")
    assert_fails(pushed(cli), 9, "access refused", "AWS_PROFILE")
    del server.faults[key(b"{}")]
    states = {blob["path"]: blob["state"] for blob in document(cli)["blobs"]}
    assert (states["big.bin"], states["copy.json"]) == ("present", "pushed")


def test_a_bucket_that_may_not_be_listed_is_written_to(cli: InProcess, server: ObjectServer) -> None:
    """Amazon S3 answers 403 there for an object that does not exist."""
    server.faults[key(BIG)] = Fault(403, "AccessDenied", times=1, method="HEAD")
    assert pushed(cli).code == 0
    assert server.objects[key(BIG)] == BIG
    server.faults[key(BIG)] = Fault(403, "AccessDenied", method="HEAD")
    assert_fails(pushed(cli, "--dry-run"), 9, "access refused")


@pytest.mark.slow
def test_a_part_that_fails_is_sent_again(large: InProcess, server: ObjectServer) -> None:
    server.faults[key(LARGE)] = Fault(503, "SlowDown", times=2, method="PUT")
    assert pushed(large).code == 0
    assert server.objects[key(LARGE)] == LARGE


def test_a_bucket_that_does_not_exist(cli: InProcess, server: ObjectServer) -> None:
    for data in FILES.values():
        server.faults[key(data)] = Fault(404, "NoSuchBucket", method="PUT")
    assert_fails(pushed(cli), 6, "cannot push tiny", "Create the bucket")


def test_a_store_that_is_not_there(cli: InProcess) -> None:
    cli.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    assert_fails(pushed(cli), 6, "cannot push tiny: connection refused at 127.0.0.1:", "and AWS_ENDPOINT_URL")


@pytest.mark.slow
def test_a_part_that_takes_long_is_no_stall(large: InProcess, server: ObjectServer) -> None:
    server.faults[key(LARGE)] = Fault(late=8.0, method="PUT")
    large.environment["MODELFETCH_NETWORK_STALL_TIMEOUT"] = "4"
    assert pushed(large).code == 0
    assert server.objects[key(LARGE)] == LARGE
    assert len([seen for seen in server.seen if seen.method == "PUT" and seen.key == key(LARGE)]) == 3


@pytest.mark.slow
def test_ctrl_c_ends_a_push_that_is_not_answered(tmp_path: Path, server: ObjectServer) -> None:
    cli = Command(tmp_path)
    cli.environment |= server.environment
    place(cli, "tiny", FILES | {"big.bin": LARGE})
    server.faults[key(LARGE)] = Fault(silent=True, method="PUT")
    running = cli.start("bundle", "push", "tiny", "s3://lab/models")
    running.until(lambda _: "PUT" in {seen.method for seen in server.seen})
    result = running.interrupt()
    assert result.code == 130
    assert result.seconds < IN_TIME
    assert "Traceback" not in result.err
    assert key(LARGE) not in server.objects
    del server.faults[key(LARGE)]
    assert cli("bundle", "push", "tiny", "s3://lab/models").code == 0
    assert server.objects[key(LARGE)] == LARGE


def test_an_address_that_cannot_be_pushed_to(cli: InProcess) -> None:
    assert_fails(cli("bundle", "push", "tiny", "s3://host:9000/x"), 2, "name of a bucket")
    assert_fails(cli("bundle", "push", "tiny", "ftp://x/y"), 2, "s3://BUCKET/PREFIX")


def test_offline_is_refused(cli: InProcess) -> None:
    assert_fails(pushed(cli, "--offline"), 4, "cannot push to s3://lab")


def test_a_reference_to_a_prefix_is_pinned_and_fetched(cli: InProcess, server: ObjectServer) -> None:
    server.objects["lab/raw/a.bin"] = b"a" * 1000
    server.objects["lab/raw/sub/b.bin"] = b"b"
    ensured = cli("ensure", "s3://lab/raw/")
    assert ensured.code == 0, ensured.err
    assert (Path(ensured.out.strip()) / "sub/b.bin").read_bytes() == b"b"
    assert "trust on first use" in ensured.err
    shown = cli("show", "raw", "--json").document
    assert shown["upstream"]["ref"] == "s3://lab/raw/"
    assert cli("outdated").code == 0


def test_buckets_are_listed_among_the_sources(cli: InProcess) -> None:
    result = cli("sources", "--json", MODELFETCH_SOURCES_MIRRORS=TEMPLATE)
    assert [each["host"] for each in result.document["sources"] if each["source"] == "mirror"] == ["s3://lab"]


def test_a_push_is_in_the_history(cli: InProcess, server: ObjectServer) -> None:
    assert pushed(cli, "--dry-run").code == 0
    assert pushed(cli).code == 0
    assert runs(cli) == [("bundle push", ["tiny"], "completed", 0)]

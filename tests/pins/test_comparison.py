"""A pin is compared with a listing by what is stated, and with nothing else."""

from __future__ import annotations

from modelfetch.model.manifest import FileSpec
from modelfetch.pins.comparison import FileChange, compare, from_difference
from modelfetch.pins.difference import difference
from tests.pins.moving import git_blob, listed, pin

HELD = {"config.json": b"{}", "model.bin": b"weights"}


def unknown(_file: FileSpec) -> None:
    """No bytes are on this disk."""


def held(file: FileSpec) -> str:
    return git_blob(HELD[file.path])


def test_added_removed_and_changed_files_with_the_bytes_to_fetch() -> None:
    files = [listed("model.bin", b"other weights"), listed("new.bin", b"new")]
    found = compare(pin(), files, unknown)
    assert found.changes == (
        FileChange("config.json", "removed", 2, None),
        FileChange("model.bin", "changed", 7, 13),
        FileChange("new.bin", "added", None, 3),
    )
    assert (found.unchanged, found.fetch) == (0, 16)


def test_another_size_is_a_change_without_any_digest() -> None:
    found = compare(pin(), [listed("config.json", b"{ }", is_stated=False)], unknown)
    assert found.changes[0] == FileChange("config.json", "changed", 2, 3)


def test_the_same_size_is_compared_by_git_blob_id_if_the_bytes_are_here() -> None:
    changed = [listed("config.json", b"[]", is_stated=False), listed("model.bin", b"weights")]
    assert compare(pin(), changed, held).count("changed") == 1
    same = [listed("config.json", b"{}", is_stated=False), listed("model.bin", b"weights")]
    found = compare(pin(), same, held)
    assert (found.changes, found.uncompared, found.unchanged, found.fetch) == ((), (), 2, 0)


def test_the_same_size_is_not_compared_without_the_bytes() -> None:
    files = [listed("config.json", b"[]", is_stated=False), listed("model.bin", b"weights")]
    found = compare(pin(), files, unknown)
    assert (found.changes, found.uncompared, found.unchanged) == ((), ("config.json",), 1)


def test_equal_bytes_under_another_path_need_no_transfer() -> None:
    files = [listed("config.json", b"{}"), listed("moved.bin", b"weights"), listed("copy.bin", b"weights")]
    found = compare(pin(), files, unknown)
    assert (found.count("added"), found.count("removed"), found.fetch) == (2, 1, 0)


def test_a_difference_of_manifests_is_the_same_kind_of_comparison() -> None:
    newer = pin(files={"config.json": b"{}", "model.bin": b"changed", "more.bin": b"1234"})
    found = from_difference(difference(pin(), newer))
    assert [(change.path, change.kind) for change in found.changes] == [
        ("model.bin", "changed"),
        ("more.bin", "added"),
    ]
    assert (found.unchanged, found.fetch) == (1, 11)
    assert found.document["added"] == [{"path": "more.bin", "before": None, "after": 4}]

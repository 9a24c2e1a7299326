"""Chunks are found in other blobs by the maps of a cache, of which nothing is taken for granted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.store import Disk, Store
from modelfetch.store.local_chunks import Copy
from tests.store.material import MIB, digest, noise
from tests.store.test_chunk_maps import built_of

OLD, OTHER = noise(3 * MIB + 5), noise(2 * MIB + 5, 7)
NEW = OLD[:MIB] + OTHER[:MIB] + OLD[2 * MIB :]
WHOLE = [(0, len(NEW))]


def blob(store: Store, content: bytes, mapped: bytes | None = None) -> Path:
    """Store a blob, and a map that is that of other bytes if so wanted."""
    path = store.root / "blobs/sha256" / digest(content)[:2] / digest(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    store.chunk_maps.write(digest(content), built_of(mapped or content))
    return path


@pytest.fixture
def table(tmp_path: Path) -> LeafTable:
    maps = Store(tmp_path / "another cache").chunk_maps
    maps.write(digest(NEW), built_of(NEW))
    table = maps.read(digest(NEW), len(NEW))
    assert table is not None
    return table


def found(
    store: Store, table: LeafTable, missing: Sequence[tuple[int, int]] = WHOLE
) -> dict[int, list[Copy]]:
    """The copies of each chunk, by its number."""
    copies: dict[int, list[Copy]] = {}
    for copy in store.local_chunks.elsewhere(table, lambda: missing):
        copies.setdefault(copy.row.offset // MIB, []).append(copy)
    return copies


def test_chunks_are_found_in_the_blobs_that_have_them(store: Store, table: LeafTable) -> None:
    old, other = blob(store, OLD), blob(store, OTHER)
    assert {chunk: (copy.path, copy.offset) for chunk, (copy,) in found(store, table).items()} == {
        0: (old, 0),
        1: (other, 0),
        2: (old, 2 * MIB),
        3: (old, 3 * MIB),
    }
    assert store.local_chunks.held_elsewhere(table) == len(NEW)
    assert list(found(store, table, [(10, 2 * MIB)])) == [1]


def test_a_chunk_that_is_still_missing_is_looked_for_at_another_place(store: Store, table: LeafTable) -> None:
    """The first blob, or its map, was wrong."""
    shared = [blob(store, noise(100, seed) + OTHER[:MIB], OTHER[: MIB + 100]) for seed in range(5)]
    copies = found(store, table)[1]
    assert len({copy.path for copy in copies}) == 3
    assert {copy.path for copy in copies} <= set(shared)


def test_maps_are_read_once(store: Store, table: LeafTable, monkeypatch: pytest.MonkeyPatch) -> None:
    blob(store, OLD)
    assert 0 in found(store, table)
    monkeypatch.setattr(store.chunk_maps, "read", lambda *_: pytest.fail("read again"))
    assert 0 in found(store, table)
    monkeypatch.undo()
    blob(store, OTHER)
    assert 1 in found(store, table)


@pytest.mark.parametrize("which", ["chunks", "chunks/sha256", "chunks/sha256/prefix"])
def test_a_directory_that_cannot_be_read_hides_its_maps_only(
    store: Store, table: LeafTable, which: str
) -> None:
    blob(store, OLD)
    path = store.root / which.replace("prefix", digest(OLD)[:2])
    path.rename(store.root / "moved")
    path.symlink_to(store.root / "moved")
    store.close()  # else the directory, which is open, is used at its new place
    assert not found(store, table)


def test_a_directory_of_another_user_hides_its_maps_only(root: Path, table: LeafTable) -> None:
    """It can be listed, or not even that."""
    closed = root / "chunks/sha256" / digest(OLD)[:2]

    class OthersDisk(Disk):
        def perform(self, operation: str, path: Path, call):  # type: ignore[no-untyped-def]
            if path.parent == closed or (path == closed and operation == "list"):
                raise PermissionError(13, os.strerror(13))
            return super().perform(operation, path, call)

    other = blob(Store(root), OTHER)
    blob(Store(root), OLD)
    copies = found(Store(root, disk=OthersDisk(fsync=False)), table)
    assert {chunk: copy.path for chunk, (copy, *_) in copies.items()} == {1: other}


def test_a_map_of_terabytes_is_not_read(store: Store, table: LeafTable) -> None:
    """Both the blob and its map are holes that another user made."""
    name = "ab" * 32
    for path in (store.root / "blobs/sha256/ab" / name, store.root / f"chunks/sha256/ab/{name}.car"):
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.truncate(1 << 40)
    assert not found(store, table)
    assert store.chunk_maps.read(name, 1 << 30) is None

"""Chunk maps are stored beside the blobs, and nothing that lies there is taken for granted."""

from __future__ import annotations

import os
import random
from hashlib import sha256
from pathlib import Path

import pytest

from modelfetch.ipfs import car
from modelfetch.ipfs.file_tree import Built, FileTree
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025, Profile
from modelfetch.store import Store
from modelfetch.store.chunk_digests import CHUNK
from modelfetch.store.chunk_maps import ChunkMaps
from tests.store.material import MIB, digest, noise

CONTENT = noise(3 * MIB + 12_345)
SHA256 = digest(CONTENT)


def built_of(content: bytes, profile: Profile = UNIXFS_V1_2025) -> Built:
    tree = FileTree(profile)
    for start in range(0, len(content), profile.chunk_size):
        tree.add_chunk(content[start : start + profile.chunk_size])
    return tree.finish()


BUILT = built_of(CONTENT)


@pytest.fixture
def maps(store: Store) -> ChunkMaps:
    return store.chunk_maps


@pytest.fixture
def path(root: Path) -> Path:
    """Where the map lies; a test that puts something else there needs the directory."""
    path = root / f"chunks/sha256/{SHA256[:2]}/{SHA256}.car"
    path.parent.mkdir(parents=True)
    return path


def read(maps: ChunkMaps) -> LeafTable | None:
    return maps.read(SHA256, len(CONTENT))


def test_the_chunk_is_that_of_the_profile() -> None:
    assert UNIXFS_V1_2025.chunk_size == CHUNK


def test_a_map_is_read_as_it_was_written(maps: ChunkMaps) -> None:
    assert maps.write(SHA256, BUILT)
    table = read(maps)
    assert table is not None
    assert (table.root, table.size) == (BUILT.root, len(CONTENT))
    assert [(row.offset, row.size) for row in table.rows] == [
        (0, MIB),
        (MIB, MIB),
        (2 * MIB, MIB),
        (3 * MIB, 12_345),
    ]
    for row in table.rows:
        chunk = CONTENT[row.offset : row.offset + row.size]
        assert row.digest == sha256(chunk).digest()
        assert table.check(row, chunk)
    assert maps.cid(SHA256, len(CONTENT)) == BUILT.root.text
    assert maps.has(SHA256)
    assert list(maps.entries()) == [SHA256]


def test_the_file_is_a_car_with_the_root_in_its_header(maps: ChunkMaps, path: Path) -> None:
    maps.write(SHA256, BUILT)
    sections = b"".join(car.section(cid, block) for cid, block in BUILT.nodes)
    assert path.read_bytes() == car.header(BUILT.root) + sections


def test_a_map_of_a_large_file_has_several_nodes(maps: ChunkMaps) -> None:
    tree, rng = FileTree(UNIXFS_V1_2025), random.Random(1)
    for _ in range(1025):
        tree.add_leaf(rng.randbytes(32), MIB)
    built = tree.finish()
    assert len(built.nodes) == 3
    assert maps.write(SHA256, built)
    table = maps.read(SHA256, 1025 * MIB)
    assert table is not None
    assert len(table.rows) == 1025


@pytest.mark.parametrize("size", [0, 1, 1000, CHUNK])
def test_a_file_of_one_chunk_needs_no_map(maps: ChunkMaps, root: Path, size: int) -> None:
    content = noise(size)
    built = built_of(content)
    assert not maps.write(digest(content), built)
    assert not root.exists()
    table = maps.read(digest(content), size)
    assert table is not None
    assert table.root == built.root
    assert maps.cid(digest(content), size) == built.root.text
    assert [(row.offset, row.size, row.digest) for row in table.rows] == (
        [(0, size, sha256(content).digest())] if size else []
    )


def test_an_empty_file_cannot_have_the_digest_of_another(maps: ChunkMaps) -> None:
    assert maps.read(SHA256, 0) is None


def test_without_a_map_there_is_no_table(maps: ChunkMaps, root: Path) -> None:
    assert read(maps) is None
    assert maps.cid(SHA256, len(CONTENT)) is None
    assert not maps.has(SHA256)
    assert list(maps.entries()) == []
    assert not maps.remove(SHA256)
    assert not root.exists()


def test_a_map_can_be_removed_and_replaced(maps: ChunkMaps) -> None:
    maps.write(SHA256, BUILT)
    maps.write(SHA256, built_of(CONTENT[::-1]))
    assert maps.cid(SHA256, len(CONTENT)) == built_of(CONTENT[::-1]).root.text
    assert maps.remove(SHA256)
    assert not maps.has(SHA256)


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1, 2 * MIB, 1 << 50])
def test_a_map_of_a_file_of_another_size_is_none(maps: ChunkMaps, size: int) -> None:
    maps.write(SHA256, BUILT)
    assert maps.read(SHA256, size) is None


GOOD = car.header(BUILT.root) + b"".join(car.section(cid, block) for cid, block in BUILT.nodes)
WRAPPED = built_of(CONTENT, UNIXFS_V0_2015)

HOSTILE = {
    "empty": b"",
    "text": b"not a map at all, but some text that is long enough",
    "header only": car.header(BUILT.root),
    "cut in the root": GOOD[:30],
    "cut in a section": GOOD[:-1],
    "bytes behind": GOOD + b"\x01",
    "a bit of a node": GOOD[:-50] + bytes((GOOD[-50] ^ 1,)) + GOOD[-49:],
    "root of another file": car.header(built_of(CONTENT[::-1]).root) + GOOD[len(car.header(BUILT.root)) :],
    "root that is no file": GOOD[:15] + b"\x71" + GOOD[16:],
    "CARv2": bytes.fromhex("0aa16776657273696f6e02") + GOOD,
    "zeros": bytes(len(GOOD)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_anything_else_that_lies_there_is_no_map(maps: ChunkMaps, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read(maps) is None
    assert maps.cid(SHA256, len(CONTENT)) is None


def test_a_map_under_another_profile_counts_if_its_tree_is_sound(maps: ChunkMaps, path: Path) -> None:
    sections = b"".join(car.section(cid, block) for cid, block in WRAPPED.nodes)
    path.write_bytes(car.header(WRAPPED.root) + sections)
    table = read(maps)
    assert table is not None
    assert all(table.check(row, CONTENT[row.offset : row.offset + row.size]) for row in table.rows)


def test_random_damage_never_escapes(maps: ChunkMaps, path: Path) -> None:
    rng = random.Random(13)
    for _ in range(300):
        content = bytearray(GOOD)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content[: rng.randint(0, len(content))] if rng.random() < 0.3 else content)
        table = read(maps)
        assert table is None or table.root == BUILT.root


def test_a_map_that_is_too_large_is_not_read(maps: ChunkMaps, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert read(maps) is None


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_are_not_followed(maps: ChunkMaps, path: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(GOOD)
    path.symlink_to(outside)
    assert read(maps) is None
    assert not maps.has(SHA256)
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(tmp_path, target_is_directory=True)
    assert read(maps) is None
    assert not maps.has(SHA256)
    assert not maps.write(SHA256, BUILT)
    assert list(maps.entries()) == []


def test_a_directory_in_the_place_of_a_map_is_no_map(maps: ChunkMaps, path: Path) -> None:
    path.mkdir()
    assert read(maps) is None
    assert not maps.has(SHA256)
    assert not maps.write(SHA256, BUILT)
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # no temporary file stays


def test_other_names_are_no_entries(maps: ChunkMaps, path: Path) -> None:
    for name in ("note.txt", f"{'A' * 64}.car", SHA256):
        (path.parent / name).write_bytes(b"")
    (path.parents[1] / "stray").write_bytes(b"")
    assert list(maps.entries()) == []


def test_a_disk_that_refuses_costs_only_the_map(root: Path) -> None:
    root.mkdir()
    (root / "chunks").write_bytes(b"")
    assert not Store(root).chunk_maps.write(SHA256, BUILT)

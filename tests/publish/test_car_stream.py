"""Plans and streams of CAR files: every block once, in an order and with bytes that are always the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from modelfetch.errors import IntegrityError, StoreError
from modelfetch.ipfs import dag_pb, unixfs
from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.cid import RAW, Cid
from modelfetch.ipfs.profiles import PROFILES, UNIXFS_V0_2015, UNIXFS_V1_2025, Profile
from modelfetch.model.manifest import FileSpec
from modelfetch.publish.car_stream import (
    CarStream,
    directory_parts,
    file_parts,
    file_pieces,
    model_parts,
    skeleton_parts,
)
from modelfetch.publish.model_tree import ModelTree, PlacedFile, hash_model
from modelfetch.publish.multipart import FormPart, form
from modelfetch.publish.tree_hashing import HashingPool
from tests.publish.material import MIB, digest
from tests.publish.servers import directory_cid

every_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


def spec_of(path: str, data: bytes) -> FileSpec:
    return FileSpec(path, len(data), digest(data))


def tree_of(root: Path, files: Mapping[str, bytes], profile: Profile = UNIXFS_V1_2025) -> ModelTree:
    placed = []
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
        placed.append(PlacedFile(spec_of(path, data), root / path))
    with HashingPool() as pool:
        return hash_model(placed, profile, pool)


def blocks_of(car: CarStream) -> dict[bytes, bytes]:
    """The blocks of a CAR file by multihash; each must occur once, and the size must be that of the plan."""
    reader = CarReader()
    data = b"".join(car.pieces())
    found = list(reader.feed(data))
    reader.finish()
    assert len(data) == car.size
    blocks = {cid.multihash: block for cid, block in found}
    assert len(blocks) == len(found)
    return blocks


def read_back(blocks: Mapping[bytes, bytes], cid: Cid) -> bytes:
    """The bytes of a file, by a reader of its own."""
    block = blocks[cid.multihash]
    if cid.codec == RAW:
        return block
    node = dag_pb.decode(block)
    message = unixfs.file_message(node)
    return (message.data or b"") + b"".join(read_back(blocks, link.cid) for link in node.links)


@every_profile
def test_a_car_has_what_is_needed_for_every_file(tmp_path: Path, profile: Profile) -> None:
    files = {"a.bin": bytes(range(256)) * 8192 + b"end", "b/c.bin": b"c", "b/same.bin": b"c", "b/empty": b""}
    tree = tree_of(tmp_path, files, profile)
    assert tree.root.text == directory_cid(files, profile)
    blocks = blocks_of(CarStream(tree.root, model_parts(tree)))
    for file in tree.files:
        assert read_back(blocks, file.tree.root) == files[file.path]
        assert b"".join(file_pieces(file)) == files[file.path]
    assert next(iter(blocks)) == tree.root.multihash
    assert b"".join(CarStream(tree.root, model_parts(tree)).pieces()) == b"".join(
        CarStream(tree.root, model_parts(tree)).pieces()
    )


def test_chunks_that_occur_many_times_are_sent_once(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"zeros": bytes(5 * MIB), "one": bytes(MIB)})
    blocks = blocks_of(CarStream(tree.root, model_parts(tree)))
    assert sorted(map(len, blocks.values()))[-1] == MIB
    assert len(blocks) == 3
    assert read_back(blocks, tree.by_root[tree.files[0].tree.root].tree.root) == bytes(5 * MIB)
    assert sum(map(len, file_pieces(tree.files[0]))) == 5 * MIB


def test_a_file_may_consist_of_a_block_of_another_one(tmp_path: Path) -> None:
    """Then both have the same multihash, and other CIDs."""
    first = tree_of(tmp_path / "first", {"a": bytes(2 * MIB + 1)})
    [(cid, block)] = first.files[0].tree.nodes
    tree = tree_of(tmp_path / "second", {"z": bytes(2 * MIB + 1), "a": block})
    assert {file.tree.root.multihash for file in tree.files} == {cid.multihash}
    blocks = blocks_of(CarStream(tree.root, model_parts(tree)))
    assert read_back(blocks, tree.files[0].tree.root) == bytes(2 * MIB + 1)
    assert read_back(blocks, tree.files[1].tree.root) == block


def test_a_skeleton_has_everything_but_leaves(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"a.bin": bytes(3 * MIB), "b/c.bin": b"c"})
    skeleton = blocks_of(CarStream(tree.root, skeleton_parts(tree)))
    assert set(skeleton) == {
        *(cid.multihash for cid, _ in tree.directory.nodes),
        *(cid.multihash for file in tree.files for cid, _ in file.tree.nodes),
    }
    assert len(list(directory_parts(tree))) == len(tree.directory.nodes) == 2
    assert [part.length for part in file_parts(tree.files[0], set())] == [0, MIB]


@pytest.mark.parametrize("profile", [UNIXFS_V1_2025, pytest.param(UNIXFS_V0_2015, marks=pytest.mark.slow)])
def test_a_directory_of_shards_is_walked_too(tmp_path: Path, profile: Profile) -> None:
    (tmp_path / "x").write_bytes(b"x")
    names = [f"{number:0>40}.bin" for number in range(4_200)]
    files = [PlacedFile(spec_of(name, b"x"), tmp_path / "x") for name in names]  # creating them takes longer
    with HashingPool() as pool:
        tree = hash_model(files, profile, pool)
    assert len(tree.directory.nodes) > 100, "shards"
    blocks = blocks_of(CarStream(tree.root, model_parts(tree)))
    assert len(blocks) == len(tree.directory.nodes) + 1


def test_bytes_that_changed_are_not_passed_on(tmp_path: Path) -> None:
    data = bytes(MIB) + b"\1" * MIB + b"end"
    tree = tree_of(tmp_path, {"a": data})
    for changed in (data[:MIB] + b"\2" * MIB + b"end", data[:-1], data[:MIB]):
        (tmp_path / "a").write_bytes(changed)
        passed = bytearray()
        with pytest.raises(IntegrityError, match="does not have the bytes"):
            _collect(tree, passed)
        assert bytes(MIB) in passed
        assert b"\2" not in passed[-MIB:]
    (tmp_path / "a").unlink()
    with pytest.raises(StoreError):
        list(CarStream(tree.root, model_parts(tree)).pieces())


def _collect(tree: ModelTree, passed: bytearray) -> None:
    for piece in CarStream(tree.root, model_parts(tree)).pieces():
        passed += piece


def test_a_file_with_other_bytes_than_those_pinned_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"longer than pinned")
    for size in (3, 18, 30):
        placed = PlacedFile(FileSpec("a", size, "0" * 64), tmp_path / "a", "a hint")
        with HashingPool() as pool, pytest.raises(IntegrityError, match="a"):
            hash_model([placed], UNIXFS_V0_2015, pool)


def test_a_form_has_the_length_that_it_states() -> None:
    parts = [FormPart("file", 3, lambda: [b"a", b"bc"], 'x"\r\n.bin', "a/b"), FormPart.text("more", "text")]
    outgoing = form(parts)
    data = b"".join(bytes(piece) for piece in outgoing.pieces())
    assert len(data) == outgoing.size
    boundary = outgoing.headers["Content-Type"].rpartition("=")[2]
    assert data.decode() == (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="x%22%0D%0A.bin"\r\n'
        f"Content-Type: a/b\r\n\r\nabc\r\n"
        f'--{boundary}\r\nContent-Disposition: form-data; name="more"\r\n\r\ntext\r\n--{boundary}--\r\n'
    )

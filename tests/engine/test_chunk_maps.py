"""Chunk maps are made of bytes that are hashed anyway: those of a fetch, and those of a verification."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from modelfetch.engine.events import FileCommitted, FileVerified
from modelfetch.store import Store
from tests.engine.fakes import MIB, Laboratory, SpyDisk, body, code, flipped, model, of, sha256
from tests.store.test_chunk_maps import built_of

LARGE, SMALL = body(2 * MIB + 5, 1), body(1_000, 2)
MODEL = model("m", {"small.json": SMALL, "dir/large.bin": LARGE})
CID = built_of(LARGE).root.text


@pytest.fixture
def mapping(lab: Laboratory) -> Laboratory:
    """A laboratory whose store makes every map."""
    lab.store = Store(lab.root, fsync=False, chunk_maps="always")
    return lab


def has_map(lab: Laboratory) -> bool:
    table = Store(lab.root).chunk_maps.read(sha256(LARGE), len(LARGE))
    return table is not None and table.root.text == CID


def verified_cids(lab: Laboratory, *, quick: bool = False) -> dict[str, str]:
    events = lab.verify(MODEL, quick=quick)
    assert code(events) == 0
    return {event.file: event.cid for event in of(events, FileVerified)}


def test_a_fetched_file_has_its_map_and_its_cid(mapping: Laboratory) -> None:
    for content in (LARGE, SMALL):
        mapping.serve(content)
    events = mapping.ensure(MODEL)
    assert {event.file: event.cid for event in of(events, FileCommitted)} == {
        "dir/large.bin": CID,
        "small.json": "",
    }
    assert has_map(mapping)
    receipt = mapping.store.receipt(MODEL)
    assert receipt is not None
    assert [file.cid for file in receipt.files] == ["", CID]


def test_verify_makes_the_map_that_is_missing_once(mapping: Laboratory) -> None:
    mapping.install(MODEL, contents=[LARGE, SMALL])
    assert not has_map(mapping)
    assert verified_cids(mapping) == {"dir/large.bin": CID, "small.json": ""}
    assert has_map(mapping)
    assert verified_cids(mapping) == {"dir/large.bin": "", "small.json": ""}


def test_with_auto_verify_makes_it_too(lab: Laboratory) -> None:
    lab.store = Store(lab.root, fsync=False, chunk_maps="auto")
    lab.install(MODEL, contents=[LARGE, SMALL])
    assert verified_cids(lab)["dir/large.bin"] == CID


def test_with_never_verify_makes_none(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[LARGE, SMALL])
    assert verified_cids(lab)["dir/large.bin"] == ""
    assert not has_map(lab)


def test_verify_replaces_a_damaged_map(mapping: Laboratory) -> None:
    mapping.install(MODEL, contents=[LARGE, SMALL])
    verified_cids(mapping)
    [path] = (mapping.root / "chunks").rglob("*.car")
    path.write_bytes(flipped(path.read_bytes(), -20))
    assert not has_map(mapping)
    assert verified_cids(mapping)["dir/large.bin"] == CID
    assert has_map(mapping)


def test_a_map_that_a_good_file_does_not_fit_is_replaced(mapping: Laboratory) -> None:
    mapping.install(MODEL, contents=[LARGE, SMALL])
    mapping.store.chunk_maps.write(sha256(LARGE), built_of(body(len(LARGE), 9)))
    assert code(mapping.verify(MODEL, sample=1)) == 0
    assert has_map(mapping)


def test_the_cid_of_a_map_that_was_there_is_no_fact_for_a_receipt(lab: Laboratory) -> None:
    """Another user of the cache wrote it, and no map was made of the bytes that were fetched."""
    lab.store.chunk_maps.write(sha256(LARGE), built_of(body(len(LARGE), 9)))
    lab.store = Store(lab.root, fsync=False, chunk_maps="never")
    lab.install(MODEL, contents=[LARGE, SMALL])
    receipt = lab.store.receipt(MODEL)
    assert receipt is not None
    assert [file.cid for file in receipt.files] == ["", ""]


def test_quick_reads_nothing_for_a_map(mapping: Laboratory) -> None:
    mapping.install(MODEL, contents=[LARGE, SMALL])
    assert verified_cids(mapping, quick=True) == {}
    assert not has_map(mapping)


def test_a_damaged_file_gets_no_map(mapping: Laboratory) -> None:
    mapping.install(MODEL, contents=[LARGE, SMALL])
    path = mapping.place(MODEL, "dir/large.bin")
    path.chmod(0o644)
    path.write_bytes(flipped(LARGE, 12_345))
    assert code(mapping.verify(MODEL)) == 5
    assert not (mapping.root / "chunks").exists()


@pytest.mark.skipif(os.name == "nt" or not os.geteuid(), reason="root may write anywhere")
def test_a_read_only_cache_is_hashed_once(mapping: Laboratory) -> None:
    mapping.install(MODEL, contents=[LARGE, SMALL])
    mapping.root.chmod(0o555)
    try:
        assert mapping.store.map_hasher(MODEL.files[1]) is None
        assert verified_cids(mapping)["dir/large.bin"] == ""
    finally:
        mapping.root.chmod(0o755)


class ReadOnly(SpyDisk):
    """A disk on which nothing may be written, also for root."""

    def why_not_writable(self, path: Path) -> int:
        return errno.EROFS


def test_a_disk_that_refuses_is_asked_before_the_hashing(mapping: Laboratory) -> None:
    mapping.install(MODEL, contents=[LARGE, SMALL])
    store = Store(mapping.root, disk=ReadOnly(), chunk_maps="always")
    assert store.map_hasher(MODEL.files[1]) is None


def test_the_files_are_read_once(mapping: Laboratory) -> None:
    mapping.install(MODEL, contents=[LARGE, SMALL])
    disk = SpyDisk()
    mapping.store = Store(mapping.root, disk=disk, chunk_maps="always")
    assert verified_cids(mapping)["dir/large.bin"] == CID
    assert disk.operations.count(("open", mapping.place(MODEL, "dir/large.bin"))) == 1

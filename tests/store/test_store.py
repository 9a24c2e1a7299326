"""A blob appears complete and right, or not at all; a wrong one that it replaces is quarantined."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from modelfetch.errors import IntegrityError, StoreError
from modelfetch.store import Hashing, Store
from modelfetch.store.layout import Layout
from tests.store.disks import CountingDisk, RefusingDisk, without_links
from tests.store.material import MIB, digest, leftovers, noise, obtain, spec


@pytest.fixture
def store(hashing_store: Store) -> Store:
    return hashing_store


CONTENT = noise(MIB + 77)
FILE = spec(CONTENT)
ROT = noise(MIB + 77, seed=2)


def plant(store: Store, content: bytes) -> Path:
    """Put a blob there by force, as bit rot would."""
    path = Layout(store.root).blob(FILE.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)
    return path


def test_a_blob_lies_under_its_digest(store: Store) -> None:
    placed = obtain(store, CONTENT)
    assert placed.path == store.root / "blobs" / "sha256" / FILE.sha256[:2] / FILE.sha256
    assert placed.path.read_bytes() == CONTENT
    assert placed.quarantined is None
    assert store.find_blob(FILE) == placed.path


def test_it_is_the_inode_that_was_written_to(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, CONTENT, "mirror a")
        inode = partial.slot.data.stat().st_ino
        assert store.commit(partial).path.stat().st_ino == inode


def test_nothing_of_the_download_stays(store: Store) -> None:
    obtain(store, CONTENT)
    assert leftovers(store.root) == []


def test_an_unfinished_download_is_refused_and_kept(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, CONTENT[:-1], "mirror a")
        with pytest.raises(IntegrityError, match=r"weights\.bin"):
            store.commit(partial)
        partial.put(partial.length, CONTENT[-1:], "mirror a")
        store.commit(partial)


def test_wrong_bytes_are_refused_and_get_no_name(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, ROT, "mirror a")
        with pytest.raises(IntegrityError, match=digest(ROT)):
            store.commit(partial)
    assert store.find_blob(FILE) is None


def test_bytes_cut_off_behind_our_back_are_noticed(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, CONTENT, "mirror a")
        os.truncate(partial.slot.data, 100)
        with pytest.raises(StoreError, match="changed by another program"):
            store.commit(partial)
    assert store.find_blob(FILE) is None


def test_another_file_under_our_name_is_not_published(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, CONTENT, "mirror a")
        partial.slot.data.unlink()
        partial.slot.data.write_bytes(ROT)
        with pytest.raises(StoreError, match="changed by another program"):
            store.commit(partial)
    assert store.find_blob(FILE) is None


def test_a_cache_deleted_meanwhile_ends_with_a_clear_error_and_the_next_run_works(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, CONTENT, "mirror a")
        for name in ("data", "journal"):
            (partial.slot.folder / name).unlink()
        partial.slot.folder.rmdir()
        with pytest.raises(StoreError, match=r"(does not exist|changed by another program)"):
            store.commit(partial)
    assert obtain(store, CONTENT).path.read_bytes() == CONTENT


def test_a_wrong_blob_is_replaced_and_quarantined(store: Store) -> None:
    plant(store, ROT)
    placed = obtain(store, CONTENT, displaced="cache")
    assert placed.path.read_bytes() == CONTENT
    assert placed.quarantined is not None
    assert (placed.quarantined.expected, placed.quarantined.actual) == (FILE.sha256, digest(ROT))
    assert (placed.quarantined.directory / "data").read_bytes() == ROT


def test_the_wrong_blob_stays_until_its_replacement_is_there(store: Store) -> None:
    blob = plant(store, ROT)
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, CONTENT[:1000], "mirror a")
        assert blob.read_bytes() == ROT


def test_a_replacement_is_sealed_and_synced_before_the_wrong_blob_is_put_aside(root: Path) -> None:
    disk = CountingDisk()
    store = Store(root, disk=disk, hashing=Hashing(0))
    blob = plant(store, ROT)
    with store.partial(FILE, True) as partial:
        partial.put(0, CONTENT, "mirror a")
        data = partial.slot.data
        disk.operations.clear()
        kept = store.commit(partial, displaced_source="cache").quarantined
    assert kept is not None
    steps = [
        ("change the mode of", data),
        ("sync", data),
        ("link to", kept.directory / "data"),
        ("rename to", blob),
        ("sync", blob.parent),
    ]
    assert [step for step in disk.operations if step in steps] == steps


def test_a_replacement_that_cannot_be_synced_leaves_the_wrong_blob_as_it_was(root: Path) -> None:
    blob = plant(Store(root), ROT)
    disk = RefusingDisk(errno.EIO, {"sync"}, below=root / "partial")
    with pytest.raises(StoreError, match="cannot sync"):
        obtain(Store(root, disk=disk), CONTENT, displaced="cache")
    assert blob.read_bytes() == ROT
    assert not (root / "quarantine").exists()


def test_a_wrong_blob_is_dropped_when_nobody_wants_it(store: Store) -> None:
    plant(store, ROT)
    assert obtain(store, CONTENT).quarantined is None
    assert not (store.root / "quarantine").exists()


def test_a_right_blob_is_never_quarantined(store: Store) -> None:
    """Another process may have been faster."""
    plant(store, CONTENT)
    assert obtain(store, CONTENT, displaced="cache").quarantined is None


def test_a_blob_of_the_wrong_length_is_not_found_but_replaced(store: Store) -> None:
    plant(store, b"short")
    assert store.find_blob(FILE) is None
    placed = obtain(store, CONTENT, displaced="cache")
    assert placed.quarantined is not None
    assert store.find_blob(FILE) == placed.path


def test_the_quarantine_works_where_files_cannot_be_linked(root: Path) -> None:
    store = Store(root, disk=without_links())
    blob = plant(store, ROT)
    placed = obtain(store, CONTENT, displaced="cache")
    assert blob.read_bytes() == CONTENT
    assert placed.quarantined is not None
    assert (placed.quarantined.directory / "data").read_bytes() == ROT


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_the_reason_names_expectation_bytes_source_and_place(store: Store) -> None:
    blob = plant(store, ROT)
    kept = obtain(store, CONTENT, displaced="mirror evil.example").quarantined
    assert kept is not None
    reason = json.loads((kept.directory / "reason.json").read_text())
    assert reason["expected"] == FILE.sha256
    assert reason["actual"] == digest(ROT)
    assert reason["source"] == "mirror evil.example"
    assert reason["path"] == str(blob)
    assert kept.directory.name.endswith(f"Z-{FILE.sha256}")
    assert stat.S_IMODE(kept.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((kept.directory / "reason.json").stat().st_mode) == 0o600


def test_at_most_one_entry_is_kept_for_a_digest(store: Store) -> None:
    other = noise(10, seed=5)
    store.root.mkdir()
    path = last = store.root / "bad"
    for seed in range(3):
        path.write_bytes(noise(50, seed))
        last = store.quarantine(path, FILE, actual=digest(noise(50, seed)), source="mirror a")
        assert not path.exists()
    path.write_bytes(other)
    beside = store.quarantine(path, spec(b"something else"), actual=digest(other), source="mirror b")
    assert sorted((store.root / "quarantine").iterdir()) == sorted([last, beside])
    assert (last / "data").read_bytes() == noise(50, 2)

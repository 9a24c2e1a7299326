"""Bytes of unknown digest become the blob of the digest that they have, or leave nothing behind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Store
from modelfetch.store import intake as module
from modelfetch.store.intake import Digester, FileDigest
from modelfetch.store.layout import Layout
from tests.patience import HELD
from tests.store.disks import CountingDisk, DyingDisk, FailingDisk, Killed, OrderingDisk, RefusingDisk
from tests.store.material import MIB, REPOSITORY, digest, leftovers, noise, open_descriptors, spec
from tests.store.test_chunk_maps import built_of

CONTENT = noise(70_000)
CODES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)
CHILD = """
import os, sys
from pathlib import Path
from modelfetch.store import Store

intake = Store(Path(sys.argv[1])).intake()
intake.write(b"first half")
os.kill(os.getpid(), 9)
"""


def take_in(store: Store, content: bytes = CONTENT, size: int | None = None) -> FileDigest:
    with store.intake(size) as intake:
        for start in range(0, len(content), 30_000):
            intake.write(content[start : start + 30_000])
        return intake.finish()


def blob_of(root: Path, content: bytes = CONTENT) -> Path:
    return Layout(root).blob(digest(content))


@pytest.mark.parametrize("content", [CONTENT, b""], ids=["some bytes", "no bytes"])
def test_the_bytes_become_the_blob_of_their_digest(store: Store, content: bytes) -> None:
    found = take_in(store, content, len(content))
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    assert found == FileDigest(len(content), digest(content), git)
    blob = store.find_blob(spec(content))
    assert blob is not None
    assert blob.read_bytes() == content
    assert leftovers(store.root) == []


@pytest.mark.parametrize(
    ("content", "known"),
    [
        (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        (b"Hello, World!", "b45ef6fec89518d314f546fd6c3025367b721684"),
    ],
)
def test_git_blob_ids_are_those_of_git(content: bytes, known: str) -> None:
    hasher = Digester(len(content))
    hasher.write(content)
    assert hasher.finish().git_blob == known


@pytest.mark.parametrize("size", [None, 1, len(CONTENT) + 1])
def test_without_the_right_size_there_is_no_git_blob_id(store: Store, size: int | None) -> None:
    assert take_in(store, size=size) == FileDigest(len(CONTENT), digest(CONTENT), None)


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_the_blob_is_read_only_and_follows_the_umask(store: Store) -> None:
    before = os.umask(0o027)
    try:
        take_in(store)
    finally:
        os.umask(before)
    assert stat.S_IMODE(blob_of(store.root).stat().st_mode) == 0o440


def test_a_blob_that_is_present_is_kept(store: Store) -> None:
    take_in(store)
    before = blob_of(store.root).stat()
    take_in(store)
    assert blob_of(store.root).stat().st_ino == before.st_ino
    assert leftovers(store.root) == []


def test_a_blob_of_another_size_is_quarantined_and_replaced(store: Store) -> None:
    blob = blob_of(store.root)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"cut")
    take_in(store)
    assert blob.read_bytes() == CONTENT
    assert [path.read_bytes() for path in store.root.glob("quarantine/*/data")] == [b"cut"]


def test_a_planted_link_is_replaced_and_not_followed(store: Store, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x" * len(CONTENT))
    blob = blob_of(store.root)
    blob.parent.mkdir(parents=True)
    blob.symlink_to(other)
    take_in(store)
    assert not blob.is_symlink()
    assert blob.read_bytes() == CONTENT
    assert other.read_bytes() == b"x" * len(CONTENT)


def test_a_directory_in_place_of_the_blob_is_an_error(store: Store) -> None:
    blob_of(store.root).mkdir(parents=True)
    with pytest.raises(StoreError):
        take_in(store)
    assert leftovers(store.root) == []


def test_another_file_under_the_temporary_name_is_not_published(store: Store) -> None:
    with store.intake() as intake:
        intake.write(CONTENT)
        [path] = store.root.glob("partial/*/data")
        path.unlink()
        path.write_bytes(CONTENT[::-1])
        with pytest.raises(StoreError, match="was replaced by another program"):
            intake.finish()
    assert not blob_of(store.root).exists()
    assert leftovers(store.root) == []


def test_without_finish_nothing_is_kept(store: Store) -> None:
    with store.intake() as intake:
        intake.write(CONTENT)
    assert leftovers(store.root) == []
    assert list(store.root.glob("blobs/**/*")) == []


def test_an_exception_drops_the_bytes(store: Store) -> None:
    before = open_descriptors(store.root)
    with contextlib.suppress(RuntimeError), store.intake() as intake:
        intake.write(CONTENT)
        raise RuntimeError
    assert leftovers(store.root) == []
    assert open_descriptors(store.root) == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is unknown whether a process is dead")
def test_a_killed_process_leaves_only_what_the_sweep_removes(store: Store) -> None:
    subprocess.run([sys.executable, "-c", CHILD, str(store.root)], check=False, timeout=HELD, cwd=REPOSITORY)
    assert len(list(store.root.glob("partial/.mf-tmp-*/data"))) == 1
    assert list(store.root.glob("blobs/**/*")) == []
    assert len(store.sweep()) == 1
    assert leftovers(store.root) == []


def test_the_sweep_keeps_an_intake_at_work(store: Store) -> None:
    with store.intake() as intake:
        intake.write(CONTENT)
        assert store.sweep() == ()
        intake.finish()
    assert blob_of(store.root).read_bytes() == CONTENT


def test_bytes_and_names_are_synced_in_order(root: Path) -> None:
    disk = OrderingDisk(root)
    take_in(Store(root, disk=disk))
    assert disk.violations == []
    assert not disk.unsafe_directories


def test_write_back_starts_while_the_bytes_arrive(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_BACK", 50_000)
    disk = CountingDisk()
    take_in(Store(root, disk=disk))
    assert [doing for doing, _ in disk.operations].count("start writing back") == 1


def test_a_full_disk_is_reported_before_the_first_byte(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelfetch.store.disk.Disk.free", lambda *_: 1000)
    with pytest.raises(StoreError, match="are needed"):
        store.intake(10_000)
    assert not store.root.exists()


def test_after_any_disk_error_there_is_no_wrong_blob(tmp_path: Path) -> None:
    whole = CountingDisk()
    take_in(Store(tmp_path / "whole", disk=whole))
    for nth in range(len(whole.operations)):
        for code in CODES:
            root = tmp_path / f"{nth}-{code}"
            with contextlib.suppress(StoreError):
                take_in(Store(root, disk=FailingDisk(nth, code)))
            assert all(digest(path.read_bytes()) == path.name for path in root.glob("blobs/sha256/??/*"))


@pytest.mark.slow
def test_a_death_at_any_moment_leaves_no_wrong_blob(tmp_path: Path) -> None:
    whole = CountingDisk()
    take_in(Store(tmp_path / "whole", disk=whole))
    for nth in range(len(whole.operations)):
        root, disk = tmp_path / str(nth), DyingDisk(nth)
        with pytest.raises(Killed):
            take_in(Store(root, disk=disk))
        disk.bury()
        assert all(digest(path.read_bytes()) == path.name for path in root.glob("blobs/sha256/??/*"))
        take_in(Store(root))
        assert blob_of(root).read_bytes() == CONTENT


@pytest.mark.parametrize("operation", ["write", "sync", "close", "rename to"])
def test_a_refusing_disk_is_a_store_error(root: Path, operation: str) -> None:
    disk = RefusingDisk(errno.ENOSPC, {operation})
    with pytest.raises(StoreError, match="the disk is full"):
        take_in(Store(root, disk=disk))
    assert not blob_of(root).exists()


@pytest.mark.parametrize("size", [3 * MIB + 7, None])
def test_a_file_of_several_chunks_gets_its_map(root: Path, size: int | None) -> None:
    store, content = Store(root, chunk_maps="always"), noise(3 * MIB + 7)
    take_in(store, content, size)
    assert store.chunk_maps.cid(digest(content), len(content)) == built_of(content).root.text
    assert leftovers(root) == []


def test_a_small_file_of_unknown_size_gets_none(root: Path) -> None:
    store = Store(root, chunk_maps="always")
    take_in(store)
    take_in(store, b"")
    assert list(store.chunk_maps.entries()) == []

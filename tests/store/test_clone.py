"""A file on this disk becomes a download by sharing its blocks, where the file system can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelfetch.store import Disk, Hashing, Store
from tests.store.material import MIB, noise, spec

CONTENT = noise(3 * MIB + 77)
FILE = spec(CONTENT)


class CloningDisk(Disk):
    """A disk whose file system shares blocks, which looks like a copy that nobody wrote."""

    def __init__(self, *, can: bool = True) -> None:
        super().__init__(fsync=False)
        self.can = can
        self.written = 0

    def reflink(self, fd: int, path: Path, source: int) -> bool:
        if self.can:
            size = os.fstat(source).st_size
            os.pwrite(fd, os.pread(source, size, 0), 0)
            os.ftruncate(fd, size)
        return self.can

    def pwrite(self, fd: int, path: Path, data: bytes | memoryview, offset: int) -> None:
        if path.name.startswith("data"):
            self.written += len(data)
        super().pwrite(fd, path, data, offset)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "theirs"
    path.write_bytes(CONTENT)
    return path


def clone(store: Store, source: Path) -> bool:
    """Clone a file and commit it, if that is possible."""
    fd = os.open(source, os.O_RDONLY)
    try:
        with store.partial(FILE, True) as partial:
            is_cloned = partial.clone(fd, "local /theirs")
            if is_cloned:
                assert (partial.received, set(partial.origins)) == (len(CONTENT), {"local /theirs"})
                partial.require_complete()
                store.commit(partial)
            return is_cloned
    finally:
        os.close(fd)


def test_a_clone_is_committed_without_a_write(root: Path, hashing: Hashing, source: Path) -> None:
    disk = CloningDisk()
    store = Store(root, disk=disk, hashing=hashing)
    assert clone(store, source)
    blob = store.find_blob(FILE)
    assert blob is not None
    assert (blob.read_bytes(), disk.written) == (CONTENT, 0)
    assert not blob.samefile(source)


def test_without_support_nothing_changes(root: Path, hashing: Hashing, source: Path) -> None:
    store = Store(root, disk=CloningDisk(can=False), hashing=hashing)
    assert not clone(store, source)
    with store.partial(FILE, True) as partial:
        assert partial.received == 0
        partial.put(0, CONTENT, "mirror a")
        partial.require_complete()


def test_a_file_of_another_size_is_not_taken(root: Path, source: Path) -> None:
    source.write_bytes(CONTENT[:-1])
    store = Store(root, disk=CloningDisk())
    assert not clone(store, source)
    with store.partial(FILE, True) as partial:
        partial.put(0, CONTENT, "mirror a")
        partial.require_complete()


def test_bytes_that_are_there_are_kept(root: Path, source: Path) -> None:
    store = Store(root, disk=CloningDisk())
    fd = os.open(source, os.O_RDONLY)
    with store.partial(FILE, True) as partial:
        partial.put(0, CONTENT[:100], "mirror a")
        assert not partial.clone(fd, "local /theirs")
        assert partial.received == 100
    os.close(fd)


def test_a_real_clone_or_its_refusal_ends_in_the_right_state(root: Path, source: Path) -> None:
    """Most file systems refuse; on XFS and Btrfs the blob shares the blocks."""
    store = Store(root)
    if clone(store, source):
        blob = store.find_blob(FILE)
        assert blob is not None
        assert blob.read_bytes() == CONTENT

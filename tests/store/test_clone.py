"""A file on this disk becomes a download by sharing its blocks, where the file system can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Disk, Hashing, Partial, Store
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


class ChunkCloningDisk(CloningDisk):
    """The same for a part of a file; some parts cannot be read again, as at a bad sector."""

    def __init__(self, *, can: bool = True, bad: int = -1) -> None:
        super().__init__(can=can)
        self.bad = bad

    def reflink_range(self, fd: int, path: Path, offset: int, source: int, start: int, length: int) -> bool:
        if self.can:
            os.pwrite(fd, os.pread(source, length, start), offset)
        return self.can

    def read_at(self, fd: int, path: Path, room: memoryview, offset: int) -> bool:
        if offset == self.bad and path.name.startswith("data"):
            self.bad = -1
            raise StoreError("cannot read: input/output error (EIO)")
        return super().read_at(fd, path, room, offset)


def clone_chunk(partial: Partial, source: Path, at: int) -> bool:
    fd = os.open(source, os.O_RDONLY)
    try:
        return partial.clone_chunk(
            at, fd, at, MIB, "cache chunks", lambda data: data == CONTENT[at : at + MIB]
        )
    finally:
        os.close(fd)


def test_a_chunk_is_taken_without_a_write(root: Path, hashing: Hashing, source: Path) -> None:
    disk = ChunkCloningDisk()
    with Store(root, disk=disk, hashing=hashing).partial(FILE, True) as partial:
        assert clone_chunk(partial, source, MIB)
        assert partial.missing == [(0, MIB), (2 * MIB, FILE.size)]
        assert disk.written == 0


@pytest.mark.parametrize("is_readable", [True, False], ids=["wrong", "at a bad sector"])
def test_a_chunk_that_is_wrong_or_cannot_be_read_is_fetched(
    root: Path, hashing: Hashing, source: Path, *, is_readable: bool
) -> None:
    if is_readable:
        source.write_bytes(bytes(FILE.size))
    store = Store(root, disk=ChunkCloningDisk(bad=-1 if is_readable else MIB), hashing=hashing)
    with store.partial(FILE, True) as partial:
        assert clone_chunk(partial, source, MIB)
        assert partial.missing == [(0, FILE.size)]
        partial.put(0, CONTENT, "mirror a")
        partial.require_complete()


def test_a_chunk_of_a_file_system_that_shares_nothing_is_to_be_copied(root: Path, source: Path) -> None:
    with Store(root, disk=ChunkCloningDisk(can=False)).partial(FILE, True) as partial:
        assert not clone_chunk(partial, source, MIB)
        assert partial.received == 0

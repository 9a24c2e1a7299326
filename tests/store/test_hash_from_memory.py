"""Bytes in order are hashed from memory, where a lock keeps other processes from the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.errors import IntegrityError
from modelfetch.store import Disk, Hashing, Partial, Store
from modelfetch.store.journal_format import Checkpoint
from modelfetch.store.prefix import Claim
from tests.store.material import MIB, digest, noise, spec

CONTENT = noise(7 * MIB + 321)
FILE = spec(CONTENT)


def put(partial: Partial, start: int, end: int, piece: int = 100_000) -> None:
    for offset in range(start, end, piece):
        partial.put(offset, CONTENT[offset : min(offset + piece, end)], "mirror a")


class Counting(Disk):
    """Counts the bytes that are read back; locks prove nothing where that is wanted."""

    def __init__(self, *, locks: bool = True) -> None:
        super().__init__()
        self._locks = locks
        self.read_back = 0

    def lock_file(self, fd: int, path: Path) -> bool | None:
        return super().lock_file(fd, path) if self._locks else None

    def read_at(self, fd: int, path: Path, room: memoryview, offset: int) -> bool:
        self.read_back += len(room)
        return super().read_at(fd, path, room, offset)


def test_bytes_in_order_are_hashed_by_their_writer(root: Path, hashing: Hashing) -> None:
    """Only what came out of order is read again."""
    disk = Counting()
    with Store(root, disk=disk, hashing=hashing).partial(FILE, True) as partial:
        put(partial, 0, 3 * MIB)
        put(partial, 5 * MIB, 6 * MIB)
        assert disk.read_back == 0
        put(partial, 3 * MIB, 5 * MIB)  # what lies behind the gap is read back
        assert partial.digest() == digest(CONTENT[: 6 * MIB])
        put(partial, 6 * MIB, FILE.size)
        assert partial.digest() == FILE.sha256
    assert disk.read_back == MIB


class Shared(Counting):
    """Another process overwrites each write at once, before its bytes can be read back."""

    def pwrite(self, fd: int, path: Path, data: bytes | memoryview, offset: int) -> None:
        super().pwrite(fd, path, data, offset)
        if path.name.startswith("data"):
            super().pwrite(fd, path, bytes(len(data)), offset)


@pytest.mark.quick(1)
def test_without_an_effective_lock_all_bytes_are_read_back(root: Path, hashing: Hashing) -> None:
    """What counts is what the page cache has, because another process may have written to the file."""
    disk = Counting(locks=False)
    with Store(root, disk=disk, hashing=hashing).partial(FILE, True) as partial:
        put(partial, 0, FILE.size)
        partial.require_complete()
    assert disk.read_back == FILE.size
    with Store(root / "b", disk=Shared(locks=False), hashing=hashing).partial(FILE, True) as partial:
        put(partial, 0, FILE.size)
        with pytest.raises(IntegrityError):
            partial.require_complete()


def test_bytes_that_others_wrote_into_a_claim_are_theirs(root: Path) -> None:
    """A claim speaks of the bytes it was made about, or of none."""
    with Store(root, hashing=Hashing(0)).partial(FILE, True) as partial:
        partial.expect(Claim(0, MIB, Checkpoint(MIB, "0" * 64, "mirror a")))
        partial.put(0, CONTENT[: MIB + 5], "mirror b")
        assert partial.digest() == digest(CONTENT[: MIB + 5])
        assert partial.length == MIB + 5

"""Early write-back: each range is named once, right after it was written, and no error is lost or raised."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Disk, Store
from modelfetch.store import partial_files as module
from tests.store.disks import CountingDisk, RefusingDisk
from tests.store.material import noise, obtain, spec

T = TypeVar("T")
STEP = 1000

needs_fadvise = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no posix_fadvise here")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_BACK", STEP)


class Recording(Disk):
    """Records which ranges are written, and of which ranges write-back is started."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[tuple[int, int]] = []
        self.written: set[int] = set()

    def pwrite(self, fd: int, path: Path, data: bytes | memoryview, offset: int) -> None:
        super().pwrite(fd, path, data, offset)
        if path.suffix != ".journal":
            self.written |= set(range(offset, offset + len(data)))

    def start_write_back(self, fd: int, path: Path, start: int, length: int) -> None:
        assert self.written.issuperset(range(start, start + length))
        self.ranges.append((start, start + length))
        super().start_write_back(fd, path, start, length)


def put(disk: Disk, root: Path, content: bytes, *ranges: tuple[int, int]) -> None:
    with Store(root, disk=disk).partial(spec(content), True) as partial:
        for start, end in ranges:
            partial.put(start, content[start:end], "mirror a")


def test_write_back_starts_once_for_each_step(root: Path) -> None:
    disk = Recording()
    put(disk, root, noise(3500), *((at, at + 500) for at in range(0, 3500, 500)))
    assert disk.ranges == [(0, 1000), (1000, 2000), (2000, 3000)]


def test_each_connection_has_its_own_steps(root: Path) -> None:
    """Bytes between two connections are not there yet, and must not be named."""
    disk = Recording()
    first, second = range(0, 2000, 500), range(4000, 6000, 500)
    order = [at for pair in zip(first, second, strict=True) for at in pair]
    put(disk, root, noise(6000), *((at, at + 500) for at in order))
    assert disk.ranges == [(0, 1000), (4000, 5000), (1000, 2000), (5000, 6000)]


def test_bytes_of_an_earlier_run_are_not_named(root: Path) -> None:
    """They may be on the disk already; the kernel would drop them from the page cache."""
    content, disk = noise(4000), Recording()
    put(Disk(), root, content, (0, 900))
    put(disk, root, content, (900, 1500), (1500, 2000))
    assert disk.ranges == [(900, 2000)]


@needs_fadvise
def test_write_back_is_asked_of_the_kernel(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int, int]] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda _, start, length, advice: calls.append((start, length, advice))
    )
    put(Disk(), root, noise(1500), (0, 1200))
    assert calls == [(0, 1200, os.POSIX_FADV_DONTNEED)]


@needs_fadvise
def test_without_syncs_nothing_is_asked(root: Path) -> None:
    disk = CountingDisk(fsync=False)
    put(disk, root, noise(1500), (0, 1200))
    assert "start writing back" not in [operation for operation, _ in disk.operations]


def test_a_system_without_the_call_does_without(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    content, disk = noise(1500), CountingDisk()
    assert obtain(Store(root, disk=disk), content).path.read_bytes() == content
    assert "start writing back" not in [operation for operation, _ in disk.operations]


@needs_fadvise
def test_a_refused_request_is_no_failure(root: Path) -> None:
    content, disk = noise(1500), RefusingDisk(errno.EINVAL, {"start writing back"})
    assert obtain(Store(root, disk=disk), content).path.read_bytes() == content


class LosingDisk(Disk):
    """Loses bytes while they are written back, and reports that to the next sync of the file, once."""

    def __init__(self) -> None:
        super().__init__()
        self._lost: set[Path] = set()

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        if operation == "start writing back":
            self._lost.add(path)
        if operation == "sync" and path in self._lost:
            self._lost.remove(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return call()


@needs_fadvise
def test_an_error_of_early_write_back_fails_the_sync(root: Path) -> None:
    content = noise(1500)
    with Store(root, disk=LosingDisk()).partial(spec(content), True) as partial:
        partial.put(0, content, "mirror a")
        with pytest.raises(StoreError, match="cannot sync"):
            Store(root, disk=partial._files.place.disk).commit(partial)
    assert Store(root).held(spec(content)) == 0

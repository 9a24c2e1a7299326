"""Early syncs: they save time, and their errors are never lost."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Disk, Store
from modelfetch.store.early_sync import STEP, EarlySync
from tests.patience import HELD, IN_TIME
from tests.store.disks import CountingDisk
from tests.store.material import noise, spec

pytestmark = pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="nothing is synced early here")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    path = tmp_path / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    yield fd, path
    os.close(fd)


class Failing(Disk):
    """Loses bytes that it was told to write, and says so once."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = threading.Event()

    def sync_data(self, fd: int, path: Path) -> None:
        self.tried.set()
        self._call("sync", path, fail)


class Slow(Disk):
    """Takes as long as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def sync_data(self, fd: int, path: Path) -> None:
        self.begun.set()
        self.go_on.wait(HELD)
        super().sync_data(fd, path)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "syncing"]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def fail() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_sync_begins_with_each_step(file: tuple[int, Path]) -> None:
    disk = CountingDisk()
    early = EarlySync(disk, *file, lambda: None, step=1000)
    early.wrote(999)
    early.wait()
    assert disk.operations == []
    for _ in range(2):
        early.wrote(1000)
        early.wait()
    assert [operation for operation, _ in disk.operations] == ["open", "sync", "close"] * 2


def test_without_syncs_none_is_early(file: tuple[int, Path]) -> None:
    disk = CountingDisk(fsync=False)
    early = EarlySync(disk, *file, lambda: None, step=1)
    early.wrote(10)
    early.wait()
    assert disk.operations == []


def test_what_an_early_one_was_told_is_told_at_the_end(root: Path) -> None:
    """The kernel reports a lost write once: the last sync may know nothing of it."""
    content = noise(STEP + 1)
    with Store(root, disk=Failing()).partial(spec(content), True) as partial:
        partial.put(0, content, "mirror a")
        with pytest.raises(StoreError, match="cannot sync"):
            Store(root).commit(partial)
    assert Store(root).held(spec(content)) == 0


def test_bytes_that_an_early_one_could_not_save_are_not_gone_on_with(root: Path) -> None:
    """The next run would read them from memory, and be told by its own sync that all is well."""
    content = noise(2 * STEP)
    disk = Failing()
    with Store(root, disk=disk).partial(spec(content), True) as partial:
        partial.put(0, content[: STEP + 5], "mirror a")
        until(disk.tried.is_set)
        until(lambda: not threads())
        with pytest.raises(StoreError, match="cannot sync"):
            partial.put(STEP + 5, content[STEP + 5 :], "mirror a")
    assert Store(root).held(spec(content)) == 0
    with Store(root).partial(spec(content), True) as partial:
        assert partial.received == 0


def test_where_no_thread_can_begin_nothing_is_lost(
    file: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    disk = CountingDisk()
    early = EarlySync(disk, *file, lambda: None, step=1)
    early.wrote(10)
    early.wait()
    assert [operation for operation, _ in disk.operations] == ["open", "close"]


def test_closing_does_not_wait_for_the_disk(root: Path) -> None:
    content = noise(STEP + 2)
    disk = Slow()
    partial = Store(root, disk=disk).partial(spec(content), True)
    partial.put(0, content[:-1], "mirror a")
    assert disk.begun.wait(IN_TIME)
    partial.close()
    disk.go_on.set()
    assert Store(root).held(spec(content)) == len(content) - 1

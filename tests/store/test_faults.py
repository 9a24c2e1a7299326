"""After any disk fault no final name has wrong bytes, and the next run completes the model."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Disk, Hashing, Store
from modelfetch.store.layout import Layout
from tests.store.disks import CountingDisk, DyingDisk, FailingDisk, Killed, OrderingDisk
from tests.store.material import (
    MIB,
    ensure,
    is_present,
    leftovers,
    model,
    noise,
    obtain,
    open_descriptors,
    spec,
    wrong_finals,
)

CONTENTS = {"config.json": noise(300), "onnx/model.onnx": noise(70_000)}
LARGE = noise(MIB + MIB // 2)
CODES = (
    *(errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EPERM),
    *(errno.EMFILE, errno.ENOENT, errno.ESTALE, errno.EBUSY, errno.ENAMETOOLONG),
)
MANIFEST = model(CONTENTS)

SHARES = 4
"""Parts a sweep over all operations is cut into, so that they can run beside each other."""
BY_THE_WRITER = Hashing(0)
"""Operations are counted here: in threads their order is not the same twice."""
in_shares = pytest.mark.parametrize(
    "share", [share if not share else pytest.param(share, marks=pytest.mark.slow) for share in range(SHARES)]
)


def run(root: Path, disk: Disk) -> bool:
    """Ensure a model, whatever state the cache is in; whether that went well. Only StoreError may happen."""
    try:
        ensure(Store(root, disk=disk, hashing=BY_THE_WRITER), CONTENTS)
    except StoreError:
        return False
    return True


def count_operations(root: Path) -> int:
    disk = CountingDisk()
    assert run(root, disk)
    return len(disk.operations)


def spoil(root: Path) -> None:
    """Leave a cache with bytes gone bad under final names."""
    store = Store(root, fsync=False)
    ensure(store, CONTENTS)
    blob = Layout(store.root).blob(MANIFEST.files[1].sha256)
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"rot")


def check_recovery(root: Path) -> None:
    store = Store(root, fsync=False)
    ensure(store, CONTENTS)
    store.sweep()
    assert is_present(store, MANIFEST, CONTENTS)
    assert not wrong_finals(root, MANIFEST)


BY_THE_WRITER = Hashing(0)
"""Operations are counted here: in threads their order is not the same twice."""


@pytest.mark.quick(1)
@in_shares
@pytest.mark.parametrize(
    "after", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["refused", "done-but-reported-failed"]
)
def test_each_operation_failing_once_leaves_nothing_wrong(tmp_path: Path, after: bool, share: int) -> None:
    total = count_operations(tmp_path / "count")
    assert total > 100
    before = open_descriptors(tmp_path)
    for nth in range(share, total, SHARES):
        root = tmp_path / str(nth)
        run(root, FailingDisk(nth, CODES[nth % len(CODES)], after=after))
        assert open_descriptors(tmp_path) == before, nth
        assert not wrong_finals(root, MANIFEST), nth
        check_recovery(root)


@pytest.mark.slow
@in_shares
def test_each_operation_of_a_repair_failing_once_leaves_nothing_wrong(tmp_path: Path, share: int) -> None:
    spoil(tmp_path / "count")
    for nth in range(share, count_operations(tmp_path / "count"), SHARES):
        root = tmp_path / str(nth)
        spoil(root)
        run(root, FailingDisk(nth, CODES[nth % len(CODES)]))
        check_recovery(root)


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.__getitem__)
def test_each_error_at_each_write_and_rename_leaves_nothing_wrong(tmp_path: Path, code: int) -> None:
    counting = CountingDisk()
    assert run(tmp_path / "count", counting)
    kinds = {"write", "rename to", "sync", "create", "close"}
    for nth in [index for index, (kind, _) in enumerate(counting.operations) if kind in kinds][::3]:
        root = tmp_path / str(nth)
        run(root, FailingDisk(nth, code))
        assert not wrong_finals(root, MANIFEST), nth
        check_recovery(root)


@pytest.mark.slow
def test_a_process_killed_before_each_operation_leaves_nothing_wrong(tmp_path: Path) -> None:
    counting = CountingDisk()
    obtain(Store(tmp_path / "count", disk=counting, hashing=BY_THE_WRITER), LARGE)
    for nth in range(len(counting.operations)):
        root = tmp_path / str(nth)
        disk = DyingDisk(nth)
        with pytest.raises(Killed):
            obtain(Store(root, disk=disk, hashing=BY_THE_WRITER), LARGE)
        disk.bury()
        assert not wrong_finals(root, MANIFEST)
        store = Store(root, fsync=False)
        obtain(store, LARGE)
        store.sweep()
        assert not wrong_finals(root, MANIFEST)
        assert not leftovers(root), nth


def interrupt(root: Path) -> None:
    """Leave an interrupted download: one of a run without locks, and one in the usual place."""
    file = spec(LARGE)
    for exclusive in (False, True):
        with Store(root, fsync=False).partial(file, exclusive) as partial:
            partial.put(partial.length, LARGE[partial.length : MIB + 5000], "mirror a")


@in_shares
@pytest.mark.slow
@pytest.mark.parametrize("exclusive", [True, False], ids=["taken-over", "copied"])
def test_each_operation_of_a_resumed_download_failing_once_leaves_nothing_wrong(
    tmp_path: Path, exclusive: bool, share: int
) -> None:
    interrupt(tmp_path / "count")
    counting = CountingDisk()
    obtain(Store(tmp_path / "count", disk=counting, hashing=BY_THE_WRITER), LARGE, exclusive=exclusive)
    before = open_descriptors(tmp_path)
    for nth in range(share, len(counting.operations), SHARES):
        root = tmp_path / str(nth)
        interrupt(root)
        disk = FailingDisk(nth, CODES[nth % len(CODES)])
        with contextlib.suppress(StoreError):
            obtain(Store(root, disk=disk, hashing=BY_THE_WRITER), LARGE, exclusive=exclusive)
        assert not wrong_finals(root, MANIFEST), nth
        assert obtain(Store(root, fsync=False), LARGE).path.read_bytes() == LARGE
    assert open_descriptors(tmp_path) == before


@pytest.mark.slow
@in_shares
def test_no_failure_leaks_a_file_descriptor(tmp_path: Path, share: int) -> None:
    total = count_operations(tmp_path / "count")
    before = open_descriptors(tmp_path)
    for nth in range(share, total, SHARES):
        run(tmp_path / str(nth), FailingDisk(nth, errno.EIO))
    assert open_descriptors(tmp_path) == before


def test_bytes_are_safe_before_their_name_and_names_before_the_receipt(root: Path) -> None:
    disk = OrderingDisk(root)
    assert run(root, disk)
    assert not disk.violations
    assert not disk.unsafe_directories


def test_without_fsync_nothing_is_synced(root: Path) -> None:
    disk = CountingDisk(fsync=False)
    ensure(Store(root, disk=disk, hashing=BY_THE_WRITER), CONTENTS)
    assert not [path for operation, path in disk.operations if operation == "sync"]


def test_a_failed_sync_throws_the_bytes_away(tmp_path: Path) -> None:
    """The kernel may have dropped them and call the next sync a success, so they must be fetched again."""
    content = noise(2 * MIB)
    counting = CountingDisk()
    obtain(Store(tmp_path / "a", disk=counting, hashing=BY_THE_WRITER), content)
    data = [i for i, (kind, path) in enumerate(counting.operations) if kind == "sync" and path.name == "data"]
    with pytest.raises(StoreError, match="cannot sync"):
        obtain(Store(tmp_path / "b", disk=FailingDisk(data[0], errno.EIO), hashing=BY_THE_WRITER), content)
    with Store(tmp_path / "b").partial(model({"x": content}).files[0], True) as partial:
        assert partial.length == 0


def test_short_writes_are_completed(root: Path) -> None:
    class ShortDisk(Disk):
        def _write_some(self, fd: int, path: Path, view: memoryview, offset: int) -> int:
            return super()._write_some(fd, path, view[:777], offset)

    content = noise(MIB + 1)
    placed = obtain(Store(root, disk=ShortDisk()), content)
    assert placed.path.read_bytes() == content


def test_a_full_disk_keeps_the_bytes_before_it(root: Path) -> None:
    content = noise(4 * MIB)
    file = model({"x": content}).files[0]

    class FillingDisk(Disk):
        room = 2 * MIB + MIB // 2

        def pwrite(self, fd: int, path: Path, data: bytes | memoryview, offset: int) -> None:
            if offset + len(data) > self.room:
                self._call("write", path, fail)
            super().pwrite(fd, path, data, offset)

    def fail() -> None:
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(StoreError, match="the disk is full") as caught:
        obtain(Store(root, disk=FillingDisk()), content)
    assert "--cache-dir" in caught.value.hint
    with Store(root).partial(file, True) as partial:
        assert partial.length == 8 * 300_000  # every write before the one that did not fit

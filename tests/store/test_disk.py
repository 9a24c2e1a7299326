"""Failed system calls become one line with operation, path and reason, and a hint."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Disk, Store
from modelfetch.store.disk_errors import refusal
from modelfetch.store.flock import file_system
from tests.store.disks import FailingDisk, RefusingDisk
from tests.store.material import model, noise, obtain, open_descriptors

T = TypeVar("T")

MOUNTS = r"""
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 21 0:20 / /proc rw - proc proc rw
40 21 0:50 / /home rw shared:1 - nfs4 server:/home rw
41 40 254:1 /sub /home/me/local\040disk rw - xfs /dev/vdb rw
42 21 0:51 / /mnt rw - ext4 /dev/vdc rw
43 42 0:52 / /mnt rw - fuse.sshfs host: rw
not a line
"""


@pytest.mark.parametrize(
    ("code", "words", "advice"),
    [
        (errno.ENOSPC, "the disk is full", "--cache-dir"),
        (errno.EDQUOT, "quota", "--cache-dir"),
        (errno.EROFS, "read-only", "--cache-dir"),
        (errno.EACCES, "permission denied", "owner"),
        (errno.EPERM, "not permitted", "immutable"),
        (errno.EIO, "failed to read or write", "the system log"),
        (errno.EMFILE, "too many files", "ulimit -n"),
        (errno.ENAMETOOLONG, "too long", "shorter"),
        (errno.EFBIG, "exceeds a size limit", "ulimit -f"),
        (errno.ENOENT, "does not exist", "again"),
        (errno.ELOOP, "symbolic link", "not followed"),
        (errno.EXDEV, "several file systems", "one file system"),
    ],
)
def test_each_known_refusal_is_explained(code: int, words: str, advice: str) -> None:
    error = refusal(OSError(code, os.strerror(code)), "write", Path("/cache/x"))
    assert error.message.startswith("cannot write /cache/x: ")
    assert words in error.message
    assert errno.errorcode[code] in error.message
    assert advice in error.hint
    assert error.exit_code == 7


def test_an_unknown_refusal_keeps_the_systems_words() -> None:
    error = refusal(OSError(errno.EDOM, "odd"), "read", Path("/x"))
    assert error.message == "cannot read /x: odd (EDOM)"
    assert refusal(OSError(), "read", Path("/x")).message == "cannot read /x: unknown error"


def test_a_path_cannot_steer_the_terminal() -> None:
    error = refusal(OSError(errno.EIO, "x"), "read", Path("/a\x1b[2J\nb"))
    assert "\x1b" not in error.message
    assert "\n" not in error.message


def test_the_cause_is_kept(root: Path) -> None:
    with pytest.raises(StoreError) as caught:
        obtain(Store(root, disk=FailingDisk(3, errno.EIO)), b"x")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_denied_rename_is_tried_again_where_scanners_hold_new_files(tmp_path: Path) -> None:
    class WindowsDisk(FailingDisk):
        rename_pauses = (0.0, 0.0)

    (tmp_path / "a").write_text("x")
    WindowsDisk(0, errno.EACCES).rename(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "x"


def test_a_write_that_writes_nothing_ends(tmp_path: Path) -> None:
    path = tmp_path / "full"
    disk = Disk()
    fd = disk.create(path)
    disk.close(fd, path)
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(StoreError):
        disk.pwrite(fd, path, b"x", 0)
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/tmp/cache", "ext4"),
        ("/proc", "proc"),
        ("/home/me", "nfs4"),
        ("/homework", "ext4"),
        ("/home/me/local disk/cache", "xfs"),
        ("/mnt/cache", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_latest_mount_counts(path: str, kind: str) -> None:
    assert file_system(MOUNTS, path) == kind


def test_without_mounts_nothing_is_known() -> None:
    assert file_system("", "/tmp") == ""


def test_too_little_space_is_told_before_the_first_byte(root: Path) -> None:
    class SmallDisk(Disk):
        def free(self, path: Path) -> int | None:
            return 1_000_000

    store = Store(root, disk=SmallDisk())
    store.check_space(990_000)
    with pytest.raises(StoreError, match=r"1\.01 MB are needed, 1\.00 MB are free") as caught:
        store.check_space(1_000_000)
    assert str(root) in caught.value.message
    assert "--cache-dir" in caught.value.hint


def test_an_unknown_amount_of_space_is_no_reason_to_stop(root: Path) -> None:
    class SilentDisk(Disk):
        def free(self, path: Path) -> int | None:
            return None

    Store(root, disk=SilentDisk()).check_space(1 << 60)


def test_space_is_looked_up_where_the_cache_will_lie(store: Store) -> None:
    free = store.free_space()
    assert free is not None
    assert free > 0
    assert not store.root.exists()


def test_placing_on_the_same_file_system_takes_no_space(store: Store, tmp_path: Path) -> None:
    assert store.file_system(tmp_path / "not" / "there" / "yet") == store.file_system()
    if Path("/proc/self").exists():
        assert store.file_system(Path("/proc/self")) != store.file_system()


def test_reading_goes_block_by_block(store: Store, tmp_path: Path) -> None:
    content = noise((2 << 20) + 5)
    (tmp_path / "file").write_bytes(content)
    blocks = [bytes(block) for block in store.read(tmp_path / "file")]
    assert b"".join(blocks) == content
    assert max(map(len, blocks)) == 1 << 20


def test_reading_what_is_not_there_is_a_clear_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no regular file"):
        list(store.read(tmp_path / "absent"))
    with pytest.raises(StoreError, match="no regular file"):
        list(store.read(tmp_path))


def test_opening_a_store_creates_nothing(store: Store) -> None:
    manifest = model({"a": b"x"})
    store.directory(manifest)
    store.find_blob(manifest.files[0])
    assert store.receipt(manifest) is None
    assert list(store.receipts()) == []
    assert not store.root.exists()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_sync_is_told_of_and_no_failure(root: Path, code: int) -> None:
    store = Store(root, disk=RefusingDisk(code, {"sync"}))
    obtain(store, noise(100_000))
    (note,) = store.notices.take()
    assert "cannot sync" in note
    assert store.notices.take() == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_sync_that_failed_is_a_failure(root: Path, code: int) -> None:
    with pytest.raises(StoreError, match=errno.errorcode[code]):
        obtain(Store(root, disk=RefusingDisk(code, {"sync"})), noise(100_000))


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS])
def test_a_mode_that_cannot_be_changed_is_told_of_and_no_failure(root: Path, code: int) -> None:
    store = Store(root, disk=RefusingDisk(code, {"change the mode of"}))
    placed = obtain(store, noise(100_000))
    assert placed.path.read_bytes() == noise(100_000)
    (note,) = store.notices.take()
    assert "modes" in note


def test_a_signal_while_a_file_is_closed_has_closed_it(root: Path) -> None:
    class InterruptedDisk(Disk):
        def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
            result = call()
            if operation == "close":
                raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
            return result

    before = open_descriptors(root)
    assert obtain(Store(root, disk=InterruptedDisk()), noise(1000)).path.read_bytes() == noise(1000)
    assert open_descriptors(root) == before


def test_a_directory_with_too_many_directories_is_explained(root: Path) -> None:
    error = refusal(OSError(errno.EMLINK, "x"), "create", root / "models" / "tiny")
    assert "the maximum number of links" in error.message
    assert "modelfetch remove" in error.hint


@pytest.mark.parametrize(("has_inodes", "words"), [(False, "no inodes left"), (True, "the disk is full")])
def test_a_disk_without_inodes_is_told_from_one_without_space(
    root: Path, has_inodes: bool, words: str
) -> None:
    class TinyDisk(RefusingDisk):
        def has_inodes(self, path: Path) -> bool:
            return has_inodes

    with pytest.raises(StoreError, match=words) as caught:
        obtain(Store(root, disk=TinyDisk(errno.ENOSPC, {"create"})), noise(10))
    assert ("df -i" in caught.value.hint) is not has_inodes


def test_inodes_are_counted_where_the_file_system_counts_them(tmp_path: Path) -> None:
    assert Disk().has_inodes(tmp_path / "file")
    assert Disk().has_inodes(tmp_path / "not" / "there" / "file")


def test_a_hard_link_is_not_opened_to_be_written(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "journal"
    path.write_bytes(b"precious")
    fd = disk.open_to_update(path)
    assert fd is not None
    disk.close(fd, path)
    os.link(path, tmp_path / "second")
    assert disk.open_to_update(path) is None

"""Refusals of the system become one line that says what, where, why and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Disk, Store
from modelfetch.store.mounts import file_system
from modelfetch.store.refusals import refusal
from tests.store.disks import FailingDisk
from tests.store.material import model, noise, obtain

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
        (errno.EPERM, "does not permit", "immutable"),
        (errno.EIO, "failed to read or write", "check the disk"),
        (errno.EMFILE, "too many files", "ulimit -n"),
        (errno.ENAMETOOLONG, "too long", "shorter"),
        (errno.EFBIG, "larger than allowed", "ulimit -f"),
        (errno.ENOENT, "not there", "again"),
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
    assert store.can_link_into(tmp_path / "not" / "there" / "yet")
    if Path("/proc/self").exists():
        assert not store.can_link_into(Path("/proc/self"))


def test_reading_goes_block_by_block(store: Store, tmp_path: Path) -> None:
    content = noise((2 << 20) + 5)
    (tmp_path / "file").write_bytes(content)
    blocks = [bytes(block) for block in store.read(tmp_path / "file")]
    assert b"".join(blocks) == content
    assert max(map(len, blocks)) == 1 << 20


def test_reading_what_is_not_there_is_a_clear_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no plain file"):
        list(store.read(tmp_path / "absent"))
    with pytest.raises(StoreError, match="no plain file"):
        list(store.read(tmp_path))


def test_opening_a_store_creates_nothing(store: Store) -> None:
    manifest = model({"a": b"x"})
    store.directory(manifest)
    store.find_blob(manifest.files[0])
    assert store.receipt(manifest) is None
    assert list(store.receipts()) == []
    assert not store.root.exists()

"""The lock on the data file itself decides who may write, whatever happens to the lock files."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Disk, Store
from modelfetch.store.flock import is_local, lock_file
from modelfetch.store.layout import Layout
from tests.store.disks import LocklessDisk, RefusingDisk
from tests.store.material import MIB, complete, digest, leftovers, noise, spec

T = TypeVar("T")

CONTENT = noise(3 * MIB + 11)
FILE = spec(CONTENT)
WRONG = noise(FILE.size, seed=2)

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not is_local(Path(__file__)), reason="locks prove nothing here"
)


class ActingDisk(Disk):
    """Lets something else happen right before, or right after, an operation on a data file."""

    def __init__(self, operation: str, act: Callable[[Path], object], *, after: bool = False) -> None:
        super().__init__()
        self._operation = operation
        self._delete: Callable[[Path], object] | None = act
        self._after = after

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        act = self._delete if operation == self._operation and path.name.startswith("data") else None
        if act is None:
            return super().perform(operation, path, call)
        self._delete = None
        if not self._after:
            act(path)
            return super().perform(operation, path, call)
        result = super().perform(operation, path, call)
        act(path)
        return result


def folder(store: Store) -> Path:
    return store.root / "partial" / FILE.sha256


def lock(store: Store) -> bool:
    """Take the lock of the file for good; whether it counts as effective."""
    taken = store.lock_blob(FILE.sha256)
    assert taken.try_acquire()
    return taken.effective


def test_two_runs_with_a_lock_each_never_write_to_one_file(store: Store) -> None:
    """The cure of a stuck tool, ``rm -r locks/``, under a running download."""
    first = store.partial(FILE, lock(store))
    first.put(0, CONTENT[: 2 * MIB], "mirror honest")
    shutil.rmtree(store.root / "locks")
    second = store.partial(FILE, lock(store))
    assert second.received < FILE.size
    for start, end in second.missing:
        second.put(start, WRONG[start:end], "mirror lying")

    complete(first, CONTENT)
    blob = store.commit(first).path
    assert digest(blob.read_bytes()) == FILE.sha256
    second.restart()
    second.put(0, WRONG, "mirror lying")
    second.close()
    assert digest(blob.read_bytes()) == FILE.sha256


def test_a_live_download_is_not_removed_by_whoever_has_another_lock(store: Store) -> None:
    first = store.partial(FILE, True)
    first.put(0, CONTENT[:MIB], "mirror a")
    store.partial(FILE, True).close()
    store.sweep()
    complete(first, CONTENT)
    assert store.commit(first).path.read_bytes() == CONTENT
    assert leftovers(store.root) == []


def test_a_file_that_got_its_final_name_is_not_taken_over(root: Path) -> None:
    """Opened under its old name, locked when it had the new one already."""
    store = Store(root)
    first = store.partial(FILE, True)
    complete(first, CONTENT)
    late = Store(root, disk=ActingDisk("lock", lambda _path: store.commit(first)))
    with late.partial(FILE, True) as second:
        assert second.received == 0
        second.put(0, WRONG, "mirror lying")
    assert Layout(store.root).blob(FILE.sha256).read_bytes() == CONTENT


def test_a_new_file_that_another_process_got_hold_of_first_is_not_ours(root: Path) -> None:
    held: list[int] = []

    def seize(path: Path) -> None:
        held.append(os.open(path, os.O_RDWR))
        assert lock_file(held[0])

    store = Store(root, disk=ActingDisk("lock", seize))
    with store.partial(FILE, True) as partial:
        partial.put(0, CONTENT, "mirror a")
        assert partial.slot.data.name.startswith("data-")
        os.pwrite(held[0], WRONG, 0)
        assert store.commit(partial).path.read_bytes() == CONTENT
    os.close(held[0])


def test_a_new_file_that_was_removed_before_it_was_locked_is_made_again(root: Path) -> None:
    store = Store(root, disk=ActingDisk("lock", Path.unlink))
    with store.partial(FILE, True) as partial:
        partial.put(0, CONTENT, "mirror a")
        assert store.commit(partial).path.read_bytes() == CONTENT


def test_a_directory_that_was_removed_because_it_was_empty_is_made_again(root: Path) -> None:
    store = Store(root, disk=ActingDisk("create", lambda path: path.parent.rmdir()))
    folder(store).mkdir(parents=True)
    with store.partial(FILE, True) as partial:
        partial.put(0, CONTENT, "mirror a")
        assert store.commit(partial).path.read_bytes() == CONTENT


@pytest.mark.parametrize("moment", ["sync", "change the mode of"])
def test_what_took_the_name_at_the_last_moment_gets_no_final_name(root: Path, moment: str) -> None:
    def swap(_path: Path) -> None:
        data = folder(store) / "data"
        data.unlink()
        data.write_bytes(WRONG)

    store = Store(root, disk=ActingDisk(moment, swap, after=True))
    with store.partial(FILE, True) as partial:
        partial.put(0, CONTENT, "mirror a")
        with pytest.raises(StoreError, match="changed by another program"):
            store.commit(partial)
    assert store.find_blob(FILE) is None
    assert (folder(store) / "data").read_bytes() == WRONG, "it is not ours to remove"


def test_where_locks_prove_nothing_a_file_is_copied_not_taken_over(root: Path) -> None:
    with Store(root).partial(FILE, True) as partial:
        partial.put(0, CONTENT[:MIB], "mirror a")
    inode = (folder(Store(root)) / "data").stat().st_ino
    store = Store(root, disk=LocklessDisk())
    with store.partial(FILE, True) as partial:
        assert partial.received == MIB
        assert partial.slot.data.stat().st_ino != inode


def test_a_forked_process_does_not_keep_the_lock(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(0, CONTENT[:MIB], "mirror a")
        inode = partial.slot.data.stat().st_ino
        kept = os.dup(partial._files.open_or_create()._fd)  # as a forked process has it
    with store.partial(FILE, True) as again:
        assert (again.received, again.slot.data.stat().st_ino) == (MIB, inode)
    os.close(kept)


@pytest.mark.parametrize("exclusive", [True, False])
def test_after_a_failed_rename_no_byte_is_fetched_again(root: Path, exclusive: bool) -> None:
    refusing = Store(root, disk=RefusingDisk(errno.EACCES, {"rename to"}, root / "blobs"))
    for number in range(2):
        with refusing.partial(FILE, exclusive) as partial:
            assert partial.received == (FILE.size if number else 0)
            complete(partial, CONTENT)
            with pytest.raises(StoreError):
                refusing.commit(partial)
        assert refusing.held(FILE) == FILE.size
    store = Store(root)
    with store.partial(FILE, exclusive) as partial:
        assert complete(partial, CONTENT) == 0
        assert store.commit(partial).path.read_bytes() == CONTENT


def test_a_small_file_survives_a_failed_rename_too(root: Path) -> None:
    content = noise(1000)
    refusing = Store(root, disk=RefusingDisk(errno.EACCES, {"rename to"}, root / "blobs"))
    with refusing.partial(spec(content), True) as partial:
        partial.put(0, content, "mirror a")
        with pytest.raises(StoreError):
            refusing.commit(partial)
    assert refusing.held(spec(content)) == 1000


def test_a_run_that_gets_no_byte_makes_no_file(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.restart()
        assert partial.missing == [(0, FILE.size)]
    assert not store.root.exists()


def test_a_run_that_loses_every_byte_keeps_no_file(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(0, CONTENT[:MIB], "mirror a")
    with store.partial(FILE, True) as partial:
        partial.restart()
    assert leftovers(store.root) == []


def test_files_that_cannot_be_made_are_told_at_the_first_byte(root: Path) -> None:
    store = Store(root, disk=RefusingDisk(errno.EROFS, {"create"}))
    with store.partial(FILE, True) as partial:
        for _ in range(2):
            with pytest.raises(StoreError, match="read-only"):
                partial.put(0, CONTENT[:1000], "mirror a")
        assert partial.received == 0


def test_bytes_that_were_quarantined_leave_the_lock_to_the_next(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(0, WRONG, "mirror lying")
        store.quarantine_partial(partial, actual=digest(WRONG), source="mirror lying")
        partial.put(0, CONTENT[:MIB], "mirror a")
        assert partial.slot.data.name == "data"
    with store.partial(FILE, True) as again, suppress(StoreError):
        assert again.received == MIB


def test_two_runs_may_put_bytes_of_one_file_aside_at_once(root: Path) -> None:
    """Only one entry is kept, but not at the cost of one that another process is just filling."""
    store = Store(root)

    def second(_path: Path) -> None:
        with store.partial(FILE, False) as partial:
            partial.restart()
            partial.put(0, WRONG, "mirror lying")
            store.quarantine_partial(partial, actual=digest(WRONG), source="mirror lying")

    first = Store(root, disk=ActingDisk("rename to", second))
    with first.partial(FILE, False) as partial:
        partial.put(0, WRONG, "mirror lying")
        kept = first.quarantine_partial(partial, actual=digest(WRONG), source="mirror lying")
    assert (kept / "data").read_bytes() == WRONG

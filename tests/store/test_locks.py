"""Locks admit one process at a time, and report where they do not work."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfetch.store import Disk, Lock, Store
from modelfetch.store.flock import is_local
from tests.store.disks import LocklessDisk, RefusingDisk
from tests.store.material import (
    digest,
    ensure,
    is_present,
    model,
    noise,
    run_child,
    start_child,
    wrong_finals,
)

HOLD = """
import sys, time
from pathlib import Path
from modelfetch.store import Store

lock = Store(Path(sys.argv[1])).lock_model("tiny")
assert lock.try_acquire()
print("ready", flush=True)
time.sleep(30)
"""

RUN = """
import sys, time
from pathlib import Path
from modelfetch.store import Store
from tests.store.material import noise, obtain, spec

content = noise(300_000)
store = Store(Path(sys.argv[1]))
with store.lock_blob(spec(content).sha256) as lock:
    while not lock.try_acquire():
        time.sleep(0.01)
    if store.find_blob(spec(content)) is None:
        obtain(store, content, exclusive=lock.effective)
        print("fetched")
"""

RUN_LOCKLESS = """
import sys
from pathlib import Path
from modelfetch.store import Store
from tests.store.disks import LocklessDisk
from tests.store.material import ensure, noise

ensure(Store(Path(sys.argv[1]), disk=LocklessDisk(fsync=False)), {"onnx/a.bin": noise(1_500_000)})
"""


def note(lock_name: str, store: Store) -> Path:
    return store.root / "locks" / f"{lock_name}.lock.holder"


def test_locks_lie_in_the_cache(store: Store) -> None:
    with store.lock_model("tiny") as one, store.lock_blob("a" * 64) as two:
        assert one.try_acquire()
        assert two.try_acquire()
        names = {path.name for path in (store.root / "locks").iterdir() if path.suffix == ".lock"}
    assert names == {"model-tiny.lock", f"blob-{'a' * 64}.lock"}


def test_one_holder_at_a_time_in_one_process(store: Store) -> None:
    one, two = store.lock_model("tiny"), store.lock_model("tiny")
    assert one.try_acquire()
    assert not two.try_acquire()
    one.release()
    assert two.try_acquire()
    two.release()


def test_taking_it_twice_and_giving_it_back_twice_is_harmless(store: Store) -> None:
    lock = store.lock_model("tiny")
    assert lock.try_acquire()
    assert lock.try_acquire()
    lock.release()
    lock.release()
    with store.lock_model("tiny") as other:
        assert other.try_acquire()


def test_it_may_be_given_back_on_another_thread(store: Store) -> None:
    lock = store.lock_model("tiny")
    taker = threading.Thread(target=lock.try_acquire)
    taker.start()
    taker.join()
    with store.lock_model("tiny") as other:
        assert not other.try_acquire()
        lock.release()
        assert other.try_acquire()


def test_a_lock_is_effective_where_the_file_system_is_local(store: Store) -> None:
    with store.lock_model("tiny") as lock:
        assert not lock.effective
        assert lock.try_acquire()
        assert lock.effective == is_local(store.root)
    assert not lock.effective


def test_the_holder_is_named_to_other_processes(store: Store) -> None:
    child = start_child(HOLD, store.root)
    try:
        lock = store.lock_model("tiny")
        assert not lock.try_acquire()
        assert lock.holder().startswith(f"process {child.pid} on {platform.node()}, since ")
    finally:
        child.kill()
        child.communicate()
    assert lock.holder() == "another process"
    assert lock.try_acquire()
    assert lock.holder().startswith(f"process {os.getpid()} on ")
    lock.release()


def test_a_holder_with_a_name_of_its_own_is_named_by_it(store: Store) -> None:
    with store.lock_model("tiny") as lock:
        lock.who = "job-0b54\x1b[2J"
        lock.try_acquire()
        lock.note(5, 10)
        said = store.lock_model("tiny").holder()
    assert said.startswith(f"job-0b54[2J (process {os.getpid()} on {platform.node()}), since ")


def test_the_note_tells_no_arguments(store: Store) -> None:
    """They may hold a token."""
    with store.lock_model("tiny") as lock:
        lock.try_acquire()
        facts = json.loads(note("model-tiny", store).read_text())
    assert set(facts) == {"pid", "host", "since", "command", "received", "size", "who"}
    assert os.sep not in facts["command"]
    assert not note("model-tiny", store).exists()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"\xff", b"[" * 5000),
        b'{"pid": "1", "host": "h", "since": "2026-11-20T06:00:00+00:00"}',
        b'{"pid": 1, "host": "h", "since": "soon"}',
        b'{"pid": 1, "host": "h", "since": 5}',
    ],
)
def test_a_note_that_makes_no_sense_names_nobody(store: Store, content: bytes) -> None:
    path = note("model-tiny", store)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert store.lock_model("tiny").holder() == "another process"


def test_a_note_cannot_steer_the_terminal(store: Store) -> None:
    path = note("model-tiny", store)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"pid": 1, "host": "\x1b[2Jevil\u202e", "since": "2026-11-20T06:00:00+00:00"}))
    assert store.lock_model("tiny").holder().startswith("process 1 on [2Jevil, since ")


@pytest.mark.parametrize(
    "code", [errno.ENOLCK, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSPC]
)
def test_where_locks_do_not_work_the_run_goes_on_without(root: Path, code: int) -> None:
    store = Store(root, disk=RefusingDisk(code, {"lock"}))
    with store.lock_model("tiny") as one, store.lock_model("tiny") as two:
        assert one.try_acquire()
        assert two.try_acquire()
        assert not one.effective
    contents = {"a.bin": noise(2000)}
    assert is_present(store, ensure(store, contents), contents)


def test_a_read_only_cache_can_still_be_read(root: Path) -> None:
    contents = {"a.bin": noise(2000)}
    manifest = ensure(Store(root), contents)
    changing = {"create", "write", "rename to", "link to", "remove", "lock"}
    store = Store(root, disk=RefusingDisk(errno.EROFS, changing))
    with store.lock_model("tiny") as lock:
        assert lock.try_acquire()
        assert not lock.effective
    assert is_present(store, manifest, contents)


def test_a_lock_everyone_gets_is_not_effective(root: Path) -> None:
    store = Store(root, disk=LocklessDisk())
    (root / "locks").mkdir(parents=True)
    (root / "locks" / "model-tiny.lock").touch()
    lock = store.lock_model("tiny")
    assert lock.try_acquire()
    assert not lock.effective


def test_a_lock_on_a_network_file_system_is_not_effective(root: Path) -> None:
    class NetworkDisk(Disk):
        def is_local(self, path: Path) -> bool:
            return False

    with Store(root, disk=NetworkDisk()).lock_model("tiny") as lock:
        assert lock.try_acquire()
        assert not lock.effective


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_without_flock_no_file_that_outlives_a_killed_process_takes_its_place(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "not here")

    monkeypatch.setattr(fcntl, "flock", flock)
    with store.lock_model("tiny") as one, store.lock_model("tiny") as two:
        assert [one.try_acquire(), two.try_acquire()] == [True, True]
        assert not one.effective


def test_processes_at_once_fetch_each_byte_once(store: Store) -> None:
    threads = []
    outputs: list[str] = []
    for _ in range(4):
        threads.append(threading.Thread(target=lambda: outputs.append(run_child(RUN, store.root))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert sorted(outputs) == ["", "", "", "fetched\n"]


@pytest.mark.slow
def test_processes_at_once_without_locks_harm_nothing(store: Store) -> None:
    threads = [threading.Thread(target=run_child, args=(RUN_LOCKLESS, store.root)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    contents = {"onnx/a.bin": noise(1_500_000)}
    manifest = model(contents)
    assert is_present(store, manifest, contents)
    assert wrong_finals(store.root, manifest) == []
    assert not list(store.root.rglob(".mf-tmp-*"))
    assert not list(store.root.glob("partial/*/*"))


def test_nothing_of_a_lock_stays_when_it_is_given_back(store: Store) -> None:
    with store.lock_model("tiny") as lock:
        assert lock.try_acquire()
    assert list((store.root / "locks").iterdir()) == []


def test_giving_back_a_lock_that_was_deleted_spares_the_one_that_took_its_name(store: Store) -> None:
    first, second = store.lock_model("tiny"), store.lock_model("tiny")
    assert first.try_acquire()
    shutil.rmtree(store.root / "locks")
    assert second.try_acquire()
    first.release()
    assert not store.lock_model("tiny").try_acquire()
    second.release()


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_a_lock_on_a_file_that_lost_its_name_is_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited opened the file that the holder then took away."""
    import fcntl

    path, flock = store.root / "locks" / "model-tiny.lock", fcntl.flock
    others: list[int] = []

    def flock_late(fd: int, operation: int) -> None:
        if not others:
            path.unlink()
            others.append(os.open(path, os.O_RDWR | os.O_CREAT))
            flock(others[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    lock = store.lock_model("tiny")
    assert not lock.try_acquire(), "the other file is locked"
    os.close(others[0])
    assert lock.try_acquire()
    lock.release()


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_a_group_may_lock_what_its_umask_shares(store: Store, umask: Callable[[int], int]) -> None:
    umask(0o002)
    with store.lock_model("tiny") as lock:
        assert lock.try_acquire()
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (store.root / "locks").iterdir()}
    assert modes == {0o664}


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_a_lock_that_may_only_be_read_excludes_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's, whose umask shares nothing."""
    opening = os.open

    def open_of_another(path: Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "not yours")
        return opening(path, flags, mode, dir_fd=dir_fd)

    with store.lock_model("tiny") as holder:
        assert holder.try_acquire()
        monkeypatch.setattr(os, "open", open_of_another)
        assert not store.lock_model("tiny").try_acquire()


def test_a_kernel_lock_ends_with_its_process(store: Store) -> None:
    child = start_child(HOLD, store.root)
    child.kill()
    child.communicate()
    lock = store.lock_model("tiny")
    assert lock.try_acquire()
    lock.release()


def test_a_directory_of_locks_that_leads_elsewhere_is_not_used(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    store.root.mkdir()
    (store.root / "locks").symlink_to(elsewhere)
    with store.lock_model("tiny") as lock:
        assert lock.try_acquire()
        assert not lock.effective
    assert list(elsewhere.iterdir()) == []


def test_a_lock_is_no_place_for_a_download(store: Store) -> None:
    """The lock's name cannot be chosen so that another file is opened."""
    assert isinstance(store.lock_blob(digest(b"x")), Lock)
    assert not store.root.exists()


def test_the_process_that_holds_a_lock_is_known_by_its_number(store: Store) -> None:
    lock = store.lock_model("tiny")
    assert lock.holder_pid() is None
    assert lock.try_acquire()
    assert store.lock_model("tiny").holder_pid() == os.getpid()
    lock.release()

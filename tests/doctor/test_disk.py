"""The cache's disk: each ability taken away in turn is named, and no file is left behind."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import pytest

from modelfetch.doctor.disk_checks import check_disk
from modelfetch.doctor.disk_findings import DiskFacts, disk_findings
from modelfetch.doctor.findings import Finding, State
from modelfetch.errors import StoreError
from modelfetch.store import Disk
from modelfetch.store.flock import KernelLock
from tests.patience import HELD
from tests.store.disks import CountingDisk, RefusingDisk, without_links

T = TypeVar("T")


class GrantingDisk(Disk):
    """Grants every lock, as on Lustre."""

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        return False if operation == "probe" else call()  # type: ignore[return-value]


class LocklessDisk(Disk):
    """Knows no locks."""

    def lock(self, lock: KernelLock, path: Path) -> bool | None:
        return None


class RemoteDisk(Disk):
    """Is a network file system."""

    def is_local(self, path: Path) -> bool:
        return False


class CaselessDisk(Disk):
    """Finds a name in any case, as on macOS."""

    def lstat(self, path: Path) -> os.stat_result | None:
        found = super().lstat(path)
        return super().lstat(path.with_name(path.name.lower())) if found is None else found


class FullDisk(RefusingDisk):
    """Has no byte left."""

    def __init__(self, operations: Collection[str] = ("write",)) -> None:
        super().__init__(errno.ENOSPC, operations)

    def free(self, path: Path) -> int | None:
        return 0


def diagnose(root: Path, disk: Disk, **more: object) -> dict[str, Finding]:
    facts = check_disk(root, disk, **more)  # type: ignore[arg-type]
    found = {finding.check: finding for finding in disk_findings(facts)}
    assert all(each.hint for each in found.values() if each.state in (State.WARNING, State.FAILURE))
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (root := tmp_path / "cache").mkdir()
    return root


def test_a_good_disk(root: Path) -> None:
    found = diagnose(root, Disk())
    assert {finding.state for finding in found.values()} == {State.OK}
    assert str(root) in found["file system"].message
    assert list(root.iterdir()) == []


def test_a_root_that_does_not_exist_stays_absent(tmp_path: Path) -> None:
    found = diagnose(tmp_path / "a" / "b", Disk())
    assert found["write"].state is State.OK
    assert list(tmp_path.iterdir()) == []


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("disk", "check", "state", "words"),
    [
        (FullDisk, "write", State.FAILURE, "the disk is full (ENOSPC)"),
        (FullDisk, "free space", State.WARNING, "0 B free"),
        (lambda: FullDisk(["create"]), "write", State.FAILURE, "the disk is full (ENOSPC)"),
        (lambda: RefusingDisk(errno.EROFS, ["create"]), "write", State.FAILURE, "read-only"),
        (lambda: RefusingDisk(errno.EACCES, ["create"]), "write", State.FAILURE, "permission denied"),
        (lambda: RefusingDisk(errno.EIO, ["sync"]), "write", State.FAILURE, "failed to read or write"),
        (lambda: RefusingDisk(errno.EINVAL, ["sync"]), "write", State.WARNING, "cannot sync"),
        (without_links, "hard links", State.WARNING, "do not work"),
        (lambda: RefusingDisk(errno.EACCES, ["link to"]), "hard links", State.WARNING, "do not work"),
        (LocklessDisk, "locks", State.WARNING, "do not work"),
        (GrantingDisk, "locks", State.WARNING, "do not exclude"),
        (RemoteDisk, "file system", State.WARNING, "network file system"),
        (CaselessDisk, "case", State.WARNING, "are the same file"),
    ],
)
def test_what_is_missing_is_named(
    root: Path, disk: Callable[[], Disk], check: str, state: State, words: str
) -> None:
    found = diagnose(root, disk())
    assert (found[check].state, words in found[check].message) == (state, True), found[check]
    assert list(root.iterdir()) == [], "nothing is left behind"
    if check == "write" and state is State.FAILURE and "sync" not in found[check].message:
        assert found["locks"].state is State.NOT_REACHED


def test_too_little_space_for_a_model_is_a_failure(root: Path) -> None:
    needed = (Disk().free(root) or 0) * 2
    found = diagnose(root, Disk(), needed=lambda: needed)
    assert found["free space"].state is State.FAILURE
    assert "needed" in found["free space"].message


def test_a_doubt_is_a_warning(root: Path) -> None:
    found = diagnose(root, Disk(), doubt=lambda: "is writable by everyone")
    assert (found["permissions"].state, found["permissions"].message) == (
        State.WARNING,
        "is writable by everyone",
    )


def test_a_disk_that_does_not_answer(root: Path) -> None:
    answered = threading.Event()

    class Hanging(Disk):
        def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
            if operation == "create":
                answered.wait(HELD)
            return call()

    found = diagnose(root, Hanging(), seconds=0.1)
    answered.set()
    assert found["file system"].state is State.FAILURE
    assert "no answer in time" in found["file system"].message
    assert found["write"].state is State.NOT_REACHED


@pytest.mark.quick(every=2)
@pytest.mark.parametrize("operation", ["write", "sync", "link to", "clone into", "lock", "probe"])
def test_nothing_is_left_behind_by_any_failure(root: Path, operation: str) -> None:
    diagnose(root, RefusingDisk(errno.EIO, [operation]))
    assert list(root.iterdir()) == []


def test_every_file_of_the_test_is_a_temporary_one_of_our_own(root: Path) -> None:
    disk = CountingDisk()
    (root / "theirs").write_bytes(b"kept")
    check_disk(root, disk)
    names = {path.name for operation, path in disk.operations if operation in {"create", "link to", "remove"}}
    assert names
    assert all(name.startswith(".mf-tmp-") for name in names)
    assert (root / "theirs").read_bytes() == b"kept"


def test_slow_syncs_and_reflinks_without_links() -> None:
    """Decisions that no disk of this machine leads to."""
    found = {
        finding.check: finding
        for finding in disk_findings(
            DiskFacts("/c", sync_seconds=2.0, can_sync=True, has_links=False, has_reflinks=True)
        )
    }
    assert found["write"].state is State.WARNING
    assert found["hard links"].state is State.OK
    full = disk_findings(DiskFacts("/c", error=StoreError("it is full", hint="Free some space.")))
    assert [each.check for each in full if each.state is State.FAILURE] == ["write"]

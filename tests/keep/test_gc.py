"""A clean-up frees what it says, a dry run says the same, and what is in use stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from modelfetch.keep.gc import CleanUp, clean_up
from modelfetch.keep.policy import DAY, Policy
from modelfetch.model.manifest import Manifest
from modelfetch.store import Disk, Store
from modelfetch.store.layout import Layout
from modelfetch.store.reclaim import BusyError
from modelfetch.workspace import Workspace
from tests.store.disks import without_links
from tests.store.material import digest, ensure, is_present, model, noise, obtain, spec

T = TypeVar("T")

NOW = 1_900_000_000.0
"""Years after everything that the tests make, except where they say otherwise."""
ALL = Policy(7, 7, 90, unused_for=0)
SHARED = noise(30_000, seed=2)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    environment = {"MODELFETCH_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    return Workspace.open(environ=environment, cwd=tmp_path)


def used(root: Path) -> int:
    """Bytes on the disk, as du counts them, without locks."""
    done = subprocess.run(
        ["du", "-s", "-B1", "--exclude=locks", str(root.parent)], check=True, capture_output=True, text=True
    )
    return int(done.stdout.split()[0])


def fill(store: Store, count: int) -> list[Manifest]:
    """Models of which each has a file of its own, one of all, and one that its neighbor has too."""
    return [
        ensure(
            store,
            {"own": noise(5_000, seed=1000 + n), "dir/all": SHARED, "pair": noise(9_000, seed=2000 + n // 2)},
            name=f"m{n}",
        )
        for n in range(count)
    ]


def both(workspace: Workspace, policy: Policy, now: float = NOW) -> CleanUp:
    """A dry run, then the run: they must agree, and the disk with them."""
    before = used(workspace.store.root)
    dry = clean_up(workspace, policy, now, dry_run=True)
    assert used(workspace.store.root) == before
    done = clean_up(workspace, policy, now, dry_run=False)
    assert done == dry
    assert before - used(workspace.store.root) == done.freed
    return done


@pytest.mark.slow
def test_bytes_freed_are_those_of_the_disk_with_shared_blobs(workspace: Workspace) -> None:
    fill(workspace.store, 12)
    kept = replace(ALL, kept=frozenset({"m0", "m7"}))
    done = both(workspace, kept)
    assert len(done.actions) == 10
    assert [receipt.name for receipt in workspace.store.receipts()] == ["m0", "m7"]
    assert workspace.store.find_blob(spec(SHARED)) is not None
    both(workspace, ALL)
    assert workspace.store.survey().versions == ()
    assert workspace.store.find_blob(spec(SHARED)) is None


@pytest.mark.slow
def test_it_is_so_for_200_models(workspace: Workspace) -> None:
    fill(workspace.store, 200)
    size = workspace.store.survey().size
    done = both(workspace, replace(ALL, unused_for=None, max_size=size // 3))
    assert done.size_after <= size // 3
    assert done.size_after > size // 3 - 50_000


def test_the_size_is_reached_by_the_models_that_were_not_used_for_longest(workspace: Workspace) -> None:
    models = fill(workspace.store, 6)
    for n, manifest in enumerate(models):  # m5 was used first, m0 last
        at = NOW - (n + 1) * DAY
        os.utime(workspace.store.directory(manifest), (at, at))
    size = workspace.store.survey().size
    done = both(workspace, Policy(7, 7, 90, max_size=size - 30_000))
    assert [action.name for action in done.actions] == ["m5", "m4"]
    assert done.size - done.freed == workspace.store.survey().size


def test_copies_and_executable_files_count_too(tmp_path: Path, workspace: Workspace) -> None:
    fill(Store(tmp_path / "cache", disk=without_links()), 3)
    assert len(both(workspace, ALL).actions) == 3


def test_what_another_program_links_is_not_freed(tmp_path: Path, workspace: Workspace) -> None:
    manifest = ensure(workspace.store, {"big": noise(500_000)})
    os.link(workspace.store.directory(manifest) / "big", tmp_path / "theirs")
    done = both(workspace, ALL)
    assert done.freed < 50_000
    assert (tmp_path / "theirs").stat().st_nlink == 1


def test_partials_quarantine_and_blobs_go_by_their_days(workspace: Workspace) -> None:
    store = workspace.store
    content = noise(300_000)
    with store.partial(spec(content), exclusive=True) as partial:
        partial.put(0, content[:200_000], "mirror a")
    obtain(store, noise(1000, seed=9))
    obtain(store, noise(2000, seed=8))
    unfinished = model({"a": noise(2000, seed=8)}, name="unfinished")
    store.place(unfinished, unfinished.files[0])
    wrong = store.root / "wrong"
    wrong.write_bytes(b"wrong")
    store.quarantine(wrong, spec(b"right"), actual=digest(b"wrong"), source="mirror a")
    present = store.survey()
    soon = max(each.changed for each in (*present.partials, *present.quarantined, *present.unused))
    assert both(workspace, Policy(7, 7, 90), soon + 6 * DAY).actions == []
    done = both(workspace, Policy(7, 7, 90), soon + 8 * DAY)
    assert [action.kind for action in done.actions] == ["partial", "quarantine", "blob", "version"]
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_a_model_and_a_download_in_use_are_skipped_and_reported(workspace: Workspace) -> None:
    first, second = fill(workspace.store, 2)
    content = noise(300_000)
    with workspace.store.partial(spec(content), exclusive=True) as partial:
        partial.put(0, content[:200_000], "mirror a")
    with workspace.store.lock_model("m0") as lock, workspace.store.lock_blob(digest(content)) as other:
        assert lock.try_acquire()
        assert other.try_acquire()
        done = both(workspace, ALL)
    assert [(each.kind, each.name) for each in done.skipped] == [
        ("partial", digest(content)),
        ("version", "m0"),
    ]
    assert all(f"process {os.getpid()}" in each.why for each in done.skipped)
    assert is_present(workspace.store, first, {})
    assert workspace.store.receipt(second) is None


def test_a_blob_in_use_stays_and_is_reported(workspace: Workspace) -> None:
    ensure(workspace.store, {"a": noise(5000)})
    with workspace.store.lock_blob(digest(noise(5000))) as lock:
        assert lock.try_acquire()
        done = both(workspace, ALL)
    assert [(each.kind, each.name) for each in done.skipped] == [("blob", digest(noise(5000)))]


def test_a_file_that_was_placed_after_the_survey_keeps_its_blob(workspace: Workspace) -> None:
    store = workspace.store
    ensure(store, {"a": SHARED})
    reclaimer = store.reclaimer(store.survey(), dry_run=False)
    later = ensure(store, {"b": SHARED}, name="later")
    assert reclaimer.version("tiny", "v1").skipped == (digest(SHARED),)
    assert is_present(store, later, {"b": SHARED})
    assert store.find_blob(spec(SHARED)) is not None


def test_a_blob_that_a_model_took_after_the_survey_stays(workspace: Workspace) -> None:
    store = workspace.store
    obtain(store, SHARED)
    reclaimer = store.reclaimer(store.survey(), dry_run=False)
    ensure(store, {"b": SHARED}, name="later")
    with pytest.raises(BusyError):
        reclaimer.blob(digest(SHARED))
    assert store.find_blob(spec(SHARED)) is not None


RUNS = replace(model({"run": SHARED}), files=(replace(spec(SHARED, "run"), executable=True),))
"""A model with an executable file, which is a copy of its blob."""


def test_a_blob_of_which_a_run_made_a_copy_after_the_survey_stays(workspace: Workspace) -> None:
    store = workspace.store
    ensure(store, {"a": SHARED}, name="earlier")
    obtain(store, noise(5000))
    for remove in ("version", "blob"):
        reclaimer = store.reclaimer(store.survey(), dry_run=False)
        store.place(RUNS, RUNS.files[0])
        if remove == "version":
            assert reclaimer.version("earlier", "v1").skipped == (digest(SHARED),)
        else:
            with pytest.raises(BusyError):
                reclaimer.blob(digest(SHARED))
        assert store.find_blob(spec(SHARED)) is not None
        shutil.rmtree(store.directory(RUNS))


def test_so_does_one_whose_copy_is_part_of_an_incomplete_version(workspace: Workspace) -> None:
    store = workspace.store
    obtain(store, SHARED)
    store.place(RUNS, RUNS.files[0])
    at_once = Policy(0, 0, 90)
    with store.lock_model(RUNS.name) as lock:
        assert lock.try_acquire()
        done = both(workspace, at_once)
        assert [(each.kind, each.name) for each in done.skipped] == [("version", RUNS.name)]
        assert store.find_blob(spec(SHARED)) is not None
    both(workspace, at_once)
    both(workspace, at_once)
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_a_version_that_was_completed_or_used_after_the_survey_stays(workspace: Workspace) -> None:
    store = workspace.store
    obtain(store, SHARED)
    unfinished = model({"a": SHARED}, name="unfinished")
    store.place(unfinished, unfinished.files[0])
    used_again = ensure(store, {"b": noise(5000)})
    os.utime(store.directory(used_again), (1, 1))
    reclaimer = store.reclaimer(store.survey(), dry_run=False)
    finished = ensure(store, {"a": SHARED}, name="unfinished")
    os.utime(store.directory(used_again), (NOW, NOW))
    for name in ("unfinished", "tiny"):
        with pytest.raises(BusyError, match="meanwhile"):
            reclaimer.version(name, "v1")
    assert is_present(store, finished, {"a": SHARED})
    assert is_present(store, used_again, {"b": noise(5000)})


@pytest.mark.parametrize("time_ns", [10**400, -(10**400)])
def test_a_time_in_a_receipt_that_no_clock_has_is_no_bug(workspace: Workspace, time_ns: int) -> None:
    manifest = ensure(workspace.store, {"a": SHARED})
    receipt = Layout(workspace.store.root).receipt(manifest.name, "v1")
    facts = json.loads(receipt.read_bytes())
    facts["files"][0]["mtime_ns"] = time_ns
    receipt.unlink()
    receipt.write_text(json.dumps(facts))
    assert [action.name for action in both(workspace, ALL).actions] == ["tiny"]


def test_what_was_not_made_here_is_not_said_to_be_in_use(workspace: Workspace) -> None:
    ensure(workspace.store, {"a": SHARED})
    (workspace.store.root / "models" / "other" / "v1.json").mkdir(parents=True)
    done = both(workspace, replace(ALL, kept=frozenset({"tiny"})))
    assert [(each.name, each.why) for each in done.skipped] == [("other", "nothing to remove")]


class Cloning(Disk):
    """A disk on which the blobs of some files are clones of files elsewhere."""

    def __init__(self, *contents: bytes) -> None:
        super().__init__()
        self._shared = {digest(content): len(content) for content in contents}

    def shared(self, path: Path) -> tuple[int, int]:
        return (self._shared[path.name], 4096) if path.name in self._shared else (0, 0)


def test_what_another_program_has_a_clone_of_is_not_freed(tmp_path: Path) -> None:
    theirs, ours = noise(1 << 20, seed=1), noise(1 << 20, seed=2)
    ensure(Store(tmp_path), {"theirs": theirs, "ours": ours})
    store = Store(tmp_path, disk=Cloning(theirs))
    for is_dry in (True, False):
        done = store.reclaimer(store.survey(), dry_run=is_dry).version("tiny", "v1")
        assert 1 << 20 < done.freed < (1 << 20) + 50_000


class Unwilling(Disk):
    """Refuses to remove the files of one name."""

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        if (operation, path.name) == ("remove", "precious"):
            raise PermissionError(1, "Operation not permitted")
        return super().perform(operation, path, call)


def test_what_the_system_refuses_is_reported_and_the_rest_goes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(workspace.store, 1)
    ensure(workspace.store, {"precious": noise(100)}, name="l")
    stubborn = Store(workspace.store.root, disk=Unwilling())
    monkeypatch.setattr(Workspace, "store", property(lambda _: stubborn))
    done = both(workspace, ALL)  # so a dry run foresees it
    assert [(each.kind, each.name) for each in done.skipped] == [("version", "l")]
    assert "precious" in done.skipped[0].why
    assert sorted(each.name for each in done.actions) == ["l", "m0"]
    assert [receipt.name for receipt in stubborn.receipts()] == []


class Foreign(Disk):
    """A disk whose directories belong to another user."""

    def why_not_writable(self, path: Path) -> int:
        return errno.EACCES

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        if operation in ("remove", "lock", "create", "write"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return super().perform(operation, path, call)


def leftovers(store: Store) -> None:
    """A partial, an unused blob and a quarantine entry."""
    content = noise(300_000)
    with store.partial(spec(content), exclusive=True) as partial:
        partial.put(0, content[:200_000], "mirror a")
    obtain(store, noise(1000, seed=9))
    (store.root / "wrong").write_bytes(b"wrong")
    store.quarantine(store.root / "wrong", spec(b"right"), actual=digest(b"wrong"), source="mirror a")


def test_a_dry_run_says_what_cannot_be_removed_from_the_cache_of_another_user(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(workspace.store, 2)
    leftovers(workspace.store)
    theirs = Store(workspace.store.root, disk=Foreign())
    monkeypatch.setattr(Workspace, "store", property(lambda _: theirs))
    done = both(workspace, ALL)
    assert (done.actions, done.freed) == ([], 0)
    assert [each.kind for each in done.skipped] == ["partial", "quarantine", "blob", "version", "version"]
    assert all("permission denied" in each.why for each in done.skipped)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_so_for_a_real_user_also_in_sticky_directories(workspace: Workspace, mode: int) -> None:
    fill(workspace.store, 2)
    leftovers(workspace.store)
    for path in (workspace.store.root, *workspace.store.root.rglob("*")):
        if path.is_dir():
            path.chmod(mode)
    home = workspace.store.root.parent
    for path in (home, *home.parents):
        if path.stat().st_mode & 0o777 == 0o700:
            path.chmod(0o711)
    # Load all modules first: the other user may not be allowed to read the interpreter's directory.
    clean_up(workspace, ALL, NOW, dry_run=True)
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            dry, done = (clean_up(workspace, ALL, NOW, dry_run=is_dry) for is_dry in (True, False))
            status = 0 if dry == done and not done.actions and len(done.skipped) == 5 else 2
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Killing(Disk):
    """Ends the process before the n-th removal."""

    left = 0

    def unlink(self, path: Path) -> bool:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().unlink(path)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("after", range(8))
def test_a_killed_run_leaves_no_receipt_without_its_files(tmp_path: Path, after: int) -> None:
    ensure(Store(tmp_path), {"a": noise(5000), "b": SHARED})
    disk = Killing()
    disk.left = after
    store = Store(tmp_path, disk=disk)
    reclaimer = store.reclaimer(store.survey(), dry_run=False)
    with suppress(KeyboardInterrupt):
        reclaimer.version("tiny", "v1")
    for receipt in Store(tmp_path).receipts():
        assert is_present(Store(tmp_path), receipt.manifest(), {"a": noise(5000), "b": SHARED})


def test_a_link_in_place_of_a_directory_is_not_followed(tmp_path: Path, workspace: Workspace) -> None:
    store = workspace.store
    ensure(store, {"a": SHARED})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"x")
    layout = Layout(store.root)
    (layout.models / "evil").symlink_to(outside)
    (layout.model("tiny") / "v1" / "link").symlink_to(outside)
    for directory in (layout.quarantine, layout.partials):
        directory.mkdir(exist_ok=True)
        (directory / f"20200101T000000.000000Z-{'0' * 64}").symlink_to(outside)
        (directory / ("0" * 64)).symlink_to(outside)
    both(workspace, ALL)
    assert (outside / "precious").exists()
    assert not (layout.models / "tiny").exists()

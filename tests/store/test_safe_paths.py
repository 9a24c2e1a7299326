"""Paths below a root contain no links, and a bounded number of directories is kept open."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Disk
from modelfetch.store.dir_handles import HANDLES, MOST, LinkInPathError
from modelfetch.store.safe_paths import HAS_HANDLES, SafePaths

resource = pytest.importorskip("resource", reason="POSIX limits")
pytestmark = pytest.mark.skipif(not HAS_HANDLES, reason="directories cannot be held open here")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture(params=[True, False], ids=["held open", "looked over"])
def disk(request: pytest.FixtureRequest, root: Path) -> Disk:
    disk = Disk(beneath=SafePaths(by_handle=request.param))
    disk.guard(root)
    return disk


def write(disk: Disk, path: Path) -> None:
    disk.close(disk.create(path), path)


def replace_by_link(path: Path, target: Path) -> None:
    path.rename(path.with_name("aside"))
    target.mkdir()
    path.symlink_to(target)


def test_a_link_on_the_way_is_named(disk: Disk, root: Path, tmp_path: Path) -> None:
    replace_by_link(root / "a", tmp_path / "victim")
    (tmp_path / "victim" / "b").mkdir()
    for act in (
        lambda: write(disk, root / "a" / "b" / "file"),
        lambda: disk.lstat(root / "a" / "b"),
        lambda: disk.names(root / "a"),
        lambda: disk.names(root / "a" / "b"),
        lambda: disk.mkdir(root / "a" / "c"),
        lambda: disk.rmdir(root / "a" / "b"),
        lambda: disk.unlink(root / "a" / "b"),
        lambda: disk.rename(root / "aside" / "b", root / "a" / "c"),
        lambda: disk.link(root / "a" / "b", root / "aside" / "c"),
        lambda: disk.sync_directory(root / "a"),
    ):
        with pytest.raises(StoreError, match=f"{root}/a is a symbolic link, or not a directory") as caught:
            act()
        assert isinstance(caught.value.__cause__, LinkInPathError)
    assert [path.name for path in tmp_path.joinpath("victim").rglob("*")] == ["b"]


def test_a_file_on_the_way_is_as_good_as_nothing(disk: Disk, root: Path) -> None:
    (root / "a" / "file").touch()
    assert disk.lstat(root / "a" / "file" / "x") is None
    assert disk.names(root / "a" / "file" / "x") == []


def test_what_leads_to_a_root_may_be_a_link(disk: Disk, root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    disk.guard(tmp_path / "link" / "root")
    write(disk, tmp_path / "link" / "root" / "a" / "file")
    assert (root / "a" / "file").exists()


def test_a_directory_that_was_deleted_and_made_again_is_found(disk: Disk, root: Path) -> None:
    write(disk, root / "a" / "b" / "one")
    shutil.rmtree(root / "a")
    assert disk.lstat(root / "a" / "b" / "one") is None
    (root / "a" / "b").mkdir(parents=True)
    write(disk, root / "a" / "b" / "two")
    assert (root / "a" / "b" / "two").exists()


def test_a_directory_that_was_replaced_is_found(disk: Disk, root: Path) -> None:
    write(disk, root / "a" / "b" / "one")
    (root / "a").rename(root / "aside")
    (root / "a" / "b").mkdir(parents=True)
    write(disk, root / "a" / "b" / "two")
    assert os.listdir(root / "a" / "b") == ["two"]


def test_in_a_steady_block_no_link_is_followed_either(root: Path, tmp_path: Path) -> None:
    disk = Disk()
    disk.guard(root)
    with disk.reuse_directories():
        write(disk, root / "a" / "b" / "one")
        replace_by_link(root / "a" / "b", tmp_path / "victim")
        write(disk, root / "a" / "b" / "two")
    assert sorted(os.listdir(root / "a" / "aside")) == ["one", "two"]
    assert os.listdir(tmp_path / "victim") == []
    with pytest.raises(StoreError, match="is a symbolic link, or not a directory"):
        write(disk, root / "a" / "b" / "three")


def test_a_path_that_climbs_is_not_below_a_root(disk: Disk, root: Path, tmp_path: Path) -> None:
    """It is an ordinary path, for which whoever names it answers."""
    (root / "link").symlink_to(tmp_path)
    assert disk.lstat(root / "link" / ".." / "absent") is None


def test_a_root_below_a_root_is_a_part_of_it(disk: Disk, root: Path, tmp_path: Path) -> None:
    replace_by_link(root / "a", tmp_path / "victim")
    disk.guard(root / "a")
    with pytest.raises(StoreError, match="is a symbolic link, or not a directory"):
        write(disk, root / "a" / "file")


def test_a_bounded_number_of_directories_stays_open(root: Path) -> None:
    disk = Disk()
    disk.guard(root)
    HANDLES.drop()
    before = len(os.listdir("/dev/fd"))
    for number in range(3 * MOST):
        disk.mkdir(root / str(number))
        write(disk, root / str(number) / "file")
    assert len(os.listdir("/dev/fd")) - before <= MOST
    assert HANDLES.drop()
    assert not HANDLES.drop()


def test_where_files_run_out_those_kept_for_later_make_way(root: Path) -> None:
    disk = Disk()
    disk.guard(root)
    HANDLES.drop()
    write(disk, root / "a" / "b" / "one")  # leaves three directories open
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.dup(0)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 10, before[1]))
        with contextlib.suppress(OSError):
            while True:
                spare.append(os.dup(0))
        write(disk, root / "a" / "b" / "two")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in spare:
            os.close(fd)
    assert (root / "a" / "b" / "two").exists()


@pytest.mark.slow
def test_threads_may_share_it(root: Path) -> None:
    """More directories than stay open, so that handles are closed while others are being used."""
    disk = Disk()
    disk.guard(root)
    folders = [root / str(number) for number in range(2 * MOST)]
    for folder in folders:
        folder.mkdir()
    failures: list[object] = []

    def work(number: int) -> None:
        try:
            for path in [folder / f"{number}-{turn}" for turn in range(2) for folder in folders]:
                write(disk, path)
                if path.name not in disk.names(path.parent) or not disk.unlink(path):
                    failures.append(path)
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [path for folder in folders for path in folder.iterdir()] == []

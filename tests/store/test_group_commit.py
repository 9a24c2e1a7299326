"""A group of files has the guarantees of single commits."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelfetch.errors import StoreError
from modelfetch.model.manifest import Manifest
from modelfetch.store import Disk, GroupCommit, Staged, Store
from modelfetch.store.layout import Layout
from tests.store.disks import CountingDisk, DyingDisk, FailingDisk, Killed, OrderingDisk, without_links
from tests.store.material import WHEN, ensure, is_present, leftovers, model, noise, wrong_finals

CONTENTS = {f"part-{n % 2}/{n}.bin": noise(100 + n, seed=n) for n in range(5)}
MANIFEST = model(CONTENTS)


def write(group: GroupCommit, manifest: Manifest, contents: Mapping[str, bytes]) -> list[Staged]:
    loose = [group.write([(manifest, file)], contents[file.path]) for file in manifest.files]
    assert all(loose)
    return [each for each in loose if each is not None]


def install(store: Store) -> None:
    """Do with a group what a run does."""
    with store.group() as group:
        store_all(store, group)


def store_all(store: Store, group: GroupCommit) -> None:
    assert len(group.commit(write(group, MANIFEST, CONTENTS))) == len(CONTENTS)
    write_receipt(store)


def write_receipt(store: Store) -> None:
    store.write_receipt(MANIFEST, dict.fromkeys(CONTENTS, "mirror a"), dict.fromkeys(CONTENTS, WHEN))


def test_all_stand_under_all_their_names(store: Store) -> None:
    install(store)
    assert is_present(store, MANIFEST, CONTENTS)
    for file in MANIFEST.files:
        assert store.find_blob(file) is not None
        assert (store.directory(MANIFEST) / file.path).samefile(Layout(store.root).blob(file.sha256))
    assert leftovers(store.root) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_they_are_as_read_only_as_any_other(store: Store) -> None:
    before = os.umask(0o027)
    try:
        install(store)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((store.directory(MANIFEST) / path).stat().st_mode) for path in CONTENTS}
    assert modes == {0o440}


def test_one_digest_gets_every_name_it_has(store: Store) -> None:
    content = noise(50)
    manifest = model({"a": content, "deep/b": content})
    with store.group() as group:
        loose = group.write([(manifest, file) for file in manifest.files], content)
        assert loose is not None
        assert group.commit([loose]) == [loose]
    assert [(store.directory(manifest) / path).read_bytes() for path in ("a", "deep/b")] == [content] * 2


@pytest.mark.parametrize("wrong", [b"", noise(99), noise(100, seed=7), noise(101)])
def test_wrong_bytes_are_not_even_written(store: Store, wrong: bytes) -> None:
    with store.group() as group:
        assert group.write([(MANIFEST, MANIFEST.files[0])], wrong) is None
        assert list(store.root.rglob("*.bin")) == []


def test_a_name_that_is_taken_is_left_alone(store: Store) -> None:
    target = store.directory(MANIFEST) / "part-0/0.bin"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"somebody's")
    with store.group() as group:
        loose = write(group, MANIFEST, CONTENTS)
        assert group.commit(loose) == loose[1:]
    assert target.read_bytes() == b"somebody's"


def test_a_blob_that_is_there_already_is_left_alone(store: Store) -> None:
    with store.group() as group:
        loose = write(group, MANIFEST, CONTENTS)
        loose[0].blob.parent.mkdir(parents=True)
        loose[0].blob.write_bytes(b"rot")
        assert group.commit(loose) == loose[1:]
    assert loose[0].blob.read_bytes() == b"rot"


def test_another_file_under_our_name_is_not_published(store: Store) -> None:
    with store.group() as group:
        loose = write(group, MANIFEST, CONTENTS)
        other = loose[0].path.with_name("other")
        other.write_bytes(noise(100, seed=99))
        other.replace(loose[0].path)
        os.chmod(loose[1].path, 0o644)
        os.truncate(loose[1].path, 3)
        assert group.commit(loose) == loose[2:]
    assert store.find_blob(loose[0].file) is None
    assert leftovers(store.root) == []


def test_files_are_copied_where_they_cannot_be_linked(root: Path) -> None:
    store = Store(root, disk=without_links())
    install(store)
    assert is_present(store, MANIFEST, CONTENTS)


def test_what_was_not_committed_is_gone_afterwards(store: Store) -> None:
    with store.group() as group:
        write(group, MANIFEST, CONTENTS)
    assert leftovers(store.root) == []


def test_a_killed_group_is_swept(store: Store) -> None:
    disk = DyingDisk(10_000)
    group = Store(store.root, disk=disk).group()
    write(group, MANIFEST, CONTENTS)
    [folder] = (store.root / "partial").iterdir()
    assert store.sweep() == (), "its maker lives"
    dead = folder.rename(folder.with_name(folder.name.replace(f"-{os.getpid()}-", "-4194000-")))
    assert store.sweep() == (dead,)
    assert leftovers(store.root) == []


# The order of things


def test_no_name_before_all_bytes_are_safe_and_no_receipt_before_all_names_are(root: Path) -> None:
    disk = OrderingDisk(root)
    install(Store(root, disk=disk))
    assert disk.violations == []
    assert not disk.unsafe_files & {path for path in root.rglob("*") if path.is_file()}


def test_all_are_synced_before_the_first_is_renamed(root: Path) -> None:
    disk = CountingDisk()
    install(Store(root, disk=disk))
    kinds = [kind for kind, path in disk.operations if path.name in {f.sha256 for f in MANIFEST.files}]
    assert kinds.index("rename to") > max(n for n, kind in enumerate(kinds) if kind == "sync")


def test_each_directory_of_blobs_is_synced_once(root: Path) -> None:
    disk = CountingDisk()
    install(Store(root, disk=disk))
    synced = [path for kind, path in disk.operations if kind == "sync" and path.parent.name == "sha256"]
    assert sorted(synced) == sorted({(root / "blobs/sha256" / f.sha256[:2]) for f in MANIFEST.files})


def test_without_fsync_nothing_is_synced(root: Path) -> None:
    disk = CountingDisk(fsync=False)
    install(Store(root, disk=disk))
    assert not [kind for kind, _ in disk.operations if kind == "sync"]


# Disks that fail


def attempt(root: Path, disk: Disk) -> None:
    store = Store(root, disk=disk)
    try:
        with store.group() as group:
            if len(group.commit(write(group, MANIFEST, CONTENTS))) == len(CONTENTS):
                write_receipt(store)  # else the ordinary way has to do with some of them
    except (StoreError, Killed):
        return


def operations(root: Path) -> int:
    disk = CountingDisk()
    install(Store(root, disk=disk))
    return len(disk.operations)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["refused", "done-but-reported-failed"])
def test_each_operation_failing_once_leaves_nothing_wrong(tmp_path: Path, after: bool) -> None:
    codes = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.ENOENT)
    total = operations(tmp_path / "count")
    assert total > 50
    for nth in range(total):
        root = tmp_path / str(nth)
        attempt(root, FailingDisk(nth, codes[nth % len(codes)], after=after))
        check(root, nth)


@pytest.mark.slow
def test_a_process_killed_before_each_operation_leaves_nothing_wrong(tmp_path: Path) -> None:
    for nth in range(operations(tmp_path / "count")):
        root = tmp_path / str(nth)
        disk = DyingDisk(nth)
        attempt(root, disk)
        disk.bury()
        check(root, nth)


def check(root: Path, nth: int) -> None:
    """Nothing wrong has a final name, and the ordinary way makes everything right from here."""
    assert not wrong_finals(root, MANIFEST), nth
    store = Store(root, fsync=False)
    ensure(store, CONTENTS)
    assert is_present(store, MANIFEST, CONTENTS), nth

"""Files of a model are regular files with the right bytes, by link, by reflink or by copy."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from modelfetch.errors import IntegrityError, StoreError, UsageError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.store import Disk, Store
from modelfetch.store.layout import Layout
from tests.store.disks import CountingDisk, OrderingDisk, RefusingDisk, without_links
from tests.store.material import digest, ensure, is_present, leftovers, model, noise, obtain, spec

T = TypeVar("T")

CONTENT = noise(70_000)
MANIFEST = model({"onnx/encoder/model.onnx": CONTENT})
FILE = MANIFEST.files[0]
ROT = noise(70_000, seed=2)


@pytest.fixture(params=[None, errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP], ids=str)
def any_store(request: pytest.FixtureRequest, root: Path) -> Store:
    """A store whose disk can link, or refuses it for one of the known reasons."""
    if request.param is None:
        return Store(root)
    return Store(root, disk=RefusingDisk(request.param, {"link to", "clone into"}))


def test_a_file_lies_at_its_path_in_the_version(any_store: Store) -> None:
    obtain(any_store, CONTENT)
    placed = any_store.place(MANIFEST, FILE)
    assert placed.path == any_store.directory(MANIFEST) / "onnx" / "encoder" / "model.onnx"
    assert placed.path == any_store.root / "models" / "tiny" / "v1" / "onnx" / "encoder" / "model.onnx"
    assert placed.path.read_bytes() == CONTENT
    assert not placed.path.is_symlink()
    assert leftovers(any_store.root) == []


def test_it_shares_the_inode_of_the_blob_where_that_is_possible(store: Store) -> None:
    blob = obtain(store, CONTENT).path
    assert store.place(MANIFEST, FILE).path.samefile(blob)


def test_where_it_is_not_it_has_its_own(root: Path) -> None:
    store = Store(root, disk=without_links())
    blob = obtain(store, CONTENT).path
    placed = store.place(MANIFEST, FILE).path
    assert not placed.samefile(blob)
    assert placed.stat().st_mode == blob.stat().st_mode


@pytest.mark.parametrize("is_cloned", [False, True], ids=["copied", "cloned"])
def test_a_copy_is_synced_before_it_gets_its_final_name(root: Path, is_cloned: bool) -> None:
    """A copy is a new inode: the sync of the blob does not cover it."""

    class CopyingDisk(OrderingDisk):
        def link(self, source: Path, target: Path) -> bool:
            return False

        def reflink(self, fd: int, path: Path, source: int) -> bool:
            if is_cloned:
                self.pwrite(fd, path, CONTENT, 0)
            return is_cloned

    disk = CopyingDisk(root)
    store = Store(root, disk=disk)
    obtain(store, CONTENT)
    assert store.place(MANIFEST, FILE).path.read_bytes() == CONTENT
    assert disk.violations == []


def test_extents_are_shared_where_the_file_system_can(root: Path) -> None:
    """The disk says it cloned; then nothing is copied."""

    class CloningDisk(CountingDisk):
        def link(self, source: Path, target: Path) -> bool:
            return False

        def reflink(self, fd: int, path: Path, source: int) -> bool:
            os.write(fd, os.pread(source, 1 << 20, 0))
            return True

    disk = CloningDisk()
    store = Store(root, disk=disk)
    obtain(store, CONTENT)
    disk.operations.clear()
    assert store.place(MANIFEST, FILE).path.read_bytes() == CONTENT
    assert "write" not in {operation for operation, _ in disk.operations}


def test_a_real_reflink_or_its_refusal_ends_in_the_right_bytes(root: Path) -> None:
    store = Store(root, disk=RefusingDisk(errno.EXDEV, {"link to"}))
    obtain(store, CONTENT)
    assert store.place(MANIFEST, FILE).path.read_bytes() == CONTENT


def test_what_is_in_place_already_is_left_alone(store: Store) -> None:
    obtain(store, CONTENT)
    before = store.place(MANIFEST, FILE).path.stat()
    assert store.place(MANIFEST, FILE, "cache").quarantined is None
    after = (store.directory(MANIFEST) / FILE.path).stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_two_processes_placing_at_once_leave_no_second_name(root: Path) -> None:
    """POSIX: renaming one name of a file over another one does nothing, and the first name stays."""

    class RacingDisk(CountingDisk):
        def rename(self, source: Path, target: Path) -> None:
            if not target.exists():
                os.link(source, target)
            super().rename(source, target)

    obtain(Store(root), CONTENT)
    placed = Store(root, disk=RacingDisk()).place(MANIFEST, FILE)
    assert placed.path.read_bytes() == CONTENT
    assert leftovers(root) == []


def test_a_blob_that_another_process_replaces_meanwhile_is_placed(root: Path) -> None:
    """The kernel reports ENOENT for a source that loses its name between look-up and link."""

    class ReplacedDisk(Disk):
        refusals = 1

        def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
            if operation == "link to" and self.refusals:
                self.refusals -= 1
                raise FileNotFoundError(errno.ENOENT, "not there")
            return super().perform(operation, path, call)

    store = Store(root, disk=ReplacedDisk())
    contents = {"a.bin": noise(1000)}
    assert is_present(store, ensure(store, contents), contents)
    assert leftovers(root) == []


def test_another_content_is_replaced_and_quarantined(any_store: Store) -> None:
    obtain(any_store, CONTENT)
    target = any_store.directory(MANIFEST) / FILE.path
    target.parent.mkdir(parents=True)
    target.write_bytes(ROT)
    placed = any_store.place(MANIFEST, FILE, "cache")
    assert target.read_bytes() == CONTENT
    assert placed.quarantined is not None
    assert placed.quarantined.actual == digest(ROT)
    assert (placed.quarantined.directory / "data").read_bytes() == ROT


def test_without_a_wish_to_keep_it_another_content_is_just_replaced(store: Store) -> None:
    obtain(store, CONTENT)
    target = store.directory(MANIFEST) / FILE.path
    target.parent.mkdir(parents=True)
    target.write_bytes(ROT)
    assert store.place(MANIFEST, FILE).quarantined is None
    assert target.read_bytes() == CONTENT
    assert not (store.root / "quarantine").exists()


def test_one_bad_inode_under_two_names_is_quarantined_once(store: Store) -> None:
    """A blob and its place are one file; when it rots, that is one finding."""
    ensure(store, {FILE.path: CONTENT})
    blob = Layout(store.root).blob(FILE.sha256)
    blob.chmod(0o644)
    blob.write_bytes(ROT)
    assert obtain(store, CONTENT, displaced="cache").quarantined is not None
    assert store.place(MANIFEST, FILE, "cache").quarantined is None
    assert (store.directory(MANIFEST) / FILE.path).read_bytes() == CONTENT
    (entry,) = (store.root / "quarantine").iterdir()
    assert (entry / "data").read_bytes() == ROT


def test_a_damaged_blob_is_not_copied(root: Path) -> None:
    store = Store(root, disk=without_links())
    blob = obtain(store, CONTENT).path
    blob.chmod(0o644)
    blob.write_bytes(ROT)
    with pytest.raises(IntegrityError, match="damaged"):
        store.place(MANIFEST, FILE)
    assert not (store.directory(MANIFEST) / FILE.path).exists()
    assert leftovers(root) == []


def test_a_blob_that_vanishes_before_it_is_copied_is_named(root: Path) -> None:
    class RacingDisk(Disk):
        def link(self, source: Path, target: Path) -> bool:
            source.unlink()
            return False

    obtain(Store(root), CONTENT)
    with pytest.raises(StoreError, match=FILE.sha256):
        Store(root, disk=RacingDisk()).place(MANIFEST, FILE)
    assert leftovers(root) == []


@pytest.mark.parametrize("content", [None, b"short"])
def test_without_a_blob_of_the_right_length_nothing_is_placed(store: Store, content: bytes | None) -> None:
    blob = Layout(store.root).blob(FILE.sha256)
    blob.parent.mkdir(parents=True)
    if content is not None:
        blob.write_bytes(content)
    with pytest.raises(StoreError, match="not the file that was stored"):
        store.place(MANIFEST, FILE)


def test_a_directory_in_the_way_is_named(store: Store) -> None:
    obtain(store, CONTENT)
    target = store.directory(MANIFEST) / FILE.path
    target.mkdir(parents=True)
    (target / "keep").touch()
    with pytest.raises(StoreError, match=r"model\.onnx"):
        store.place(MANIFEST, FILE)
    assert leftovers(store.root) == []


@pytest.mark.parametrize("path", ["../escape", "/etc/passwd", "a/../../b", "", "a\0b", "C:x"])
def test_a_path_out_of_the_cache_is_refused_even_without_the_parser(store: Store, path: str) -> None:
    file = FileSpec(path, len(CONTENT), FILE.sha256)
    obtain(store, CONTENT)
    with pytest.raises(UsageError):
        store.place(Manifest("tiny", "v1", (file,)), file)
    with pytest.raises(UsageError):
        store.place_into(store.root.parent / "out", MANIFEST, file)


@pytest.mark.parametrize(
    ("name", "version"), [("..", "v1"), ("a/b", "v1"), ("tiny", ".."), ("tiny", "x.json")]
)
def test_a_name_out_of_the_cache_is_refused(store: Store, name: str, version: str) -> None:
    with pytest.raises(UsageError):
        store.directory(Manifest(name, version, ()))


@pytest.mark.parametrize("sha256", ["", "../../x", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "٠" * 64])
def test_a_digest_that_is_none_never_becomes_a_path(store: Store, sha256: str) -> None:
    for use in (Layout(store.root).blob, store.lock_blob):
        with pytest.raises(UsageError):
            use(sha256)
    with pytest.raises(UsageError):
        store.partial(FileSpec("a", 1, sha256), True)
    assert not store.root.exists()


def test_placing_outside_makes_the_directories(any_store: Store, tmp_path: Path) -> None:
    obtain(any_store, CONTENT)
    out = tmp_path / "new" / "place"
    placed = any_store.place_into(out, MANIFEST, FILE)
    assert placed.path == out / "onnx" / "encoder" / "model.onnx"
    assert placed.path.read_bytes() == CONTENT


def test_placing_outside_uses_the_model_where_the_blob_is_gone(store: Store, tmp_path: Path) -> None:
    ensure(store, {FILE.path: CONTENT})
    Layout(store.root).blob(FILE.sha256).unlink()
    assert store.place_into(tmp_path / "out", MANIFEST, FILE).path.read_bytes() == CONTENT


def test_placing_outside_keeps_what_it_replaces_when_asked(store: Store, tmp_path: Path) -> None:
    content = noise(10)
    obtain(store, content)
    manifest = model({"a.bin": content})
    (tmp_path / "a.bin").write_bytes(b"mine")
    placed = store.place_into(tmp_path, manifest, spec(content, "a.bin"), "cache")
    assert placed.quarantined is not None
    assert (placed.quarantined.directory / "data").read_bytes() == b"mine"


def test_a_linked_directory_to_place_into_is_the_users_choice(store: Store, tmp_path: Path) -> None:
    obtain(store, CONTENT)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store.place_into(tmp_path / "link", MANIFEST, FILE)
    assert (tmp_path / "real" / FILE.path).read_bytes() == CONTENT


def test_a_link_below_it_is_not(store: Store, tmp_path: Path) -> None:
    obtain(store, CONTENT)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "onnx").symlink_to(elsewhere)
    with pytest.raises(StoreError, match="is a symbolic link, or not a directory"):
        store.place_into(tmp_path / "out", MANIFEST, FILE)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("becomes", ["a link", "another size"])
def test_a_blob_that_was_exchanged_is_placed_under_no_free_name(
    store: Store, tmp_path: Path, becomes: str
) -> None:
    blob = obtain(store, CONTENT).path
    blob.unlink()
    if becomes == "a link":
        (tmp_path / "secret").write_bytes(CONTENT)
        blob.symlink_to(tmp_path / "secret")
    else:
        blob.write_bytes(CONTENT + b"x")
    store.claim(MANIFEST, exclusive=False)
    with pytest.raises(StoreError, match="is not the file that was stored there"):
        store.place(MANIFEST, FILE)
    assert not (store.directory(MANIFEST) / FILE.path).exists()


def test_a_placed_file_counts_as_there_only_with_its_length(store: Store) -> None:
    obtain(store, CONTENT)
    placed = store.place(MANIFEST, FILE).path
    assert store.is_filled(MANIFEST, FILE)
    placed.unlink()
    placed.write_bytes(CONTENT[:-1])
    assert not store.is_filled(MANIFEST, FILE)

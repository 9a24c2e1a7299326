"""Removing a model removes what only it uses; what other models use stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from modelfetch.errors import LockTimeoutError, UsageError
from modelfetch.model.manifest import Manifest
from modelfetch.store import Disk, Store
from modelfetch.store.dir_handles import MOST
from modelfetch.store.layout import Layout
from tests.store.disks import CountingDisk, without_links
from tests.store.material import descriptors_now, digest, ensure, is_present, model, noise, obtain, spec

T = TypeVar("T")

OWN, SHARED = noise(40_000, seed=1), noise(30_000, seed=2)
ONE = {"own.bin": OWN, "deep/er/shared.bin": SHARED}
TWO = {"other.bin": noise(500, seed=3), "shared.bin": SHARED}


def names(root: Path) -> set[str]:
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and "locks" not in path.parts
    }


def test_everything_of_a_lone_model_goes(store: Store) -> None:
    ensure(store, ONE)
    removal = store.remove("tiny")
    assert names(store.root) == set()
    assert not (store.root / "models" / "tiny").exists()
    assert (removal.name, removal.versions) == ("tiny", ("v1",))
    assert removal.freed >= len(OWN) + len(SHARED)


def test_blobs_another_model_uses_stay(store: Store) -> None:
    ensure(store, ONE)
    two = ensure(store, TWO, name="two")
    removal = store.remove("tiny")
    assert is_present(store, two, TWO)
    assert store.find_blob(spec(SHARED)) is not None
    assert store.find_blob(spec(OWN)) is None
    assert len(OWN) <= removal.freed < len(OWN) + len(SHARED)


def test_they_stay_also_where_files_are_copies(root: Path) -> None:
    store = Store(root, disk=without_links())
    ensure(store, ONE)
    ensure(store, TWO, name="two")
    store.remove("tiny")
    assert store.find_blob(spec(SHARED)) is not None


def test_blobs_of_an_unfinished_model_stay(root: Path) -> None:
    """It has no receipt yet that would name them, but its file is the same inode."""
    store = Store(root)
    ensure(store, ONE)
    unfinished = model(TWO, name="two")
    store.place(unfinished, unfinished.file("shared.bin"))
    store.remove("tiny")
    assert store.find_blob(spec(SHARED)) is not None


def test_one_version_goes_and_the_other_stays(store: Store) -> None:
    ensure(store, ONE)
    newer = ensure(store, TWO, version="v2")
    removal = store.remove("tiny", version="v1")
    assert removal.versions == ("v1",)
    assert is_present(store, newer, TWO)
    assert not (store.root / "models" / "tiny" / "v1").exists()


def test_without_a_version_all_go(store: Store) -> None:
    ensure(store, ONE)
    ensure(store, TWO, version="v2")
    assert store.remove("tiny").versions == ("v1", "v2")
    assert names(store.root) == set()


def test_the_receipt_goes_first(root: Path) -> None:
    """From then on the model counts as absent, wherever the removal is interrupted."""
    disk = CountingDisk()
    store = Store(root, disk=disk)
    ensure(store, ONE)
    (root / "models" / "tiny" / ".ready").write_text("stamp")
    removal = store.remove("tiny", dry_run=True)
    assert [path.name for path in removal.paths[:2]] == [".ready", "v1.json"]
    disk.operations.clear()
    store.remove("tiny")
    removed = [path for operation, path in disk.operations if operation == "remove"]
    assert tuple(path for path in removed if path in removal.paths) == removal.paths


def test_a_dry_run_says_the_same_and_does_nothing(store: Store) -> None:
    ensure(store, ONE)
    before = names(store.root)
    planned = store.remove("tiny", dry_run=True)
    assert names(store.root) == before
    assert store.remove("tiny") == planned


def test_partials_of_its_files_go(store: Store) -> None:
    content = noise(50_000, seed=7)
    with store.partial(spec(content), True) as partial:
        partial.put(partial.length, content[:20_000], "mirror a")
    manifest = model({"a.bin": content})
    removal = store.remove("tiny", manifest.files)
    assert removal.versions == ()
    assert names(store.root) == set()
    assert 0 < removal.freed < 50_000  # holes take no space


def test_blobs_of_an_unfinished_download_go_when_the_manifest_names_them(store: Store) -> None:
    obtain(store, OWN)
    store.remove("tiny", model(ONE).files)
    assert names(store.root) == set()


def test_a_file_kept_elsewhere_frees_nothing(store: Store, tmp_path: Path) -> None:
    manifest = ensure(store, {"own.bin": OWN})
    store.place_into(tmp_path / "out", manifest, manifest.files[0])
    freed = store.remove("tiny").freed
    assert freed < len(OWN)
    assert (tmp_path / "out" / "own.bin").read_bytes() == OWN


def test_copies_count_for_themselves(root: Path) -> None:
    store = Store(root, disk=without_links())
    ensure(store, {"own.bin": OWN})
    assert store.remove("tiny").freed >= 2 * len(OWN)


def test_nothing_there_is_no_error(store: Store) -> None:
    removal = store.remove("tiny")
    assert (removal.versions, removal.paths, removal.freed) == ((), (), 0)


def test_its_files_are_named_in_the_order_of_removal(store: Store) -> None:
    ensure(store, {"a.bin": b"x"})
    removal = store.remove("tiny", dry_run=True)
    assert removal.name == "tiny"
    assert removal.paths == (
        store.root / "models" / "tiny" / "v1.json",
        store.root / "models" / "tiny" / "v1" / "a.bin",
        Layout(store.root).blob(digest(b"x")),
    )


def test_a_model_at_work_is_not_removed(store: Store) -> None:
    ensure(store, ONE)
    with store.lock_model("tiny") as lock:
        lock.try_acquire()
        with pytest.raises(LockTimeoutError, match=f"in use by process {os.getpid()}"):
            store.remove("tiny")
    assert store.receipt(model(ONE)) is not None


def test_a_blob_another_process_works_on_stays(store: Store) -> None:
    ensure(store, ONE)
    with store.lock_blob(digest(OWN)) as lock:
        lock.try_acquire()
        store.remove("tiny")
    assert store.find_blob(spec(OWN)) is not None
    assert store.find_blob(spec(SHARED)) is None


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("name", ["..", "../..", "/", "", "a/b", "tiny/../../x", "."])
def test_a_name_that_is_none_removes_nothing(store: Store, name: str) -> None:
    ensure(store, ONE)
    before = names(store.root)
    with pytest.raises(UsageError):
        store.remove(name)
    assert names(store.root) == before


def test_links_are_removed_not_followed(store: Store, tmp_path: Path) -> None:
    ensure(store, ONE)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    (store.root / "models" / "tiny" / "v1" / "link").symlink_to(precious)
    (store.root / "models" / "tiny" / "v2").symlink_to(precious)
    store.remove("tiny")
    assert (precious / "file").read_text() == "keep"
    assert not (store.root / "models" / "tiny").exists()


def test_what_lies_deeper_than_any_model_is_told_and_left(store: Store) -> None:
    manifest = ensure(store, ONE)
    deep = store.directory(manifest) / ("d/" * 400)
    os.makedirs(deep)
    removal = store.remove("tiny")
    assert len(removal.paths) == 5
    assert deep.is_dir()
    assert "was not made by modelfetch" in "".join(store.notices.take())
    (store.directory(manifest) / "later").write_text("moved out, though the first cannot be")
    ensure(store, ONE)
    assert store.unlisted(manifest) == ["d/" * 31 + "d"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files cannot be counted here")
def test_a_model_of_many_files_takes_few_descriptors(root: Path) -> None:
    """One lock for each file at a time, and no more than a few directories."""

    class WatchingDisk(Disk):
        most = 0

        def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
            result = call()
            self.most = max(self.most, descriptors_now(root))
            return result

    contents = {f"{number}.bin": noise(100, seed=number) for number in range(2 * MOST)}
    ensure(Store(root, disk=Disk(fsync=False)), contents)
    disk = WatchingDisk()
    assert len(Store(root, disk=disk).remove("tiny").paths) == 2 * len(contents) + 1
    assert names(root) == set()
    assert 0 < disk.most < 12 + MOST


class _Placing(Disk):
    """Lets another run place a blob in its model once the first file is removed."""

    def unlink(self, path: Path) -> bool:
        done = super().unlink(path)
        if path.suffix == ".json":
            ensure(Store(path.parents[2]), {"b": noise(5000)}, name="later")
        return done


def test_a_blob_that_another_run_placed_meanwhile_stays(tmp_path: Path) -> None:
    ensure(Store(tmp_path), {"a": noise(5000)})
    removal = Store(tmp_path, disk=_Placing()).remove("tiny")
    assert not [path for path in removal.paths if path.name == digest(noise(5000))]
    assert removal.freed < 5000
    assert Store(tmp_path).find_blob(spec(noise(5000))) is not None
    assert [receipt.name for receipt in Store(tmp_path).receipts()] == ["later"]


class _Copying(Disk):
    """Lets another run place a blob as an executable file, which is a copy."""

    def unlink(self, path: Path) -> bool:
        done = super().unlink(path)
        if path.suffix == ".json":
            file = replace(spec(noise(5000), "run"), executable=True)
            Store(path.parents[2]).place(Manifest("later", "v1", (file,)), file)
        return done


def test_so_does_one_of_which_it_made_a_copy(tmp_path: Path) -> None:
    ensure(Store(tmp_path), {"a": noise(5000)})
    assert Store(tmp_path, disk=_Copying()).remove("tiny").freed < 5000
    assert Store(tmp_path).find_blob(spec(noise(5000))) is not None


class _Cloning(Disk):
    """A disk on which another file has most bytes of each large file."""

    def shared(self, path: Path) -> tuple[int, int]:
        return 90_000, 4096


def test_what_a_clone_has_is_not_freed(tmp_path: Path) -> None:
    ensure(Store(tmp_path), {"a": noise(100_000)})
    store = Store(tmp_path, disk=_Cloning())
    for dry_run in (True, False):
        assert 10_000 <= store.remove("tiny", dry_run=dry_run).freed < 20_000


LARGE = {"large.bin": noise((1 << 20) + 5, seed=9)}


def test_the_chunk_map_goes_with_its_blob(root: Path) -> None:
    store = Store(root, chunk_maps="always")
    ensure(store, LARGE)
    ensure(store, LARGE, name="two")
    assert store.remove("tiny").paths[-1].suffix == ".bin"
    assert list(store.chunk_maps.entries()) == [digest(LARGE["large.bin"])]
    proposed = store.remove("two", dry_run=True)
    assert store.remove("two") == proposed
    assert proposed.paths[-1].suffix == ".car"
    assert names(root) == set()


def test_the_chunk_map_of_a_blob_that_is_gone_goes_too(root: Path) -> None:
    store = Store(root, chunk_maps="always")
    manifest = ensure(store, LARGE)
    blob = store.find_blob(manifest.files[0])
    assert blob is not None
    blob.unlink()
    store.remove("tiny")
    assert names(root) == set()


@pytest.mark.parametrize("place", ["map", "prefix"])
def test_a_chunk_map_that_cannot_be_removed_keeps_no_blob_here(root: Path, place: str) -> None:
    """Another user put a directory in its place, or a link in that of its directory."""
    store = Store(root, chunk_maps="always")
    ensure(store, LARGE)
    [path] = (root / "chunks").rglob("*.car")
    path.unlink()
    if place == "map":
        path.mkdir()
    else:
        path.parent.rmdir()
        path.parent.symlink_to(root)
    store.close()
    store.remove("tiny")
    assert store.blob_of(digest(LARGE["large.bin"])) is None
    assert list(store.survey().unused) == []

"""Reading never needs writing: a cache that was copied, and may not be written to, answers by its digests."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from modelfetch.engine.events import Event, FileCommitted, ModelReady
from modelfetch.store import Store
from tests.engine.fakes import Laboratory, SpyDisk, body, code, crash, model, of, statuses

CONTENTS = {f"dir/{number}.bin": body(1000 + number, number) for number in range(10)} | {"a": body(300_000)}
MODEL = model("m", CONTENTS)

NAMES = {"rename to", "link to", "clone into", "remove"}
CHANGES = {"create", "write", "resize", *NAMES, "lock", "sync", "touch"}


def read_only(root: Path) -> Store:
    """The cache of a mount that is read-only."""
    return Store(root, disk=SpyDisk(lambda operation, _path: operation in CHANGES, errno.EROFS))


@pytest.fixture
def copied(lab: Laboratory) -> Laboratory:
    """A model whose files have other inodes and times than the receipt says, and no source but this disk."""
    lab.install(MODEL, contents=CONTENTS.values())
    shutil.copytree(lab.root, lab.root.with_name("copy"))
    later = Laboratory(lab.root.with_name("copy"))
    for path in later.root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    for content in CONTENTS.values():
        later.serve(content, crash(AssertionError("must not be asked")))
    return later


def ensured(lab: Laboratory, store: Store, *, offline: bool = False) -> list[Event]:
    return lab.ensure(MODEL, runtime=lab.runtime(store=store), offline=offline)


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("without", "offline"),
    [
        ("", False),
        pytest.param("", True, marks=pytest.mark.slow),
        ("blobs", False),
        ("locks", True),
        pytest.param("state.db", False, marks=pytest.mark.slow),
    ],
)
def test_the_right_bytes_are_enough(copied: Laboratory, without: str, offline: bool) -> None:
    if without:
        shutil.rmtree(copied.root / without, ignore_errors=True)
    before = sorted((path, path.stat().st_mtime_ns) for path in copied.root.rglob("*"))
    events = ensured(copied, read_only(copied.root), offline=offline)
    assert code(events) == 0
    (ready,) = of(events, ModelReady)
    assert (Path(ready.path), ready.fetched) == (copied.store.directory(MODEL), 0)
    assert "read-only" in ready.note
    assert {event.source for event in of(events, FileCommitted)} == {"cache"}
    assert set(statuses(events).values()) == {"completed"}
    assert sorted((path, path.stat().st_mtime_ns) for path in copied.root.rglob("*")) == before


def test_verify_reads_and_is_content(copied: Laboratory) -> None:
    assert code(copied.verify(MODEL, runtime=copied.runtime(store=read_only(copied.root)))) == 0
    assert read_only(copied.root).is_proven(MODEL)


def test_a_cache_that_may_be_written_gets_a_new_receipt_and_keeps_its_files(copied: Laboratory) -> None:
    inode = copied.place(MODEL, "a").stat().st_ino
    assert of(ensured(copied, copied.store), ModelReady)[0].note == ""
    assert copied.place(MODEL, "a").stat().st_ino == inode
    assert all(copied.store.kept(MODEL, copied.store.receipt(MODEL)).values())


def test_wrong_bytes_in_place_are_no_answer(copied: Laboratory) -> None:
    place = copied.place(MODEL, "a")
    place.unlink()
    place.write_bytes(body(300_000, 9))
    assert not copied.store.is_proven(MODEL)
    events = ensured(copied, read_only(copied.root), offline=True)
    assert code(events) == 7, "its blob is right, but may not be put in its place"
    assert code(ensured(copied, copied.store, offline=True)) == 0
    assert place.read_bytes() == CONTENTS["a"]


def test_a_model_without_a_receipt_is_proven_by_nobody_who_only_looks(copied: Laboratory) -> None:
    (copied.root / "models" / "m" / "1.json").unlink()
    assert not copied.store.is_proven(MODEL)
    assert code(ensured(copied, read_only(copied.root))) == 0


def test_names_that_may_not_be_on_the_disk_are_a_failure(lab: Laboratory) -> None:
    """The receipt says that a model survives a power cut; a run that placed files must not do without."""
    for content in CONTENTS.values():
        lab.serve(content)
    disk = SpyDisk(lambda operation, path: operation == "sync" and path.name == "dir")
    disk._fsync = True
    assert code(ensured(lab, Store(lab.root, disk=disk))) == 7

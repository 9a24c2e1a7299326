"""Planted links, FIFOs and directories lead no read or write out of the cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Store
from tests.store.material import digest, ensure, is_present, model, noise, obtain, spec

CONTENT = noise(70_000)
CONTENTS = {"onnx/model.onnx": CONTENT}
MANIFEST = model(CONTENTS)
FILE = MANIFEST.files[0]

BLOB = f"blobs/sha256/{FILE.sha256[:2]}/{FILE.sha256}"
DATA, JOURNAL = f"partial/{FILE.sha256}/data", f"partial/{FILE.sha256}/journal"
PLACE, RECEIPT = "models/tiny/v1/onnx/model.onnx", "models/tiny/v1.json"
LOCK, NOTE = f"locks/blob-{FILE.sha256}.lock", f"locks/blob-{FILE.sha256}.lock.holder"
NAMES = [
    BLOB,
    DATA,
    JOURNAL,
    PLACE,
    RECEIPT,
    LOCK,
    NOTE,
    "locks/model-tiny.lock",
    "locks/model-tiny.lock.holder",
]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX links and fifos")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside the cache that must not change."""
    path = tmp_path / "victim"
    path.write_bytes(b"precious")
    path.chmod(0o600)
    return path


def make_parent(root: Path, name: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("name", NAMES)
def test_a_link_under_one_of_our_names_is_not_followed(store: Store, victim: Path, name: str) -> None:
    before = victim.stat()
    make_parent(store.root, name).symlink_to(victim)
    assert is_present(store, ensure(store, CONTENTS), CONTENTS)
    after = victim.stat()
    assert victim.read_bytes() == b"precious"
    assert (after.st_mode, after.st_mtime_ns, after.st_nlink) == (before.st_mode, before.st_mtime_ns, 1)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("name", NAMES)
def test_a_dangling_link_makes_no_file_elsewhere(store: Store, tmp_path: Path, name: str) -> None:
    make_parent(store.root, name).symlink_to(tmp_path / "created")
    assert is_present(store, ensure(store, CONTENTS), CONTENTS)
    assert not (tmp_path / "created").exists()


@pytest.mark.parametrize("name", [BLOB, DATA, JOURNAL, PLACE, RECEIPT, NOTE])
def test_a_fifo_does_not_make_us_wait(store: Store, name: str) -> None:
    os.mkfifo(make_parent(store.root, name))
    assert is_present(store, ensure(store, CONTENTS), CONTENTS)


@pytest.mark.parametrize("name", [DATA, JOURNAL, LOCK])
def test_a_directory_under_one_of_our_names_is_worked_around(store: Store, name: str) -> None:
    make_parent(store.root, name).mkdir()
    assert is_present(store, ensure(store, CONTENTS), CONTENTS)


@pytest.mark.parametrize("name", [BLOB, PLACE, RECEIPT])
def test_a_directory_under_a_final_name_is_named_in_the_error(store: Store, name: str) -> None:
    path = make_parent(store.root, name)
    path.mkdir()
    (path / "keep").touch()
    with pytest.raises(StoreError, match=path.name) as caught:
        ensure(store, CONTENTS)
    assert caught.value.hint
    assert (path / "keep").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("blobs", "blobs/sha256", f"blobs/sha256/{FILE.sha256[:2]}", "partial", f"partial/{FILE.sha256}"),
        *("models", "models/tiny", "models/tiny/v1", "models/tiny/v1/onnx"),
    ],
)
def test_a_linked_directory_inside_the_cache_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    make_parent(store.root, name).symlink_to(elsewhere)
    with pytest.raises(StoreError, match="is a symbolic link, or not a directory"):
        ensure(store, CONTENTS)
    assert list(elsewhere.iterdir()) == []


def test_a_linked_quarantine_is_refused(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    make_parent(store.root, "quarantine").symlink_to(elsewhere)
    bad = store.root / "bad"
    bad.write_bytes(b"x")
    with pytest.raises(StoreError, match="is a symbolic link, or not a directory"):
        store.quarantine(bad, FILE, actual=digest(b"x"), source="mirror a")
    assert list(elsewhere.iterdir()) == []


def test_removal_refuses_a_linked_model(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "v1").mkdir(parents=True)
    (elsewhere / "v1" / "precious").touch()
    make_parent(store.root, "models/tiny").symlink_to(elsewhere)
    with pytest.raises(StoreError, match="is a symbolic link, or not a directory"):
        store.remove("tiny")
    assert (elsewhere / "v1" / "precious").exists()


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    store = Store(tmp_path / "cache")
    assert is_present(store, ensure(store, CONTENTS), CONTENTS)
    assert (tmp_path / "disk" / "models").is_dir()


def test_a_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a directory")
    with pytest.raises(StoreError, match="cache"):
        ensure(Store(tmp_path / "cache"), CONTENTS)


def test_a_hard_link_to_a_precious_file_as_data_is_not_written_to(store: Store, victim: Path) -> None:
    """A planted journal makes it look like a download of ours."""
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, CONTENT[:1000], "mirror a")
    data = store.root / DATA
    data.unlink()
    os.link(victim, data)
    obtain(store, CONTENT)
    assert victim.read_bytes() == b"precious"


def test_reading_does_not_follow_a_link(store: Store, victim: Path) -> None:
    blob = make_parent(store.root, BLOB)
    blob.symlink_to(victim)
    assert store.find_blob(spec(CONTENT)) is None
    assert store.size_of(blob) is None
    with pytest.raises(StoreError, match="no regular file"):
        list(store.read(blob))


def test_a_hard_link_as_journal_is_not_written_through(store: Store, victim: Path) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, CONTENT[:1000], "mirror a")
    journal = store.root / JOURNAL
    victim.write_bytes(before := journal.read_bytes())  # so that it is worth going on with
    journal.unlink()
    os.link(victim, journal)
    with store.partial(FILE, True) as partial:
        assert partial.length == 1000
        partial.put(partial.length, CONTENT[1000:2000], "mirror a")
    assert victim.read_bytes() == before
    assert store.held(FILE) == 2000


@pytest.mark.parametrize("name", [LOCK, "locks/model-tiny.lock"])
def test_a_fifo_as_a_lock_is_worked_around(store: Store, name: str) -> None:
    os.mkfifo(make_parent(store.root, name))
    assert is_present(store, ensure(store, CONTENTS), CONTENTS)

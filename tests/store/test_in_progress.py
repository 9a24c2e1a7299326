"""What a server says about a file that a process of its machine is fetching, whatever lies in the cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelfetch.store import Store
from modelfetch.store.in_progress import InProgress, in_progress
from modelfetch.store.instance import instance_of, is_instance
from tests.engine.fakes import body, sha256, spec
from tests.patience import IN_TIME

CONTENT = body(3 << 20)
SHA256 = sha256(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, fsync=False)


def test_a_file_that_nobody_fetches_is_not_in_progress(store: Store) -> None:
    assert in_progress(store.root, SHA256) is None


def test_the_progress_of_a_file_is_that_of_its_blocks(store: Store) -> None:
    lock = store.lock_blob(SHA256)
    assert lock.try_acquire()
    found = in_progress(store.root, SHA256)
    assert found is not None
    assert found[:2] == (0, 0)
    assert 0 <= (found.begun or 0.0) < IN_TIME
    with store.partial(spec("a", CONTENT), True) as partial:
        partial.put(0, CONTENT[: 1 << 20], "mirror a.example")
        found = in_progress(store.root, SHA256)
        assert found is not None
        assert found.size == len(CONTENT)
        assert 1 << 20 <= found.received <= 2 << 20
        partial.put(1 << 20, CONTENT[1 << 20 :], "mirror a.example")
        found = in_progress(store.root, SHA256)
        assert found is not None
        assert found[:2] == (len(CONTENT), len(CONTENT))
    lock.release()
    assert in_progress(store.root, SHA256) is None


def test_a_process_that_asks_others_has_not_begun(store: Store) -> None:
    lock = store.lock_blob(SHA256)
    lock.is_asking = True
    assert lock.try_acquire()
    assert in_progress(store.root, SHA256) == InProgress(0, 0, None)
    for is_begun in (True, False, False, True, True):
        lock.note_begun(is_begun)
        found = in_progress(store.root, SHA256)
        assert found is not None
        assert (found.begun is not None) == is_begun


@pytest.mark.parametrize("note", ["", "[]", "{", "[" * 5000, '{"asking": 1}', "\x00", '{"asking": "true"}'])
def test_a_note_that_says_nothing_is_that_of_a_process_that_has_begun(note: str, store: Store) -> None:
    lock = store.lock_blob(SHA256)
    assert lock.try_acquire()
    (store.root / "locks" / f"blob-{SHA256}.lock.holder").write_text(note)
    found = in_progress(store.root, SHA256)
    assert found is not None
    assert found.begun is not None


def test_the_note_of_a_killed_process_is_no_progress(store: Store) -> None:
    lock = store.lock_blob(SHA256)
    assert lock.try_acquire()
    lock.release()
    directory = store.root / "locks"
    (directory / f"blob-{SHA256}.lock").touch()
    (directory / f"blob-{SHA256}.lock.holder").write_text("{}")
    assert in_progress(store.root, SHA256) is None


@pytest.mark.parametrize(
    "name", ["blob-{}.lock", "blob-{}.lock.holder", "../partial/{}", "../partial/{}/data"]
)
@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "file"])
def test_whatever_lies_there_is_no_failure(name: str, kind: str, store: Store, tmp_path: Path) -> None:
    lock = store.lock_blob(SHA256)
    assert lock.try_acquire()
    path = tmp_path / "locks" / name.format(SHA256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    match kind:
        case "link":
            path.symlink_to("/etc/passwd")
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case _:
            path.write_bytes(b"x" * 100)
    found = in_progress(store.root, SHA256)
    assert found is None or 0 <= found.received <= max(found.size, found.received)


@pytest.mark.parametrize("text", ["", "x", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_what_is_no_digest_is_not_in_progress(text: str, store: Store) -> None:
    assert in_progress(store.root, text) is None


# The name of a cache


def test_a_cache_has_one_name_and_another_cache_another(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    (tmp_path / "link").symlink_to(one)
    assert is_instance(instance_of(one))
    assert instance_of(one) == instance_of(tmp_path / "link") == instance_of(one / ".." / "one")
    assert instance_of(one) != instance_of(other)


def test_a_cache_that_does_not_exist_yet_has_a_name(tmp_path: Path) -> None:
    assert is_instance(instance_of(tmp_path / "later"))


@pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "A" * 16, "0" * 16 + "\n", "g" * 16])
def test_other_texts_are_no_names(text: str) -> None:
    assert not is_instance(text)

"""Only verified files of the cache are found."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from modelfetch.errors import StoreError
from modelfetch.model.manifest import Manifest
from modelfetch.share import shared_cache
from modelfetch.share.shared_cache import UNREADABLE_SECONDS, SharedCache
from modelfetch.store import Disk, ReceiptFile, Store
from tests.descriptors import no_descriptors
from tests.patience import HELD, IN_TIME
from tests.store.material import ensure

T = TypeVar("T")

DATA = b"the bytes of a model" * 1000


class Hashes:
    """Counts how many files were hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = SharedCache._digest

        def digest(cache: SharedCache, fd: int, report: Callable[[int], None]) -> str | None:
            self.count += 1
            return real(cache, fd, report)

        monkeypatch.setattr(SharedCache, "_digest", digest)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    return Hashes(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def put(store: Store, data: bytes = DATA, digest: str = "") -> tuple[str, Path]:
    """Write a blob that no receipt lists."""
    digest = digest or hashlib.sha256(data).hexdigest()
    path = store.blob_path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest, path


def read(cache: SharedCache, digest: str) -> bytes | None:
    """Read what is shared under a digest."""
    found = cache.find(digest)
    fd = found.open() if found is not None else None
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read()


def present(store: Store, data: bytes = DATA, path: str = "model.bin") -> tuple[Manifest, str]:
    """Store a model of one file, with a receipt."""
    manifest = ensure(store, {path: data}, "m", "1")
    return manifest, manifest.files[0].sha256


def test_a_blob_that_a_receipt_lists_is_not_read(store: Store, hashes: Hashes) -> None:
    _, digest = present(store)
    assert read(SharedCache(store), digest) == DATA
    assert hashes.count == 0


def test_a_blob_without_a_receipt_is_hashed_once(store: Store, hashes: Hashes) -> None:
    digest, _ = put(store)
    cache = SharedCache(store)
    assert cache.find_known(digest) == (None, len(DATA))
    assert cache.find_without_hashing(digest) is None
    assert [read(cache, digest) for _ in range(3)] == [DATA] * 3
    assert hashes.count == 1
    assert cache.find_known(digest) == (cache.find(digest), None)


def test_who_hashes_reports_how_far_it_is(store: Store) -> None:
    content, reported = bytes((2 << 20) + 5), list[int]()
    digest, _ = put(store, content)
    assert SharedCache(store).find(digest, reported.append) is not None
    assert reported == [1 << 20, 2 << 20, len(content)]


def test_a_wrong_blob_is_hashed_once_and_never_found(store: Store, hashes: Hashes) -> None:
    digest, _ = put(store, b"wrong", hashlib.sha256(DATA).hexdigest())
    cache = SharedCache(store)
    assert [cache.find(digest) for _ in range(3)] == [None] * 3
    assert hashes.count == 1
    assert cache.find_known(digest) == (None, None)


class FailingDisk(Store):
    """A cache whose files can be opened, and cannot be read."""

    fails = True

    def open_to_read(self, path: Path) -> int | None:
        return os.open(path, os.O_WRONLY) if self.fails else super().open_to_read(path)


def test_a_blob_that_the_disk_cannot_read_is_tried_again_after_a_while(
    tmp_path: Path, hashes: Hashes
) -> None:
    """Else each request would have the disk try for seconds."""
    store, now = FailingDisk(tmp_path / "cache"), [0.0]
    digest, _ = put(store)
    cache = SharedCache(store, clock=lambda: now[0])
    assert [cache.find(digest) for _ in range(3)] == [None] * 3
    assert hashes.count == 1
    store.fails = False
    assert cache.find(digest) is None
    now[0] = UNREADABLE_SECONDS
    assert read(cache, digest) == DATA


def test_a_blob_that_changes_is_hashed_again(store: Store, hashes: Hashes) -> None:
    digest, path = put(store)
    cache = SharedCache(store)
    assert read(cache, digest) == DATA
    path.write_bytes(DATA[::-1])
    assert read(cache, digest) is None
    path.write_bytes(DATA)
    assert read(cache, digest) == DATA
    assert hashes.count == 3


def test_a_change_is_seen_when_size_and_modification_time_are_set_back(store: Store) -> None:
    digest, path = put(store)
    cache = SharedCache(store)
    assert read(cache, digest) == DATA
    before = path.stat()
    path.write_bytes(DATA[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(cache, digest) is None


def test_a_blob_that_is_linked_into_a_model_while_it_is_hashed_is_found(store: Store, hashes: Hashes) -> None:
    digest, path = put(store)
    links = iter([path.with_name("link")])

    def link(_: int) -> None:
        for each in links:
            os.link(path, each)

    assert SharedCache(store).find(digest, link) is not None
    assert hashes.count == 2


def test_a_blob_that_is_replaced_while_it_is_hashed_is_found(store: Store) -> None:
    digest, path = put(store)
    copies = iter([path.with_name("copy")])

    def replace(_: int) -> None:
        for each in copies:
            each.write_bytes(DATA)
            each.replace(path)

    found = SharedCache(store).find(digest, replace)
    assert found is not None
    assert found.stamp.inode == path.stat().st_ino


def test_a_blob_that_never_stays_the_same_is_hashed_some_times(store: Store, hashes: Hashes) -> None:
    digest, path = put(store)
    names = map(str, itertools.count())
    found = SharedCache(store).find(digest, lambda _: os.link(path, path.with_name(next(names))))
    assert found is None
    assert hashes.count == shared_cache.ATTEMPTS


def test_a_listed_blob_that_changes_is_hashed_again(store: Store, hashes: Hashes) -> None:
    _, digest = present(store)
    path = store.blob_path(digest)
    path.chmod(0o644)
    path.write_bytes(DATA[::-1])
    assert read(SharedCache(store), digest) is None
    assert hashes.count == 1


def test_a_blob_that_is_replaced_between_look_and_open_is_not_opened(store: Store) -> None:
    digest, path = put(store)
    found = SharedCache(store).find(digest)
    assert found is not None
    path.rename(path.with_name("aside"))
    path.write_bytes(DATA)
    assert found.open() is None


def test_a_blob_that_is_linked_into_a_model_meanwhile_is_opened(store: Store) -> None:
    """A new link changes the change time, but no byte."""
    digest, path = put(store)
    found = SharedCache(store).find(digest)
    assert found is not None
    os.link(path, path.with_name("link"))
    fd = found.open()
    assert fd is not None
    os.close(fd)


def test_without_its_blob_the_file_of_a_model_is_found(store: Store, hashes: Hashes) -> None:
    manifest, digest = present(store)
    store.blob_path(digest).unlink()
    found = SharedCache(store).find(digest)
    assert found is not None
    assert found.path == store.directory(manifest) / "model.bin"
    assert hashes.count == 0


def test_a_model_that_arrives_later_is_found_without_hashing(store: Store, hashes: Hashes) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    cache = SharedCache(store, clock=lambda: 0.0)
    assert cache.find(digest) is None
    present(store)
    assert read(cache, digest) == DATA
    assert hashes.count == 0


class HeldStore(Store):
    """A cache whose receipts are read only as far as a test lets each reading go."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.started = [threading.Event(), threading.Event()]
        self.go = [threading.Event(), threading.Event()]
        self._count = itertools.count()

    def verified(self) -> Iterator[tuple[Path, ReceiptFile]]:
        number = next(self._count)
        if number < len(self.go):
            self.started[number].set()
            assert self.go[number].wait(HELD)
        yield from super().verified()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[HeldStore]:
    store = HeldStore(tmp_path / "cache")
    yield store
    for each in store.go:
        each.set()


def test_nothing_is_missing_while_another_thread_reads_the_receipts_first(held: HeldStore) -> None:
    _, digest = present(held)
    cache = SharedCache(held)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(cache.find_without_hashing, digest)
        assert held.started[0].wait(IN_TIME)
        held.go[1].set()
        assert cache.find_without_hashing(digest) is not None
        held.go[0].set()
        assert first.result(IN_TIME) is not None


def test_what_was_read_is_known_also_while_a_later_thread_reads(held: HeldStore) -> None:
    _, digest = present(held)
    cache = SharedCache(held)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(cache.find, digest)
        assert held.started[0].wait(IN_TIME)
        second = pool.submit(cache.find, digest)
        assert held.started[1].wait(IN_TIME)
        held.go[0].set()
        assert first.result(IN_TIME) is not None
        assert cache.find_without_hashing(digest) is not None
        held.go[1].set()
        assert second.result(IN_TIME) is not None


def test_receipts_are_not_read_for_each_request(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    listings: list[Store] = []

    def verified(store: Store) -> Iterator[tuple[Path, ReceiptFile]]:
        listings.append(store)
        return iter(())

    monkeypatch.setattr(Store, "verified", verified)
    cache = SharedCache(store, clock=lambda: now[0])
    for _ in range(100):
        assert cache.find_without_hashing("0" * 64) is None
    assert len(listings) == 1
    now[0] = shared_cache.RECEIPT_SECONDS
    assert cache.find_without_hashing("0" * 64) is None
    assert len(listings) == 2


@pytest.mark.parametrize(
    "digest",
    ["", "0" * 63, "0" * 65, "A" * 64, "../" + "0" * 61, "0" * 63 + "/", "0" * 63 + "\n", "\u0660" * 64],
)
def test_what_is_no_digest_is_never_looked_up(store: Store, digest: str) -> None:
    cache = SharedCache(store)
    assert cache.find(digest) is None
    assert cache.find_without_hashing(digest) is None
    assert cache.find_known(digest) == (None, None)


def test_a_link_is_not_followed(store: Store, tmp_path: Path) -> None:
    digest, path = put(store)
    (tmp_path / "elsewhere").write_bytes(DATA)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert SharedCache(store).find(digest) is None


def test_a_link_in_place_of_a_directory_is_not_followed(store: Store, tmp_path: Path) -> None:
    digest, path = put(store)
    path.parent.rename(tmp_path / "elsewhere")
    path.parent.symlink_to(tmp_path / "elsewhere")
    assert SharedCache(store).find(digest) is None


@pytest.mark.parametrize("kind", ["fifo", "directory", "socket"])
def test_what_is_no_regular_file_is_not_opened(store: Store, kind: str) -> None:
    digest, path = put(store)
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        os.mknod(path, 0o140600)
    assert SharedCache(store).find(digest) is None


def test_an_unreadable_blob_is_not_found(store: Store) -> None:
    digest, path = put(store)
    path.chmod(0)
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    assert SharedCache(store).find(digest) is None


class BusyDisk(Disk):
    """Fails for a while."""

    error = 0
    operation = ""

    def perform(self, operation: str, path: Path, call: Callable[[], T]) -> T:
        if self.error and operation == self.operation:
            raise OSError(self.error, os.strerror(self.error))
        return super().perform(operation, path, call)


@pytest.mark.parametrize("operation", ["inspect", "list", "open"])
@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE])
def test_what_cannot_be_read_at_the_moment_is_not_said_to_be_missing(
    tmp_path: Path, error: int, operation: str
) -> None:
    store = Store(tmp_path / "cache", disk=(disk := BusyDisk()))
    digest, _ = put(store)
    present(store, b"other")
    cache = SharedCache(store)
    disk.error, disk.operation = error, operation
    with pytest.raises(StoreError):
        cache.find(digest)
    disk.error = 0
    found = cache.find(digest)
    assert found is not None
    disk.error, disk.operation = error, "open"
    with pytest.raises(StoreError):
        found.open()
    disk.error = 0
    assert read(cache, digest) == DATA


@pytest.mark.parametrize("operation", ["inspect", "open"])
def test_what_may_not_be_read_is_as_good_as_missing(tmp_path: Path, operation: str) -> None:
    store = Store(tmp_path / "cache", disk=(disk := BusyDisk()))
    digest, _ = put(store)
    disk.error, disk.operation = errno.EACCES, operation
    assert SharedCache(store).find(digest) is None


def test_partials_and_quarantine_are_not_shared(store: Store) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    for place in (f"partial/{digest}/data", f"quarantine/20261120T060000.000000Z-{digest}/data"):
        path = store.root / place
        path.parent.mkdir(parents=True)
        path.write_bytes(DATA)
    assert SharedCache(store).find(digest) is None


def test_a_forged_receipt_that_names_a_path_outside_is_ignored(store: Store, tmp_path: Path) -> None:
    _, digest = present(store)
    store.blob_path(digest).unlink()
    receipt = store.root / "models" / "m" / "1.json"
    outside = tmp_path / "outside"
    outside.write_bytes(DATA)
    receipt.write_text(receipt.read_text().replace("model.bin", "../../../outside"))
    assert SharedCache(store).find(digest) is None


def test_a_closed_cache_finds_nothing_and_stops_hashing(store: Store) -> None:
    digest, _ = put(store)
    cache = SharedCache(store)
    cache.close()
    assert cache.find(digest) is None
    assert cache._digest(os.open(store.blob_path(digest), os.O_RDONLY), list[int]().append) is None


def test_one_file_is_hashed_at_a_time_and_once_for_many_threads(store: Store, hashes: Hashes) -> None:
    digest, _ = put(store)
    cache = SharedCache(store)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(cache.find(digest))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert None not in found
    assert hashes.count == 1


@pytest.mark.parametrize("is_verified", [True, False])
def test_a_lack_of_descriptors_says_nothing_about_a_file(store: Store, is_verified: bool) -> None:
    digest = present(store)[1] if is_verified else put(store)[0]
    cache = SharedCache(store)
    cache.find_known(digest)  # reads the receipts
    with no_descriptors(), pytest.raises(StoreError):
        cache.find(digest)
    found = cache.find(digest)
    assert found is not None
    with no_descriptors(), pytest.raises(StoreError):
        found.open()
    assert read(cache, digest) == DATA

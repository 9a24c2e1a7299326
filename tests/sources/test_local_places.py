"""Caches and directories of other programs: which of their files are offered, and what is never followed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation, Cancelled
from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import FileSpec
from modelfetch.sources import hf_cache, local_digests, local_directories
from modelfetch.sources.base import Offer
from modelfetch.sources.hf_cache import HuggingFaceCache
from modelfetch.sources.local import MOST_CANDIDATES, Finder, LocalSource, Places, Search
from modelfetch.sources.local_digests import LocalDigests
from modelfetch.sources.local_directories import LocalDirectory
from modelfetch.sources.local_files import LocalOffer
from modelfetch.sources.ollama_cache import OllamaCache
from tests.sources.samples import DATA, SHA256, manifest, read, spec

FILE = spec()
OTHER = bytes(len(DATA))


class Remembered:
    """Known digests in memory, with the paths that were hashed."""

    def __init__(self) -> None:
        self.hashed: list[Path] = []
        self._known: dict[tuple[str, int], str] = {}

    def get(self, path: Path, found: os.stat_result) -> str | None:
        return self._known.get((str(path), found.st_mtime_ns))

    def put(self, path: Path, found: os.stat_result, sha256: str) -> None:
        self.hashed.append(path)
        self._known[str(path), found.st_mtime_ns] = sha256


def put(path: Path, data: bytes = DATA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def exact(*finders: Finder) -> list[Offer]:
    return list(LocalSource(finders).offers(manifest(FILE), FILE))


def searched(root: Path, finder: Finder, remembered: Remembered | None = None) -> list[Offer]:
    digests = LocalDigests(remembered or Remembered(), Cancellation())
    source = LocalSource([], lambda: Places((), [Search(root, finder)], digests))
    return list(source.offers(manifest(FILE), FILE))


# The cache of the Hugging Face libraries


def shared_blob(hub: Path, link: str = "../../blobs/ab/abcdef") -> Path:
    """A repository's blob in the layout of newer clients: a link to a file that is named by another hash."""
    put(hub / "blobs" / "ab" / "abcdef")
    blob = hub / "models--org--repo" / "blobs" / SHA256
    blob.parent.mkdir(parents=True)
    blob.symlink_to(link)
    return blob


def test_a_blob_in_the_shared_store_is_found_through_its_repository(tmp_path: Path) -> None:
    blob = shared_blob(tmp_path / "hub")
    [offer] = exact(HuggingFaceCache(tmp_path / "hub").exact)
    assert (offer.address, read(offer)) == (str(blob), DATA)


def test_the_names_of_the_shared_store_are_no_digests(tmp_path: Path) -> None:
    put(tmp_path / "blobs" / SHA256[:2] / SHA256)
    cache = HuggingFaceCache(tmp_path)
    assert not exact(cache.exact)
    assert not searched(tmp_path, cache.of_size)


@pytest.mark.parametrize("target", ["outside", "loop", "nowhere"])
def test_no_link_leads_out_of_the_cache(tmp_path: Path, target: str) -> None:
    hub = tmp_path / "hub"
    links = {"outside": str(put(tmp_path / "secret")), "loop": SHA256, "nowhere": "../gone"}
    shared_blob(hub, links[target])
    assert not exact(HuggingFaceCache(hub).exact)


def test_an_unfinished_blob_is_not_found(tmp_path: Path) -> None:
    put(tmp_path / "models--o--r" / "blobs" / f"{SHA256}.incomplete")
    put(tmp_path / "models--o--r" / "blobs" / f"{SHA256}.4711.incomplete")
    cache = HuggingFaceCache(tmp_path)
    assert not exact(cache.exact)
    assert not searched(tmp_path, cache.of_size)


def test_a_small_file_of_another_repository_is_found_by_size_and_then_hashed(tmp_path: Path) -> None:
    put(tmp_path / "models--o--r" / "blobs" / ("a" * 40), OTHER)
    put(tmp_path / "models--o--r" / "blobs" / ("b" * 40))
    remembered = Remembered()
    [offer] = searched(tmp_path, HuggingFaceCache(tmp_path).of_size, remembered)
    assert (offer.host, remembered.hashed) == (str(tmp_path), [])
    assert read(offer) == DATA
    assert len(remembered.hashed) <= 2


def test_files_of_a_cache_without_links_are_found_by_size(tmp_path: Path) -> None:
    put(tmp_path / "models--o--r" / "snapshots" / ("c" * 40) / "onnx" / "model.onnx")
    [offer] = searched(tmp_path, HuggingFaceCache(tmp_path).of_size)
    assert read(offer) == DATA


def test_the_listing_is_made_once_and_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = HuggingFaceCache(tmp_path)
    assert not exact(cache.exact)
    put(tmp_path / "models--o--r" / "blobs" / SHA256)
    assert not exact(cache.exact), "listed before"
    monkeypatch.setattr(hf_cache, "MOST_FILES", 0)
    assert not exact(HuggingFaceCache(tmp_path).exact)
    monkeypatch.setattr(hf_cache, "MOST_FILES", 1)
    assert exact(HuggingFaceCache(tmp_path).exact)


# Ollama


@pytest.mark.parametrize("name", [f"sha256-{SHA256}", f"sha256:{SHA256}"])
def test_a_layer_of_ollama_is_found_by_its_digest(tmp_path: Path, name: str) -> None:
    put(tmp_path / "blobs" / name)
    [offer] = exact(OllamaCache([tmp_path / "missing", tmp_path]).exact)
    assert read(offer) == DATA


def test_an_unfinished_layer_is_not_found(tmp_path: Path) -> None:
    put(tmp_path / "blobs" / f"sha256-{SHA256}-partial")
    put(tmp_path / "blobs" / f"sha256-{SHA256}-partial-0")
    assert not exact(OllamaCache([tmp_path]).exact)


def test_no_link_leads_out_of_ollamas_directory(tmp_path: Path) -> None:
    blobs = tmp_path / "models" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"sha256-{SHA256}").symlink_to(put(tmp_path / "elsewhere"))
    assert not exact(OllamaCache([tmp_path / "models"]).exact)


# Directories of the settings


def test_a_file_of_a_directory_is_found_by_size_and_hashed_once(tmp_path: Path) -> None:
    put(tmp_path / "a" / "other.bin", OTHER)
    path = put(tmp_path / "b" / "c" / "other name.gguf")
    remembered = Remembered()
    [offer] = searched(tmp_path, LocalDirectory(tmp_path).of_size, remembered)
    assert read(offer) == DATA
    assert remembered.hashed == [tmp_path / "a" / "other.bin", path]
    [known] = searched(tmp_path, LocalDirectory(tmp_path).of_size, remembered)
    assert (known.address, read(known)) == (str(path), DATA)
    assert len(remembered.hashed) == 2, "neither file is hashed again"


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path, remembered = put(tmp_path / "x", OTHER), Remembered()
    [offer] = searched(tmp_path, LocalDirectory(tmp_path).of_size, remembered)
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert (caught.value.fault, caught.value.retry) == (Fault.NOT_FOUND, False)
    assert "other bytes" in caught.value.message
    assert not searched(tmp_path, LocalDirectory(tmp_path).of_size, remembered)
    put(path)
    os.utime(path, ns=(1, 1))
    [offer] = searched(tmp_path, LocalDirectory(tmp_path).of_size, remembered)
    assert read(offer) == DATA


def test_likely_names_are_hashed_first(tmp_path: Path) -> None:
    put(tmp_path / "a", OTHER)
    put(tmp_path / "model.onnx", OTHER)
    put(tmp_path / "z" / f"sha256-{SHA256}")
    remembered = Remembered()
    [offer] = searched(tmp_path, LocalDirectory(tmp_path).of_size, remembered)
    assert read(offer) == DATA
    assert remembered.hashed == [tmp_path / "z" / f"sha256-{SHA256}"]
    paths = list(LocalDirectory(tmp_path).of_size(manifest(FILE), FILE))
    assert [path.name for path in paths[1:]] == ["model.onnx", "a"]


def test_links_and_unfinished_files_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root / "model.part")
    put(root / "model.downloadInProgress")
    (root / "link").symlink_to(put(tmp_path / "secret"))
    (root / "up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    assert not searched(root, LocalDirectory(root).of_size)


def test_our_own_cache_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "cache" / "partial" / SHA256 / "data")
    directories = LocalDirectory(tmp_path, skipped=tmp_path / "cache")
    assert not searched(tmp_path, directories.of_size)


def test_a_listing_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        put(tmp_path / str(number), b"x")
    notices: list[str] = []
    monkeypatch.setattr(local_directories, "MOST_FILES", 3)
    directories = LocalDirectory(tmp_path, notices.append)
    small = FileSpec("x", 1, SHA256)
    assert len(list(directories.of_size(manifest(small), small))) == 3
    assert len(list(directories.of_size(manifest(small), small))) == 3
    assert notices == [f"sources.local: {tmp_path} is too large to be searched whole"]


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "no such file or directory"), ("file", "not a directory")]
)
def test_a_directory_that_cannot_be_listed_is_reported_once(tmp_path: Path, name: str, reason: str) -> None:
    put(tmp_path / "file")
    notices: list[str] = []
    directory = LocalDirectory(tmp_path / name, notices.append)
    assert not searched(tmp_path, directory.of_size)
    assert not searched(tmp_path, directory.of_size)
    assert notices == [f"sources.local: {tmp_path / name} is not searched: {reason}"]


def test_a_slow_listing_ends(tmp_path: Path) -> None:
    put(tmp_path / "x")
    times = iter([0.0, 1e6])
    assert not searched(tmp_path, LocalDirectory(tmp_path, clock=lambda: next(times)).of_size)


def test_a_deep_tree_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a" / "b" / "c" / "x")
    monkeypatch.setattr(local_directories, "MOST_DEPTH", 2)
    assert not searched(tmp_path, LocalDirectory(tmp_path).of_size)


# Hashing


def test_small_files_of_the_same_size_are_ruled_out_before_they_are_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "a", OTHER)
    [offer] = searched(tmp_path, LocalDirectory(tmp_path).of_size)
    assert isinstance(offer, LocalOffer)
    assert offer.is_ruled_out()
    put(tmp_path / "b")
    [offer] = searched(tmp_path, LocalDirectory(tmp_path).of_size)
    assert isinstance(offer, LocalOffer)
    assert not offer.is_ruled_out()


def test_large_files_are_hashed_only_when_they_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_digests, "RULED_OUT_AT_ONCE", len(DATA) - 1)
    put(tmp_path / "a", OTHER)
    remembered = Remembered()
    [offer] = searched(tmp_path, LocalDirectory(tmp_path).of_size, remembered)
    assert isinstance(offer, LocalOffer)
    assert not offer.is_ruled_out()
    assert remembered.hashed == []


def test_few_files_of_one_size_are_hashed_for_one_file(tmp_path: Path) -> None:
    for number in range(MOST_CANDIDATES + 5):
        put(tmp_path / f"{number:03}", OTHER[:-3] + f"{number:03}".encode())
    remembered = Remembered()
    [offer] = searched(tmp_path, LocalDirectory(tmp_path).of_size, remembered)
    with pytest.raises(SourceError, match=f"each of the {MOST_CANDIDATES} files"):
        offer.open(0)
    assert len(remembered.hashed) == MOST_CANDIDATES
    [offer] = searched(tmp_path, LocalDirectory(tmp_path).of_size, remembered)
    with pytest.raises(SourceError, match="each of the 5 files"):
        offer.open(0)


def test_a_cancelled_run_stops_hashing(tmp_path: Path) -> None:
    put(tmp_path / "x")
    cancel = Cancellation()
    digests = LocalDigests(Remembered(), cancel)
    finder = LocalDirectory(tmp_path).of_size
    [offer] = LocalSource([], lambda: Places((), [Search(tmp_path, finder)], digests)).offers(
        manifest(FILE), FILE
    )
    cancel.cancel()
    with pytest.raises(Cancelled):
        offer.open(0)


def test_a_file_that_went_away_has_no_digest(tmp_path: Path) -> None:
    digests = LocalDigests(Remembered(), Cancellation())
    assert digests.compute(tmp_path / "missing") is None
    os.mkfifo(tmp_path / "pipe")
    assert digests.compute(tmp_path / "pipe") is None


def test_reading_continues_at_an_offset(tmp_path: Path) -> None:
    put(tmp_path / "x")
    [offer] = searched(tmp_path, LocalDirectory(tmp_path).of_size)
    with closing(offer.open(5, 9)) as stream:
        assert (stream.start, b"".join(stream)) == (5, DATA[5:9])


def test_an_empty_file_is_not_searched_for(tmp_path: Path) -> None:
    put(tmp_path / "x", b"")
    empty = FileSpec("x", 0, hashlib.sha256().hexdigest())

    def find(_manifest: object, _file: FileSpec) -> Iterator[Path]:
        yield tmp_path / "x"

    digests = LocalDigests(Remembered(), Cancellation())
    source = LocalSource([], lambda: Places((), [Search(tmp_path, find)], digests))
    assert not source.offers(manifest(empty), empty)

"""Files on this disk: which are offered, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
from modelfetch.sources.hf_cache import HuggingFaceCache
from modelfetch.sources.local import Finder, LocalSource
from modelfetch.sources.local_files import READ_SIZE
from tests.sources.samples import DATA, REVISION, SHA256, manifest, read, spec

REPO = HuggingFaceRepo("org/repo", REVISION)


def finding(*paths: Path) -> Finder:
    def find(_manifest: Manifest, _file: FileSpec) -> Iterator[Path]:
        yield from paths

    return find


def put(path: Path, data: bytes = DATA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# What is offered


def test_a_file_of_the_right_size_is_offered(tmp_path: Path) -> None:
    path = put(tmp_path / "elsewhere" / "model.bin")
    file = spec()
    [offer] = LocalSource([finding(path)]).offers(manifest(file), file)
    assert (offer.kind, offer.host) == ("local", str(path.parent))
    assert read(offer) == DATA


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x"], ids=["empty", "shorter", "longer"])
def test_another_size_is_not_offered(tmp_path: Path, data: bytes) -> None:
    file = spec()
    assert not LocalSource([finding(put(tmp_path / "x", data))]).offers(manifest(file), file)


def test_what_is_no_file_is_not_offered(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    odd = [tmp_path, tmp_path / "missing", tmp_path / "fifo", tmp_path / "dangling", tmp_path / "loop"]
    odd += [put(tmp_path / "file") / "below a file", tmp_path / ("x" * 5000)]
    file = spec()
    assert not LocalSource([finding(*odd)]).offers(manifest(file), file)


def test_each_inode_is_offered_once(tmp_path: Path) -> None:
    first = put(tmp_path / "a" / "x")
    (tmp_path / "b").mkdir()
    os.link(first, tmp_path / "b" / "x")
    (tmp_path / "link").symlink_to(first)
    copy = put(tmp_path / "c" / "x")
    file = spec()
    source = LocalSource([finding(first, tmp_path / "b" / "x"), finding(tmp_path / "link", copy)])
    offers = source.offers(manifest(file), file)
    assert [offer.host for offer in offers] == [str(tmp_path / "a"), str(tmp_path / "c")]


def test_nothing_found_nothing_offered() -> None:
    file = spec()
    assert not LocalSource([]).offers(manifest(file), file)


# The cache of the Hugging Face libraries


@pytest.mark.parametrize(
    ("repo", "folder"),
    [
        (REPO, "models--org--repo"),
        (HuggingFaceRepo("gpt2", REVISION), "models--gpt2"),
        (HuggingFaceRepo("org/repo", REVISION, "dataset"), "datasets--org--repo"),
        (HuggingFaceRepo("org/repo", REVISION, "space"), "spaces--org--repo"),
    ],
)
def test_a_blob_is_found_by_its_digest(tmp_path: Path, repo: HuggingFaceRepo, folder: str) -> None:
    blob = put(tmp_path / folder / "blobs" / SHA256)
    file = spec()
    [offer] = LocalSource([HuggingFaceCache(tmp_path).exact]).offers(manifest(file, huggingface=repo), file)
    assert offer.host == str(blob.parent)
    assert read(offer) == DATA


@pytest.mark.parametrize("name", [None, "their/name.bin"])
def test_a_small_file_is_found_at_the_pinned_revision(tmp_path: Path, name: str | None) -> None:
    """Its blob is named by a Git hash; the snapshot contains a symbolic link to it."""
    folder = tmp_path / "models--org--repo"
    blob = put(folder / "blobs" / ("a" * 40))
    file = spec(huggingface_path=name)
    snapshot = folder / "snapshots" / REVISION / (name or file.path)
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(os.path.relpath(blob, snapshot.parent))
    [offer] = LocalSource([HuggingFaceCache(tmp_path).exact]).offers(manifest(file, huggingface=REPO), file)
    assert read(offer) == DATA


def test_a_blob_and_its_snapshot_are_one_offer(tmp_path: Path) -> None:
    folder = tmp_path / "models--org--repo"
    blob = put(folder / "blobs" / SHA256)
    file = spec()
    snapshot = folder / "snapshots" / REVISION / file.path
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(blob)
    offers = LocalSource([HuggingFaceCache(tmp_path).exact]).offers(manifest(file, huggingface=REPO), file)
    assert len(offers) == 1


@pytest.mark.parametrize("revision", ["f" * 40, "main"])
def test_another_revision_is_not_looked_at(tmp_path: Path, revision: str) -> None:
    file = spec()
    put(tmp_path / "models--org--repo" / "snapshots" / revision / file.path)
    finder = HuggingFaceCache(tmp_path).exact
    assert not LocalSource([finder]).offers(manifest(file, huggingface=REPO), file)


def test_a_blob_of_any_repository_is_found_by_its_digest(tmp_path: Path) -> None:
    file = spec()
    put(tmp_path / "datasets--other--name" / "blobs" / SHA256)
    [offer] = LocalSource([HuggingFaceCache(tmp_path).exact]).offers(manifest(file), file)
    assert read(offer) == DATA


# Reading


@pytest.mark.parametrize("offset", [0, 1, len(DATA) - 1, len(DATA)])
def test_reading_starts_at_the_requested_offset(tmp_path: Path, offset: int) -> None:
    file = spec()
    [offer] = LocalSource([finding(put(tmp_path / "x"))]).offers(manifest(file), file)
    stream = offer.open(offset)
    assert stream.start == offset
    assert b"".join(stream) == DATA[offset:]
    stream.close()


def test_a_large_file_comes_in_bounded_pieces(tmp_path: Path) -> None:
    big = FileSpec("x", 2 * READ_SIZE + 1, SHA256)
    [offer] = LocalSource([finding(put(tmp_path / "x", bytes(big.size)))]).offers(manifest(big), big)
    stream = offer.open(0)
    sizes = [len(piece) for piece in stream]
    stream.close()
    assert sum(sizes) == big.size
    assert max(sizes) <= READ_SIZE


def test_a_file_that_went_away_is_not_found(tmp_path: Path) -> None:
    file = spec()
    path = put(tmp_path / "x")
    [offer] = LocalSource([finding(path)]).offers(manifest(file), file)
    path.unlink()
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert caught.value.fault is Fault.NOT_FOUND
    assert not caught.value.retry
    assert "no such file" in caught.value.message


def test_a_file_that_became_a_directory_fails_in_words(tmp_path: Path) -> None:
    file = spec()
    path = put(tmp_path / "x")
    [offer] = LocalSource([finding(path)]).offers(manifest(file), file)
    path.unlink()
    path.mkdir()
    with pytest.raises(SourceError) as caught:
        read(offer)
    assert caught.value.fault is Fault.NOT_FOUND


def test_the_file_is_closed(tmp_path: Path) -> None:
    """An open file would be a ResourceWarning, hence an error, when it is collected."""
    file = spec()
    [offer] = LocalSource([finding(put(tmp_path / "x"))]).offers(manifest(file), file)
    stream = offer.open(0)
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        list(stream)

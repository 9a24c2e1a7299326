"""Directories on this disk: which files are listed, and what is left out with a notice."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from modelfetch.errors import StoreError, UnknownModelError, UsageError
from modelfetch.model.manifest import FileSpec
from modelfetch.model.reference import DiskReference
from modelfetch.pins.digests import StoreDigests
from modelfetch.store import Store
from modelfetch.upstreams import disk as module
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.disk import LocalDisk

posix_only = pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "My-Model"
    fill(root, {"config.json": b"{}", "onnx/model.onnx": b"weights"})
    return root


def fill(root: Path, contents: dict[str, bytes]) -> None:
    for path, content in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def resolve(path: Path | str) -> Listing:
    return LocalDisk().resolve(DiskReference(str(path)))


def paths(listing: Listing) -> list[str]:
    return [file.path for file in listing.files]


def read(file: UpstreamFile) -> bytes:
    with LocalDisk().open(file) as pieces:
        return b"".join(pieces)


def test_a_directory_is_listed_with_all_below_it(root: Path) -> None:
    listing = resolve(root)
    assert paths(listing) == ["config.json", "onnx/model.onnx"]
    assert [file.size for file in listing.files] == [2, 7]
    assert [read(file) for file in listing.files] == [b"{}", b"weights"]
    assert (listing.name, listing.stated_by, listing.notices) == ("My-Model", "computed", ())
    assert listing.reference == DiskReference(str(root))


def test_a_file_is_listed_alone(root: Path) -> None:
    listing = resolve(root / "onnx/model.onnx")
    assert paths(listing) == ["model.onnx"]
    assert listing.name == "model"


def test_a_relative_path_becomes_absolute(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "onnx")
    assert resolve(".").reference == DiskReference(str(root / "onnx"))
    assert resolve("..").reference == DiskReference(str(root))
    assert resolve("..").name == "My-Model"


def test_the_home_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root.parent))
    monkeypatch.setenv("USERPROFILE", str(root.parent))
    assert resolve("~/My-Model").reference == DiskReference(str(root))


def test_its_bytes_become_blobs(root: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    digests = [StoreDigests(store).compute(LocalDisk(), file) for file in resolve(root).files]
    assert digests[1].sha256 == hashlib.sha256(b"weights").hexdigest()
    assert store.find_blob(FileSpec("model.onnx", 7, digests[1].sha256)) is not None


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (".git/config", "hidden files and directories: '.git'"),
        (".DS_Store", "hidden files and directories: '.DS_Store'"),
        ("model.gguf.part", "unfinished downloads: 'model.gguf.part'"),
        ("a.incomplete", "unfinished downloads"),
        ("model.CRDOWNLOAD", "unfinished downloads"),
        ("model.gguf.downloadInProgress", "unfinished downloads"),
    ],
)
def test_what_is_left_out_is_reported(root: Path, path: str, words: str) -> None:
    fill(root, {path: b"x"})
    listing = resolve(root)
    assert paths(listing) == ["config.json", "onnx/model.onnx"]
    [notice] = listing.notices
    assert notice.startswith(f"left out {words}")


def test_many_are_counted_and_a_few_are_named(root: Path) -> None:
    fill(root, {f"{n}.part": b"x" for n in range(9)})
    [notice] = resolve(root).notices
    assert notice == "left out unfinished downloads: '0.part', '1.part', '2.part' and 6 more"


def test_a_hidden_directory_can_be_named_itself(tmp_path: Path) -> None:
    fill(tmp_path / ".models", {"a.bin": b"a"})
    assert paths(resolve(tmp_path / ".models")) == ["a.bin"]


@posix_only
def test_links_inside_are_followed_and_others_are_not(root: Path, tmp_path: Path) -> None:
    fill(tmp_path, {"outside.bin": b"secret"})
    (root / "same.json").symlink_to("config.json")
    (root / "out.bin").symlink_to(tmp_path / "outside.bin")
    (root / "circle").symlink_to(root)
    (root / "dangling").symlink_to("nothing")
    (root / "loop").symlink_to("loop")
    listing = resolve(root)
    assert paths(listing) == ["config.json", "onnx/model.onnx", "same.json"]
    assert read(listing.files[2]) == b"{}"
    assert listing.notices[0].startswith("left out links that lead out of the directory")


@posix_only
def test_the_directory_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    listing = resolve(tmp_path / "link")
    assert paths(listing) == ["config.json", "onnx/model.onnx"]
    assert listing.name == "link"


@posix_only
def test_special_files_are_left_out(root: Path) -> None:
    os.mkfifo(root / "fifo")
    assert resolve(root).notices == ("left out special files: 'fifo'",)


@posix_only
def test_a_file_that_became_a_fifo_or_a_link_is_not_read(root: Path, tmp_path: Path) -> None:
    first, second = resolve(root).files
    (root / "config.json").unlink()
    os.mkfifo(root / "config.json")
    with pytest.raises(Exception, match="no longer a regular file"):
        read(first)
    (root / "onnx/model.onnx").unlink()
    (root / "onnx/model.onnx").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="cannot read"):
        read(second)


def test_a_git_checkout_without_lfs_is_refused(root: Path) -> None:
    fill(root, {"a.bin": b"version https://git-lfs.github.com/spec/v1\noid sha256:...\n"})
    with pytest.raises(UsageError, match="is a Git LFS pointer") as caught:
        read(resolve(root).files[0])
    assert "git lfs pull" in caught.value.hint


@posix_only
@pytest.mark.parametrize(
    ("mode", "content", "expected"),
    [
        (0o755, b"#!/bin/sh\n", True),
        (0o755, b"\x7fELF....", True),
        (0o755, b"weights", False),
        (0o644, b"#!/bin/sh\n", False),
    ],
)
def test_programs_keep_their_execute_bits(root: Path, mode: int, content: bytes, expected: bool) -> None:
    fill(root, {"run": content})
    (root / "run").chmod(mode)
    assert resolve(root).files[-1].executable is expected


@posix_only
@pytest.mark.parametrize("name", ["a b.bin", "NUL", "a\nb", b"\xff.bin".decode(errors="surrogateescape")])
def test_unsafe_names_are_listed_as_they_are(root: Path, name: str) -> None:
    """The pin refuses them by name, and they can be excluded."""
    fill(root, {name: b"x"})
    assert name in paths(resolve(root))


@pytest.mark.parametrize("name", ["missing", "My-Model/config.json/x"])
def test_what_does_not_exist(root: Path, name: str) -> None:
    with pytest.raises(UnknownModelError, match="does not exist"):
        resolve(root.parent / name)


def test_an_empty_directory(tmp_path: Path) -> None:
    fill(tmp_path, {".hidden": b"", "a.part": b""})
    with pytest.raises(UsageError, match="no files that can be pinned") as caught:
        resolve(tmp_path)
    assert "hidden files" in caught.value.hint


@posix_only
def test_neither_a_directory_nor_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="neither"):
        resolve(tmp_path / "fifo")


def test_too_many_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 1)
    with pytest.raises(UsageError, match="more than 1 files"):
        resolve(root)


def test_too_deep(tmp_path: Path) -> None:
    fill(tmp_path, {"d/" * 40 + "a.bin": b"a"})
    with pytest.raises(UsageError, match="directories deep"):
        resolve(tmp_path)


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_read(root: Path) -> None:
    (root / "onnx").chmod(0)
    try:
        with pytest.raises(StoreError, match="permission denied"):
            resolve(root)
    finally:
        (root / "onnx").chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="names of bytes")
@pytest.mark.parametrize("name", [b"bad\xff", b"new\nline", b"esc\x1b[31m", "\u202e".encode()])
def test_a_path_that_no_manifest_can_hold_is_refused(tmp_path: Path, name: bytes) -> None:
    directory = tmp_path / os.fsdecode(name)
    directory.mkdir()
    (directory / "model.bin").write_bytes(b"x")
    for path in (directory, directory / "model.bin"):
        with pytest.raises(UsageError, match="control or invisible character"):
            LocalDisk().resolve(DiskReference(str(path)))

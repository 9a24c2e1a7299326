"""Modes of a shared cache follow the umask, and new files inherit the directory's group."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.model.manifest import Manifest
from modelfetch.store import Disk, Store
from modelfetch.store.layout import Layout
from tests.store.disks import without_links
from tests.store.material import ensure, model, noise, obtain, spec

CONTENTS = {"onnx/model.onnx": noise(5000)}
MANIFEST = model(CONTENTS)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX modes")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize(
    ("mask", "file", "directory", "written"),
    [(0o022, 0o444, 0o755, 0o644), (0o002, 0o444, 0o775, 0o664), (0o077, 0o400, 0o700, 0o600)],
    ids=oct,
)
@pytest.mark.parametrize("linking", [True, False], ids=["linked", "copied"])
def test_modes_follow_the_umask(
    root: Path,
    umask: Callable[[int], int],
    mask: int,
    file: int,
    directory: int,
    written: int,
    linking: bool,
) -> None:
    umask(mask)
    store = Store(root) if linking else Store(root, disk=without_links())
    ensure(store, CONTENTS)
    for path in root.rglob("*"):
        if path.is_dir():
            assert mode(path) == directory, path
    assert mode(Layout(store.root).blob(MANIFEST.files[0].sha256)) == file
    assert mode(store.directory(MANIFEST) / "onnx" / "model.onnx") == file
    assert mode(root / "models" / "tiny" / "v1.json") == written


def test_an_unfinished_download_follows_it_too(store: Store, umask: Callable[[int], int]) -> None:
    umask(0o027)
    file = spec(noise(100))
    with store.partial(file, True) as partial:
        partial.put(0, noise(100)[:50], "mirror a")
        assert mode(partial.slot.data) == mode(partial.slot.journal) == 0o640


def test_a_setgid_root_hands_its_group_down(root: Path) -> None:
    root.mkdir()
    root.chmod(0o2775)
    ensure(Store(root), CONTENTS)
    for path in root.rglob("*"):
        assert path.stat().st_gid == root.stat().st_gid
        if path.is_dir():
            assert path.stat().st_mode & stat.S_ISGID, path


def test_final_files_are_never_writable_not_even_for_a_moment(root: Path) -> None:
    seen: dict[str, int] = {}

    class WatchingDisk(Disk):
        def rename(self, source: Path, target: Path) -> None:
            seen[str(target.relative_to(root)).partition(os.sep)[0]] = mode(source)
            super().rename(source, target)

    ensure(Store(root, disk=WatchingDisk()), CONTENTS)
    obtain(Store(root, disk=WatchingDisk()), noise(10))
    assert seen["blobs"] & 0o222 == 0


@pytest.mark.parametrize(
    ("mask", "expected"), [(0o022, 0o555), (0o027, 0o550), (0o077, 0o500)], ids=["022", "027", "077"]
)
@pytest.mark.parametrize("linking", [True, False], ids=["linked", "copied"])
def test_an_executable_file_is_a_copy_with_the_execute_bits(
    root: Path, umask: Callable[[int], int], mask: int, expected: int, linking: bool
) -> None:
    umask(mask)
    content = noise(5000)
    store = Store(root) if linking else Store(root, disk=without_links())
    blob = obtain(store, content).path
    tool = replace(spec(content, "bin/tool"), executable=True)
    plain = spec(content, "data")
    manifest = Manifest("tiny", "v1", (tool, plain))
    for file in manifest.files:
        assert store.place(manifest, file).path.read_bytes() == content
    directory = store.directory(manifest)
    assert mode(directory / "bin/tool") == expected
    assert mode(directory / "data") == mode(blob) == expected & 0o444
    assert not (directory / "bin/tool").samefile(blob)
    assert store.has_mode(manifest, tool)


def test_a_link_is_replaced_when_its_file_becomes_executable(store: Store) -> None:
    content = noise(5000)
    blob = obtain(store, content).path
    file = spec(content, "tool")
    store.place(Manifest("tiny", "v1", (file,)), file)
    tool = replace(file, executable=True)
    manifest = Manifest("tiny", "v1", (tool,))
    assert not store.has_mode(manifest, tool)
    assert store.place(manifest, tool, "cache").quarantined is None
    assert store.has_mode(manifest, tool)
    assert stat.S_IMODE(blob.stat().st_mode) & 0o111 == 0


def test_a_group_places_executable_files_too(store: Store) -> None:
    content = noise(50)
    tool, plain = replace(spec(content, "tool"), executable=True), spec(content, "data")
    manifest = Manifest("tiny", "v1", (tool, plain))
    with store.group() as group:
        staged = group.write([(manifest, tool), (manifest, plain)], content)
        assert staged is not None
        assert group.commit([staged]) == [staged]
    directory = store.directory(manifest)
    assert mode(directory / "tool") & 0o111
    assert not mode(directory / "data") & 0o111
    assert (directory / "data").samefile(staged.blob)


def test_a_directory_of_another_program_gets_the_execute_bits_too(store: Store, tmp_path: Path) -> None:
    content = noise(50)
    obtain(store, content)
    tool = replace(spec(content, "tool"), executable=True)
    manifest = Manifest("tiny", "v1", (tool,))
    store.guest.place(tmp_path / "theirs", manifest, tool, "tool")
    placed = store.place_into(tmp_path / "ours", manifest, tool)
    assert mode(tmp_path / "theirs" / "tool") & 0o111
    assert mode(placed.path) & 0o111

"""Modes of a shared cache follow the umask, and new files inherit the directory's group."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

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

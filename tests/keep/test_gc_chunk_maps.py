"""A chunk map goes with its blob, and counts as part of the cache."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.keep.gc import clean_up
from modelfetch.keep.policy import DAY
from modelfetch.store import Store
from modelfetch.workspace import Workspace
from tests.keep.test_gc import ALL, NOW, both
from tests.store.material import MIB, digest, ensure, noise, obtain
from tests.store.test_chunk_maps import built_of

LARGE, OTHER = noise(MIB + 5), noise(MIB + 6, seed=2)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    environment = {
        "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
        "MODELFETCH_CACHE_CHUNK_MAPS": "always",
        "HOME": str(tmp_path),
    }
    return Workspace.open(environ=environment, cwd=tmp_path)


def maps(store: Store) -> list[str]:
    return list(store.chunk_maps.entries())


def test_a_map_goes_with_the_last_version_that_uses_its_blob(workspace: Workspace) -> None:
    store = workspace.store
    ensure(store, {"a": LARGE, "b": OTHER})
    ensure(store, {"a": LARGE}, name="two")
    assert {*maps(store)} == {digest(LARGE), digest(OTHER)}
    done = both(workspace, replace(ALL, kept=frozenset({"two"})))
    assert maps(store) == [digest(LARGE)]
    assert any(path.suffix == ".car" for path in done.actions[0].paths)
    both(workspace, ALL)
    assert maps(store) == []


def test_a_map_goes_with_a_blob_that_no_model_uses(workspace: Workspace) -> None:
    obtain(workspace.store, LARGE)
    done = both(workspace, ALL)
    assert [(action.kind, len(action.paths)) for action in done.actions] == [("blob", 2)]
    assert maps(workspace.store) == []


def test_a_map_without_its_blob_goes_after_some_days(workspace: Workspace) -> None:
    store = workspace.store
    for content in (LARGE, OTHER):
        store.chunk_maps.write(digest(content), built_of(content))
    [old] = (store.root / "chunks").rglob(f"{digest(LARGE)}.car")
    now = old.stat().st_mtime
    os.utime(old, (now - 8 * DAY, now - 8 * DAY))
    done = both(workspace, ALL, now)
    assert [(action.kind, action.name) for action in done.actions] == [("blob", digest(LARGE))]
    assert maps(store) == [digest(OTHER)]


def test_the_map_of_a_model_whose_blob_is_gone_stays(workspace: Workspace) -> None:
    """The files of the model are other names of the same bytes."""
    store = workspace.store
    manifest = ensure(store, {"a": LARGE})
    blob = store.find_blob(manifest.files[0])
    assert blob is not None
    blob.unlink()
    assert clean_up(workspace, replace(ALL, unused_for=None), NOW, dry_run=False).actions == []
    assert maps(store) == [digest(LARGE)]
    both(workspace, ALL)
    assert maps(store) == []


def test_the_size_of_the_cache_counts_them(workspace: Workspace) -> None:
    store = workspace.store
    ensure(store, {"a": LARGE})
    [path] = (store.root / "chunks").rglob("*.car")
    allocated = path.stat().st_blocks * 512
    before = store.survey().size
    store.chunk_maps.remove(digest(LARGE))
    assert before - store.survey().size == allocated


def test_a_link_in_place_of_all_maps_hinders_no_cleanup(workspace: Workspace) -> None:
    store = workspace.store
    ensure(store, {"a": LARGE})
    (store.root / "chunks").rename(store.root / "moved")
    (store.root / "chunks").symlink_to("moved")
    store.close()
    both(workspace, ALL)
    assert store.blob_of(digest(LARGE)) is None

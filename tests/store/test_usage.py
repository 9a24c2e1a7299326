"""The space that a cache takes, without a survey."""

from __future__ import annotations

from pathlib import Path

from modelfetch.store import Store
from tests.store.material import ensure, noise, spec


def test_it_is_that_of_a_survey(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    ensure(store, {"a": noise(5000), "b/c/d": noise(70_000)}, name="one")
    ensure(store, {"a": noise(5000)}, name="two")  # which shares a blob
    with store.partial(spec(noise(300_000)), exclusive=True) as partial:
        partial.put(0, noise(300_000)[:200_000], "mirror a")
    assert store.usage() == store.survey().size > 0


def test_an_empty_cache_takes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    assert store.usage() == 0
    assert not store.has_leftovers()


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "large").write_bytes(noise(1_000_000))
    store = Store(tmp_path / "cache")
    ensure(store, {"a": noise(5000)}, name="one")
    before = store.usage()
    (tmp_path / "cache" / "models" / "one" / "link").symlink_to(tmp_path / "elsewhere")
    assert store.usage() - before < 100_000

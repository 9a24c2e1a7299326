"""Directories are kept up to a number of bytes, those of one model together."""

from __future__ import annotations

from modelfetch.share.kept_directories import KeptDirectories


def directories(model: str, size: int = 1000, *more: bytes) -> dict[bytes, bytes]:
    """A root and a directory below it."""
    own = {model.encode(): bytes(size), f"{model}/below".encode(): bytes(size)}
    return {**own, **dict.fromkeys(more, bytes(size))}


def test_those_of_models_that_were_used_longest_ago_are_dropped() -> None:
    kept = KeptDirectories(8000)
    for model in "abc":
        kept.keep(model.encode(), directories(model))
    assert kept.use(b"a")
    kept.keep(b"d", directories("d"))
    assert [kept.use(model.encode()) for model in "abcd"] == [True, False, True, True]
    assert kept.find(b"b") is kept.find(b"b/below") is None
    assert kept.find(b"a/below") == bytes(1000)
    assert kept.size <= 8000


def test_the_latest_model_is_kept_however_large_it_is() -> None:
    kept = KeptDirectories(8000)
    kept.keep(b"a", directories("a"))
    kept.keep(b"b", directories("b", 50_000))
    assert [kept.use(b"a"), kept.use(b"b")] == [False, True]
    assert kept.size > 100_000


def test_a_directory_of_two_models_stays_with_the_other_one() -> None:
    kept = KeptDirectories(7000)
    kept.keep(b"a", directories("a", 1000, b"common"))
    kept.keep(b"b", directories("b", 1000, b"common"))
    assert kept.use(b"a")
    kept.keep(b"c", directories("c"))
    assert [kept.use(model.encode()) for model in "abc"] == [True, False, True]
    assert kept.find(b"common") == bytes(1000)
    for model in "de":
        kept.keep(model.encode(), directories(model))
    assert kept.find(b"common") is None

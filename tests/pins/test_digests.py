"""Digests that nobody states are computed once, and the bytes are kept unless they contradict a statement."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.errors import IntegrityError, UnavailableError
from modelfetch.model.manifest import FileSpec
from modelfetch.model.reference import Reference
from modelfetch.pins.digests import StoreDigests
from modelfetch.store import Store
from modelfetch.store.intake import FileDigest
from modelfetch.upstreams.base import Listing, UpstreamFile

CONTENT = b"some small file\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GIT_BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT, usedforsecurity=False).hexdigest()
FILE = UpstreamFile("config.json", len(CONTENT), None, GIT_BLOB)


class Served:
    """An upstream that delivers the same pieces for every file."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self._pieces = pieces
        self._error = error

    def resolve(self, reference: Reference) -> Listing:
        raise AssertionError("digests are computed of files that are listed already")

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        yield self._yield()

    def _yield(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._error is not None:
            raise self._error


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def is_stored(store: Store) -> bool:
    return store.find_blob(FileSpec("config.json", len(CONTENT), SHA256)) is not None


@pytest.mark.parametrize(
    ("file", "git_blob"),
    [
        (FILE, GIT_BLOB),
        (replace(FILE, git_blob=None, sha256=SHA256), GIT_BLOB),
        (replace(FILE, git_blob=None, size=None), None),
    ],
)
def test_the_bytes_are_hashed_and_kept(store: Store, file: UpstreamFile, git_blob: str | None) -> None:
    seen: list[int] = []
    digests = StoreDigests(store, lambda _, received: seen.append(received))
    found = digests.compute(Served(CONTENT[:5], CONTENT[5:]), file)
    assert found == FileDigest(len(CONTENT), SHA256, git_blob)
    assert seen == [5, len(CONTENT)]
    assert is_stored(store)


def test_a_dry_run_writes_nothing(store: Store) -> None:
    found = StoreDigests(store, keep=False).compute(Served(CONTENT), FILE)
    assert found == FileDigest(len(CONTENT), SHA256, GIT_BLOB)
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("pieces", "file", "words"),
    [
        ((CONTENT[:-1],), FILE, ("15 bytes", "16 bytes")),
        ((CONTENT, b"!"), FILE, ("at least 17 bytes", "16 bytes")),
        ((CONTENT[::-1],), FILE, ("git blob id", GIT_BLOB)),
        ((CONTENT,), replace(FILE, git_blob=None, sha256="0" * 64), (SHA256, "0" * 64)),
    ],
)
@pytest.mark.parametrize("keep", [True, False])
def test_bytes_that_contradict_a_statement_are_dropped(
    store: Store, keep: bool, pieces: tuple[bytes, ...], file: UpstreamFile, words: tuple[str, str]
) -> None:
    with pytest.raises(IntegrityError) as caught:
        StoreDigests(store, keep=keep).compute(Served(*pieces), file)
    assert all(word in caught.value.message for word in ("'config.json'", *words))
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_server_that_sends_without_end_is_left_early(store: Store) -> None:
    upstream = Served(*[CONTENT] * 3, error=AssertionError("was read on"))
    with pytest.raises(IntegrityError):
        StoreDigests(store).compute(upstream, FILE)


def test_a_failed_transfer_leaves_nothing(store: Store) -> None:
    with pytest.raises(UnavailableError):
        StoreDigests(store).compute(Served(CONTENT[:5], error=UnavailableError("cut")), FILE)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []

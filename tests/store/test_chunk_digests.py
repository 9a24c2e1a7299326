"""Chunks are hashed along with the file, as long as that costs no time."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from modelfetch.model.manifest import FileSpec
from modelfetch.store import Hashing, Store
from modelfetch.store.chunk_digests import (
    CHUNK,
    LEAST_BYTES,
    LONGEST_PAUSE,
    MOST_SHARE,
    ChunkHasher,
    HashingShare,
)
from modelfetch.store.journal_format import Checkpoint
from modelfetch.store.prefix import Claim
from tests.store.material import MIB, noise, spec
from tests.store.test_chunk_maps import built_of

CONTENT = noise(5 * MIB + 12_345)
FILE = spec(CONTENT)
BUILT = built_of(CONTENT)


SPENT = 0.001
"""Seconds that each piece takes to be hashed, whatever its size."""


class Clock:
    """The two clocks of a share. That of the thread advances between the readings around a hash."""

    def __init__(self) -> None:
        self.now = 100.0
        self._running = 0.0

    def __call__(self) -> float:
        return self.now

    def cpu(self) -> float:
        self._running += SPENT
        return self._running

    def share(self) -> HashingShare:
        return HashingShare(self, self.cpu)

    def passing(self, seconds: float) -> Callable[[], None]:
        """What lets so many seconds pass with each call."""

        def wait() -> None:
            self.now += seconds

        return wait


def feed(hasher: ChunkHasher, content: bytes, piece: int, pause: Callable[[], None] = lambda: None) -> None:
    for start in range(0, len(content), piece):
        pause()
        hasher.update(content[start : start + piece])


@pytest.mark.quick(2)
@pytest.mark.parametrize("piece", [7, pytest.param(1, marks=pytest.mark.slow), 7 * MIB, MIB, 70_001, MIB + 1])
def test_the_tree_is_that_of_the_file_whatever_the_pieces_are(piece: int) -> None:
    content = CONTENT if piece > 7 else CONTENT[: MIB + 3]
    hasher = ChunkHasher(None)
    feed(hasher, content, piece)
    assert hasher.hexdigest() == sha256(content).hexdigest()
    assert hasher.tree() == built_of(content)


@pytest.mark.parametrize("size", [MIB + 1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1])
def test_sizes_at_the_border_of_a_chunk(size: int) -> None:
    hasher = ChunkHasher(None)
    hasher.update(memoryview(CONTENT)[:size])
    assert hasher.tree() == built_of(CONTENT[:size])


@pytest.mark.slow
def test_a_copy_goes_on_from_where_it_was_made() -> None:
    rng = random.Random(7)
    for _ in range(20):
        hasher, back = ChunkHasher(None), rng.randrange(3 * MIB)
        hasher.update(CONTENT[:back])
        copied = hasher.copy()
        hasher.update(noise(rng.randrange(2 * MIB), seed=2))  # bytes of a false claim
        hasher = copied
        assert hasher.hexdigest() == sha256(CONTENT[:back]).hexdigest()
        feed(hasher, CONTENT[back:], 200_000)
        assert hasher.hexdigest() == FILE.sha256
        assert hasher.tree() == BUILT


def test_chunks_are_given_up_when_hashing_is_the_bottleneck() -> None:
    clock = Clock()
    hasher = ChunkHasher(share := clock.share())
    feed(hasher, CONTENT, MIB, clock.passing(2 * SPENT))
    assert share.is_high
    assert hasher.tree() is None
    assert hasher.hexdigest() == FILE.sha256


@pytest.mark.parametrize(("part", "is_taken"), [(MOST_SHARE * 0.9, True), (MOST_SHARE * 1.1, False)])
def test_the_share_decides(part: float, is_taken: bool) -> None:
    clock = Clock()
    hasher = ChunkHasher(clock.share())
    feed(hasher, CONTENT * 2, MIB // 4, clock.passing(SPENT / part))  # small, as the first has no pause
    assert (hasher.tree() is not None) is is_taken


def test_the_first_bytes_decide_nothing() -> None:
    clock = Clock()
    hasher = ChunkHasher(share := clock.share())
    feed(hasher, CONTENT[: LEAST_BYTES - 1], MIB)
    assert not share.is_high
    assert hasher.tree() is not None


def test_a_network_that_becomes_fast_is_noticed() -> None:
    clock = Clock()
    hasher = ChunkHasher(share := clock.share())
    feed(hasher, CONTENT, MIB, clock.passing(20 * SPENT))
    assert not share.is_high
    feed(hasher, CONTENT * 4, MIB, clock.passing(2 * SPENT))
    assert share.is_high
    assert hasher.tree() is None


def test_the_next_file_begins_without_chunks_while_the_share_is_high() -> None:
    clock = Clock()
    share = clock.share()
    feed(ChunkHasher(share), CONTENT, MIB)
    second = ChunkHasher(share)
    feed(second, CONTENT, MIB)
    assert second.tree() is None
    feed(second, b"x" * 100, 1, clock.passing(0.1))  # of a slow source
    third = ChunkHasher(share)
    third.update(CONTENT)
    assert third.tree() == BUILT


def test_a_long_pause_counts_as_a_short_one() -> None:
    clock = Clock()
    share = clock.share()
    share.note(2 * MOST_SHARE * LONGEST_PAUSE, LEAST_BYTES)
    clock.now += 1000.0
    share.note(0.0, 0)
    assert share.is_high


def test_files_at_the_same_time_add_up() -> None:
    for threads in (1, 2):
        clock = Clock()
        share = clock.share()
        for _ in range(threads):
            share.note(MOST_SHARE * 0.6, LEAST_BYTES)
        clock.now += 1.0
        share.note(0.0, 0)
        assert share.is_high is (threads == 2)


@pytest.mark.parametrize("size", [0, 1, CHUNK])
def test_a_file_of_one_chunk_has_an_ordinary_hash(size: int) -> None:
    assert not isinstance(Hashing(chunk_maps="always").new_hasher(size), ChunkHasher)


def test_without_chunk_maps_nothing_else_is_hashed() -> None:
    assert not isinstance(Hashing(chunk_maps="never").new_hasher(10 * CHUNK), ChunkHasher)


# In a store


@pytest.fixture(params=[0, 2], ids=["hashed by the writer", "hashed by threads"])
def mapping(request: pytest.FixtureRequest, root: Path) -> Store:
    """A store that makes every map."""
    return Store(root, hashing=Hashing(request.param, "always"))


def put(store: Store, file: FileSpec, order: list[tuple[int, int]], *, exclusive: bool = True) -> str:
    with store.partial(file, exclusive) as partial:
        for start, end in order:
            partial.put(start, CONTENT[start:end], "mirror a")
        return store.commit(partial).cid


SIZE = len(CONTENT)
PIECES = [(start, min(start + 70_001, SIZE)) for start in range(0, SIZE, 70_001)]


@pytest.mark.quick(3)
@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_download_gets_its_map(mapping: Store, *, exclusive: bool, backwards: bool) -> None:
    cid = put(mapping, FILE, PIECES[::-1] if backwards else PIECES, exclusive=exclusive)
    table = mapping.chunk_maps.read(FILE.sha256, SIZE)
    assert table is not None
    assert table.root.text == BUILT.root.text == cid
    assert all(table.check(row, CONTENT[row.offset : row.offset + row.size]) for row in table.rows)


def test_a_resumed_download_gets_its_map(mapping: Store) -> None:
    with mapping.partial(FILE, exclusive=True) as partial:
        partial.put(0, CONTENT[: 2 * MIB + 1000], "mirror a")
    with mapping.partial(FILE, exclusive=True) as partial:
        assert partial.received == 2 * MIB + 1000
        partial.put(partial.length, CONTENT[partial.length :], "mirror b")
        assert mapping.commit(partial).cid == BUILT.root.text


def test_bytes_of_a_false_claim_do_not_stay_in_the_map(mapping: Store, root: Path) -> None:
    with mapping.partial(FILE, exclusive=True) as partial:
        for start in range(0, 3 * MIB, 300_000):
            partial.put(start, CONTENT[start : start + 300_000], "mirror a")
    data = root / "partial" / FILE.sha256 / "data"
    with data.open("r+b") as file:
        file.seek(2 * MIB - 5)
        file.write(b"damaged by something else")
    with mapping.partial(FILE, exclusive=True) as partial:
        partial.digest()
        for start, end in list(partial.missing):
            partial.put(start, CONTENT[start:end], "mirror b")
        partial.digest()
        for start, end in list(partial.missing):
            partial.put(start, CONTENT[start:end], "mirror b")
        assert mapping.commit(partial).cid == BUILT.root.text


def test_a_false_claim_that_is_written_anew_rolls_the_chunks_back(mapping: Store) -> None:
    with mapping.partial(FILE, exclusive=True) as partial:
        partial.put(0, CONTENT[: MIB + 500], "mirror a")
        partial.expect(Claim(MIB + 500, 3 * MIB, Checkpoint(3 * MIB, "0" * 64, "mirror a")))
        partial.put(MIB + 500, noise(2 * MIB - 500, seed=3), "mirror a")
        partial.digest()
        assert partial.missing == [(MIB + 500, SIZE)]
        partial.put(MIB + 500, CONTENT[MIB + 500 :], "mirror b")
        assert mapping.commit(partial).cid == BUILT.root.text


def test_a_restarted_download_gets_its_map(mapping: Store) -> None:
    with mapping.partial(FILE, exclusive=True) as partial:
        partial.put(0, noise(SIZE, seed=4), "mirror a")
        partial.digest()
        partial.restart()
        partial.put(0, CONTENT, "mirror b")
        assert mapping.commit(partial).cid == BUILT.root.text


def test_a_quarantined_download_leaves_no_map(mapping: Store) -> None:
    with mapping.partial(FILE, exclusive=True) as partial:
        partial.put(0, noise(SIZE, seed=4), "mirror a")
        mapping.quarantine_partial(partial, actual=partial.digest(), source="mirror a")
        partial.put(0, CONTENT, "mirror b")
        assert mapping.commit(partial).cid == BUILT.root.text
    assert list(mapping.chunk_maps.entries()) == [FILE.sha256]


def test_by_default_a_store_makes_no_map(store: Store) -> None:
    with store.partial(FILE, exclusive=True) as partial:
        partial.put(0, CONTENT, "mirror a")
        assert store.commit(partial).cid == ""
    assert not store.chunk_maps.has(FILE.sha256)


def test_a_map_that_cannot_be_written_costs_nothing_else(mapping: Store, root: Path) -> None:
    root.mkdir()
    (root / "chunks").write_bytes(b"")
    assert put(mapping, FILE, PIECES) == ""
    assert mapping.find_blob(FILE) is not None

"""Bytes may be written in any order and by many threads; bytes behind a gap are kept, too."""

from __future__ import annotations

import errno
import os
import random
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from modelfetch.errors import StoreError
from modelfetch.store import Disk, Hashing, Partial, Store
from modelfetch.store.hashing import Follower
from modelfetch.store.partial_hashing import LAG
from tests.patience import IN_TIME
from tests.store.material import MIB, complete, digest, noise, run_child, spec


@pytest.fixture
def store(hashing_store: Store) -> Store:
    return hashing_store


CONTENT = noise(9 * MIB + 4_321)
FILE = spec(CONTENT)
ORIGIN = "mirror a"

KILLED_AHEAD = """
import os, sys
from pathlib import Path
from modelfetch.store import Store
from tests.store.material import noise, spec

content = noise(9 * 2**20 + 4_321)
partial = Store(Path(sys.argv[1])).partial(spec(content), True)
for offset in range(5 * 2**20, 8 * 2**20, 100_000):
    partial.put(offset, content[offset : min(offset + 100_000, 8 * 2**20)], "mirror a")
os.kill(os.getpid(), 9)
"""


def put(partial: Partial, start: int, end: int, origin: str = ORIGIN, piece: int = 100_000) -> None:
    for offset in range(start, end, piece):
        partial.put(offset, CONTENT[offset : min(offset + piece, end)], origin)


def data(store: Store) -> Path:
    return store.root / "partial" / FILE.sha256 / "data"


def test_bytes_in_any_order_make_the_file(store: Store) -> None:
    cuts = [0, 1, 70_000, 3 * MIB, 3 * MIB + 1, 7 * MIB, FILE.size]
    ranges = list(pairwise(cuts))
    random.Random(5).shuffle(ranges)
    with store.partial(FILE, True) as partial:
        for start, end in ranges:
            put(partial, start, end)
        assert partial.digest() == FILE.sha256
        assert store.commit(partial).path.read_bytes() == CONTENT


def test_many_threads_write_one_file(store: Store) -> None:
    piece = 50_001
    offsets = list(range(0, FILE.size, piece))
    random.Random(6).shuffle(offsets)

    def write(partial: Partial, mine: list[int]) -> None:
        for offset in mine:
            put(partial, offset, min(offset + piece, FILE.size))

    with store.partial(FILE, True) as partial:
        threads = [threading.Thread(target=write, args=(partial, offsets[share::8])) for share in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert partial.digest() == FILE.sha256


def test_a_prefix_ends_at_the_first_gap(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        put(partial, 2 * MIB, 3 * MIB)
        put(partial, 5 * MIB, 6 * MIB)
        assert (partial.length, partial.received) == (0, 2 * MIB)
        assert partial.missing == [(0, 2 * MIB), (3 * MIB, 5 * MIB), (6 * MIB, FILE.size)]
        assert partial.digest() == digest(b"")
        put(partial, 0, 2 * MIB)
        assert partial.length == 3 * MIB
        assert partial.digest() == digest(CONTENT[: 3 * MIB])


@pytest.mark.parametrize("place", [(0, MIB), (MIB // 2, MIB // 2 + 1), (MIB - 1, MIB + 1)])
def test_a_byte_that_is_there_is_never_written_again(store: Store, place: tuple[int, int]) -> None:
    """It may have been hashed already: the file would no longer be what its digest says."""
    with store.partial(FILE, True) as partial:
        put(partial, 0, MIB)
        with pytest.raises(ValueError, match="already"):
            partial.put(place[0], bytes(place[1] - place[0]), ORIGIN)
        assert data(store).read_bytes()[:MIB] == CONTENT[:MIB]


def test_nothing_is_written_after_closing(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        put(partial, 0, MIB)
    with pytest.raises(ValueError, match="closed"):
        partial.put(MIB, b"late", ORIGIN)


def test_what_came_ahead_is_there_in_the_next_run(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        put(partial, 0, MIB)
        put(partial, 3 * MIB, 5 * MIB + 7, "mirror b")
        put(partial, 7 * MIB, FILE.size)
    assert store.held(FILE) == MIB + 2 * MIB + 7 + FILE.size - 7 * MIB
    for _ in range(2):  # and in the one after it
        with store.partial(FILE, True) as partial:
            assert partial.missing == [(MIB, 3 * MIB), (5 * MIB + 7, 7 * MIB)]
            assert partial.origins == {"mirror a", "mirror b"}
    with store.partial(FILE, True) as partial:
        put(partial, MIB, 3 * MIB)
        put(partial, 5 * MIB + 7, 7 * MIB)
        assert partial.digest() == FILE.sha256


@pytest.mark.quick(1)
def test_a_killed_run_keeps_what_came_ahead(store: Store) -> None:
    run_child(KILLED_AHEAD, store.root)
    with store.partial(FILE, True) as partial:
        assert partial.length == 0
        assert 2 * MIB < partial.received <= 3 * MIB


@pytest.mark.quick(1)
@pytest.mark.parametrize("exclusive", [True, False])
def test_a_hole_after_a_power_cut_costs_only_its_own_piece(store: Store, exclusive: bool) -> None:
    with store.partial(FILE, True) as partial:
        put(partial, 0, MIB)
        put(partial, 4 * MIB, 8 * MIB)
    with data(store).open("r+b") as file:
        file.seek(6 * MIB + 5)
        file.write(bytes(64))
    with store.partial(FILE, exclusive) as partial:
        fetched = complete(partial, CONTENT)
    assert FILE.size - 5 * MIB < fetched < FILE.size - 4 * MIB + 100_000


def test_bytes_ahead_are_copied_from_a_file_that_cannot_be_taken_over(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        put(partial, 0, MIB)
        put(partial, 4 * MIB, 6 * MIB)
    with store.partial(FILE, False) as copy:
        assert copy.missing == [(MIB, 4 * MIB), (6 * MIB, FILE.size)]


def test_a_bad_prefix_does_not_cost_what_came_ahead(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        put(partial, 0, 2 * MIB)
        put(partial, 4 * MIB, 6 * MIB)
    with data(store).open("r+b") as file:
        file.write(bytes(64))
    for _ in range(2):  # finding it out changes nothing for the next run
        with store.partial(FILE, True) as partial:
            partial.digest()
            (start, end), *rest = partial.missing
            assert (start, rest) == (0, [(2 * MIB, 4 * MIB), (6 * MIB, FILE.size)])
            assert MIB <= end < MIB + 100_000
    with store.partial(FILE, True) as partial:
        assert complete(partial, CONTENT) < FILE.size - 3 * MIB + 100_000


def test_restarting_forgets_what_came_ahead(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        put(partial, 4 * MIB, 6 * MIB)
        partial.restart()
        assert partial.missing == [(0, FILE.size)]
        put(partial, 0, FILE.size)
        assert partial.digest() == FILE.sha256


def test_bytes_that_cannot_be_read_again_are_no_digest(root: Path) -> None:
    class Unreadable(Disk):
        def read_at(self, fd: int, path: Path, room: memoryview, offset: int) -> bool:
            self._call("read", path, fail)
            return super().read_at(fd, path, room, offset)

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Store(root, disk=Unreadable(), hashing=Hashing(1)).partial(FILE, True) as partial:
        put(partial, MIB, 2 * MIB)
        put(partial, 0, MIB)
        with pytest.raises(StoreError, match="cannot read"):
            partial.digest()
        with pytest.raises(StoreError, match="cannot read"):
            put(partial, 2 * MIB, 3 * MIB)


@pytest.mark.slow
def test_hashing_that_cannot_keep_up_is_no_loss(root: Path) -> None:
    """Bytes that wait to be hashed for too long get their own lines: a killed run finds them again."""

    class Sluggish(Hashing):
        def follow(self, follower: Follower) -> None:
            """Never get to it."""

    content = noise(LAG + 6 * MIB)
    file = spec(content)
    partial = Store(root, hashing=Sluggish(1)).partial(file, False)
    for offset in [MIB, 0, *range(2 * MIB, len(content), MIB)]:
        partial.put(offset, content[offset : offset + MIB], ORIGIN)
    assert Store(root).held(file) >= 5 * MIB


@pytest.mark.slow
def test_threads_that_hash_end_when_there_is_nothing_to_do() -> None:
    class Once:
        def __init__(self) -> None:
            self.done = threading.Event()

        def hash_on(self, buffer: memoryview) -> bool:
            self.done.set()
            return False

    hashing = Hashing(2)
    for _ in range(3):
        once = Once()
        hashing.follow(once)
        assert once.done.wait(IN_TIME)
    for thread in [thread for thread in threading.enumerate() if thread.name == "hashing"]:
        thread.join(IN_TIME)
        assert not thread.is_alive()


KILLED_AFTER_DISCARD = """
import os, sys
from pathlib import Path
from modelfetch.store import Hashing, Store
from tests.store.material import noise, spec

content = noise(9 * 2**20 + 4_321)
hashing = Hashing()
partial = Store(Path(sys.argv[1]), hashing=hashing).partial(spec(content), True)
partial.put(0, content, "mirror a")
partial.digest()
hashing.follow = lambda partial: None  # no thread has hashed anything again yet
partial.discard([(7 * 2**20, 8 * 2**20)])
os.kill(os.getpid(), 9)
"""


@pytest.mark.quick(1)
def test_what_is_not_discarded_survives_a_kill(store: Store) -> None:
    run_child(KILLED_AFTER_DISCARD, store.root)
    with store.partial(FILE, True) as partial:
        assert partial.missing[0] == (7 * MIB, 8 * MIB)
        assert FILE.size - partial.received < 2 * MIB
        for start, end in partial.missing:
            put(partial, start, end)
        assert partial.digest() == FILE.sha256


def test_what_is_not_discarded_survives_the_end_of_a_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what was not hashed again by then."""
    monkeypatch.setattr("modelfetch.store.partial.CLOSE_SECONDS", 0)
    with store.partial(FILE, True) as partial:
        put(partial, 0, FILE.size)
        partial.digest()
        monkeypatch.setattr(Hashing, "follow", lambda _self, _partial: None)
        partial.discard([(7 * MIB, 8 * MIB)])
    with store.partial(FILE, True) as partial:
        assert partial.missing == [(7 * MIB, 8 * MIB)]

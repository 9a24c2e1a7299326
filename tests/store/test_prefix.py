"""Claims of earlier runs are checked while hashing; a false one costs only its own bytes."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from modelfetch.store import Disk, Hashing, Store
from modelfetch.store.hashing import Follower
from modelfetch.store.journal_format import Checkpoint, Journal, Piece
from modelfetch.store.prefix import Claim, claims
from tests.store.material import MIB, complete, digest, noise, spec

CONTENT = noise(6 * MIB + 321)
FILE = spec(CONTENT)


class Sluggish(Hashing):
    """Never gets to it."""

    def follow(self, follower: Follower) -> None:
        """Let it wait."""


class Looking(Disk):
    """Counts the bytes that are read of data files."""

    def __init__(self) -> None:
        super().__init__()
        self.read_bytes = 0

    def read_at(self, fd: int, path: Path, room: memoryview, offset: int) -> bool:
        self.read_bytes += len(room)
        return super().read_at(fd, path, room, offset)


def checkpoint(length: int) -> Checkpoint:
    return Checkpoint(length, digest(CONTENT[:length]), "mirror a")


def piece(start: int, end: int) -> Piece:
    return Piece(start, end, zlib.crc32(CONTENT[start:end]), "mirror b")


def left(root: Path, length: int = 3 * MIB, *, ahead: bool = True) -> Path:
    """Leave an interrupted download with a prefix and, if so wanted, a piece ahead of it; its data file."""
    with Store(root).partial(FILE, True) as partial:
        for offset in range(0, length, MIB // 2):
            partial.put(offset, CONTENT[offset : min(offset + MIB // 2, length)], "mirror a")
        if ahead:
            partial.put(4 * MIB, CONTENT[4 * MIB : 5 * MIB], "mirror b")
    return partial.slot.data


def spoil(data: Path, *positions: int) -> None:
    with data.open("r+b") as file:
        for position in positions:
            file.seek(position)
            file.write(bytes(16))


def test_claims_are_in_order_and_without_overlap() -> None:
    one, two, behind, straddling = checkpoint(10), checkpoint(30), piece(50, 60), piece(20, 40)
    assert list(claims(Journal((one, two), (straddling, behind)))) == [
        Claim(0, 10, one),
        Claim(10, 30, two),
        Claim(30, 40, straddling),
        Claim(50, 60, behind),
    ]


def test_a_download_goes_on_before_its_bytes_are_read_again(root: Path) -> None:
    left(root)
    disk = Looking()
    with Store(root, disk=disk, hashing=Sluggish(1)).partial(FILE, True) as partial:
        assert partial.missing == [(3 * MIB, 4 * MIB), (5 * MIB, FILE.size)]
        partial.put(3 * MIB, CONTENT[3 * MIB : 4 * MIB], "mirror a")
        assert disk.read_bytes == 0
    with Store(root).partial(FILE, True) as partial:
        assert complete(partial, CONTENT) == FILE.size - 5 * MIB


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "positions", [(0,), (2 * MIB,), (3 * MIB - 16,), (0, 2 * MIB), (4 * MIB,), (5 * MIB - 16,)]
)
def test_a_false_claim_costs_its_own_bytes(root: Path, positions: tuple[int, ...]) -> None:
    spoil(left(root), *positions)
    with Store(root).partial(FILE, True) as partial:
        assert complete(partial, CONTENT) == FILE.size - 4 * MIB + len(positions) * MIB


@pytest.mark.slow
def test_a_long_false_stretch_is_found_out_in_few_steps(root: Path) -> None:
    """After a power cut the last seconds may be missing: each MiB would be a request of its own."""
    content = noise(64 * MIB)
    file = spec(content)
    with Store(root).partial(file, True) as partial:
        for offset in range(0, 60 * MIB, MIB):
            partial.put(offset, content[offset : offset + MIB], "mirror a")
    with partial.slot.data.open("r+b") as data:
        data.seek(10 * MIB)
        data.write(bytes(50 * MIB))
    fetched, rounds, found = 0, 0, ""
    with Store(root).partial(file, True) as partial:
        while found != file.sha256:
            found = partial.digest()
            rounds += bool(partial.missing)
            for start, end in partial.missing:
                partial.put(start, content[start:end], "mirror b")
                fetched += end - start
    assert fetched == 54 * MIB
    assert rounds <= 8


def test_what_lies_behind_a_false_claim_and_a_gap_stays(root: Path) -> None:
    spoil(left(root), 2 * MIB)
    with Store(root).partial(FILE, True) as partial:
        partial.digest()
        assert partial.missing == [(2 * MIB, 4 * MIB), (5 * MIB, FILE.size)]


def test_a_piece_that_the_prefix_has_reached_is_checked_as_a_whole(root: Path) -> None:
    with Store(root).partial(FILE, True) as partial:
        partial.put(MIB, CONTENT[MIB : 2 * MIB], "mirror a")  # gets a line as a piece
        partial.put(0, CONTENT[: MIB - 1], "mirror a")
        partial.put(MIB - 1, CONTENT[MIB - 1 : MIB], "mirror b")  # a line of the prefix ends right before it
    with Store(root).partial(FILE, True) as partial:
        assert complete(partial, CONTENT) == FILE.size - 2 * MIB


def test_what_was_believed_is_not_written_down_twice(root: Path) -> None:
    data = left(root, ahead=False)
    journal = data.with_name("journal")
    before = journal.read_bytes()
    for _ in range(2):
        with Store(root).partial(FILE, True) as partial:
            partial.digest()
        assert journal.read_bytes() == before

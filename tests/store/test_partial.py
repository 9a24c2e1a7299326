"""A download keeps its verified bytes, and no others, across runs."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from modelfetch.model.manifest import FileSpec
from modelfetch.store import Disk, Partial, Store
from tests.store.material import MIB, complete, digest, noise, run_child, spec


@pytest.fixture
def store(hashing_store: Store) -> Store:
    return hashing_store


KILLED_WRITER = """
import os, sys
from pathlib import Path
from modelfetch.store import Store
from tests.store.material import noise, spec

content = noise(4 * 2**20 + 12_345)
partial = Store(Path(sys.argv[1])).partial(spec(content), False)
partial.put(partial.length, content[partial.length : 2 * 2**20 + 500_000], "mirror a")
partial.digest()
os.kill(os.getpid(), 9)
"""

CONTENT = noise(4 * MIB + 12_345)
FILE = spec(CONTENT)
HALF = 2 * MIB + 500_000


def begin(store: Store, length: int = HALF, *, exclusive: bool = True, origin: str = "mirror a") -> None:
    """Leave an interrupted download of that many bytes."""
    with store.partial(FILE, exclusive) as partial:
        write(partial, length, origin)


def write(partial: Partial, length: int, origin: str = "mirror a") -> None:
    """Write on up to a length, in pieces that fit no block."""
    partial.digest()  # so that false claims are found out
    while (at := partial.length) < length:
        partial.put(at, CONTENT[at : min(at + 70_001, length)], origin)


def crash(store: Store, length: int = HALF, *, exclusive: bool = True) -> Partial:
    """Leave a download as a killed process does: without the checkpoint that closing makes."""
    partial = store.partial(FILE, exclusive)
    write(partial, length)
    partial.digest()
    return partial


def folder(store: Store) -> Path:
    return store.root / "partial" / FILE.sha256


def resumed(store: Store, *, exclusive: bool = True) -> int:
    with store.partial(FILE, exclusive) as partial:
        assert partial.digest() == digest(CONTENT[: partial.length])
        return partial.length


def test_a_fresh_partial_is_empty(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        assert partial.length == 0
        assert partial.digest() == digest(b"")
        assert partial.origins == frozenset()


def test_the_file_has_its_full_size_from_the_start(store: Store) -> None:
    begin(store, 10)
    assert (folder(store) / "data").stat().st_size == FILE.size


def test_closing_keeps_every_byte(store: Store) -> None:
    begin(store)
    assert resumed(store) == HALF


def test_a_killed_run_loses_less_than_one_checkpoint(store: Store) -> None:
    crash(store)
    assert HALF - MIB - 70_001 < resumed(store) <= HALF


def test_origins_are_remembered(store: Store) -> None:
    begin(store, MIB, origin="mirror a")
    with store.partial(FILE, True) as partial:
        write(partial, HALF, "huggingface huggingface.co")
    with store.partial(FILE, True) as partial:
        assert partial.origins == {"mirror a", "huggingface huggingface.co"}


def test_origins_are_exact_even_without_the_last_checkpoint(store: Store) -> None:
    partial = store.partial(FILE, True)
    partial.put(partial.length, CONTENT[:1000], "mirror a")
    partial.put(partial.length, CONTENT[1000:2000], "mirror b")
    partial.digest()
    with store.partial(FILE, True) as again:
        assert (again.length, again.origins) == (1000, frozenset({"mirror a"}))


def test_bytes_beyond_the_end_are_refused_and_not_written(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        write(partial, FILE.size)
        with pytest.raises(ValueError, match="beyond"):
            partial.put(partial.length, b"x", "mirror a")
        assert partial.digest() == FILE.sha256


def test_memory_views_are_measured_in_bytes(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, memoryview(CONTENT)[:1000], "mirror a")
        assert partial.length == 1000


def test_an_empty_file_is_complete_at_once(store: Store) -> None:
    with store.partial(spec(b""), True) as partial:
        assert store.commit(partial).path.read_bytes() == b""


@pytest.mark.quick(2)
@pytest.mark.parametrize("position", [0, MIB - 1, MIB, 2 * MIB + 5])
def test_holes_after_a_power_cut_cost_only_what_follows_them(store: Store, position: int) -> None:
    begin(store, 3 * MIB)
    with (folder(store) / "data").open("r+b") as file:
        file.seek(position)
        file.write(bytes(64))
    length = resumed(store)
    assert length <= position
    assert length >= position - MIB - 70_001


def test_a_journal_that_claims_unwritten_bytes_is_caught(store: Store) -> None:
    """The journal reached the disk, the data did not."""
    begin(store, 3 * MIB)
    data = folder(store) / "data"
    os.truncate(data, MIB + 100_000)
    length = resumed(store)
    assert 0 < length <= MIB + 100_000
    assert data.stat().st_size == FILE.size


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\0" * 100])
def test_without_a_journal_the_download_begins_again(store: Store, damage: bytes) -> None:
    begin(store)
    (folder(store) / "journal").write_bytes(damage)
    assert resumed(store) == 0


def test_with_the_journal_deleted_the_download_begins_again_and_the_old_bytes_go(store: Store) -> None:
    begin(store)
    (folder(store) / "journal").unlink()
    with store.partial(FILE, True) as partial:
        assert partial.length == 0
        write(partial, 1000)
        assert [path.name for path in folder(store).glob("data*")] == [partial.slot.data.name]


def test_a_torn_last_line_costs_only_its_own_checkpoint(store: Store) -> None:
    begin(store, 3 * MIB)
    journal = folder(store) / "journal"
    journal.write_bytes(journal.read_bytes()[:-5])
    assert 2 * MIB <= resumed(store) < 3 * MIB


def test_a_journal_that_went_bad_in_the_middle_is_mended_by_the_next_run(store: Store) -> None:
    begin(store, 3 * MIB)
    with (folder(store) / "data").open("r+b") as file:
        file.seek(2 * MIB)
        file.write(bytes(64))
    with store.partial(FILE, True) as partial:
        write(partial, FILE.size)
    assert resumed(store) == FILE.size


@pytest.mark.quick(1)
def test_a_run_can_be_interrupted_again_and_again(store: Store) -> None:
    for length in range(900_000, FILE.size, 900_000):
        begin(store, length)
        assert resumed(store) == length
    with store.partial(FILE, True) as partial:
        write(partial, FILE.size)
        assert store.commit(partial).path.read_bytes() == CONTENT


def test_restarting_writes_into_the_same_inode(store: Store) -> None:
    begin(store)
    inode = (folder(store) / "data").stat().st_ino
    with store.partial(FILE, True) as partial:
        partial.restart()
        assert (partial.length, partial.origins, partial.digest()) == (0, frozenset(), digest(b""))
        write(partial, 5000, "mirror b")
    assert (folder(store) / "data").stat().st_ino == inode
    with store.partial(FILE, True) as partial:
        assert (partial.length, partial.origins) == (5000, frozenset({"mirror b"}))


def test_discarding_leaves_nothing(store: Store) -> None:
    with store.partial(FILE, True) as partial:
        write(partial, HALF)
        partial.forget()
    assert not folder(store).exists()


def test_an_alone_run_goes_on_in_the_same_file(store: Store) -> None:
    begin(store)
    inode = (folder(store) / "data").stat().st_ino
    with store.partial(FILE, True) as partial:
        assert partial.length == HALF
        assert partial.slot.data.stat().st_ino == inode
    assert sorted(path.name for path in folder(store).iterdir()) == ["data", "journal"]


def test_without_a_working_lock_the_bytes_are_copied_to_a_file_of_our_own(store: Store) -> None:
    """Its writer may still live, and would go on writing into what we published."""
    crash(store)
    inode = (folder(store) / "data").stat().st_ino
    with store.partial(FILE, False) as partial:
        assert partial.length >= 2 * MIB
        assert partial.slot.data.stat().st_ino != inode
        assert partial.origins == {"mirror a"}
        write(partial, FILE.size, "mirror b")
        assert store.commit(partial).path.read_bytes() == CONTENT
    assert (folder(store) / "data").stat().st_ino == inode


def test_two_writers_without_locks_do_not_disturb_each_other(store: Store) -> None:
    first = crash(store, MIB, exclusive=False)
    second = store.partial(FILE, False)
    write(first, FILE.size)
    write(second, FILE.size)
    assert first.slot.data != second.slot.data
    path = store.commit(first).path
    assert store.commit(second).path == path
    assert path.read_bytes() == CONTENT


def test_a_writer_that_begins_again_while_it_is_copied_from_costs_only_time(root: Path) -> None:
    """Its data is not what its journal says any more; what we hold must still be what we hashed."""

    class MovingDisk(Disk):
        looks = 0

        def read_at(self, fd: int, path: Path, room: memoryview, offset: int) -> bool:
            self.looks += 1
            if self.looks == 1:  # its journal was read, and its bytes are now going to be copied
                path.write_bytes(noise(FILE.size, seed=4))
            return super().read_at(fd, path, room, offset)

    begin(Store(root), 2 * MIB, exclusive=False)
    with Store(root, disk=MovingDisk()).partial(FILE, False) as partial:
        assert partial.length == 0
        complete(partial, CONTENT)


def test_a_published_file_is_out_of_reach_of_a_slow_writer(store: Store) -> None:
    """huggingface/huggingface_hub#4306: bytes were appended to a blob another process had renamed."""
    slow = crash(store, MIB, exclusive=True)
    with store.partial(FILE, False) as partial:
        write(partial, FILE.size)
        path = store.commit(partial).path
    slow.put(slow.length, noise(1000, seed=9), "mirror b")
    slow.close()
    assert path.read_bytes() == CONTENT


@pytest.mark.slow
def test_files_of_dead_writers_are_used_and_removed(store: Store) -> None:
    """A run without locks was killed; its tag says which process that was."""
    for _ in range(2):
        run_child(KILLED_WRITER, store.root)
    dead = {path.name for path in folder(store).glob("data-*")}
    with store.partial(FILE, False) as partial:
        assert partial.length >= 2 * MIB
        if sys.platform == "linux":  # elsewhere nobody can tell
            assert [path.name for path in folder(store).glob("data*")] == [partial.slot.data.name]
            assert len(dead) == 1


def test_the_longest_of_several_is_copied(store: Store) -> None:
    short = crash(store, MIB, exclusive=False)
    long = store.partial(FILE, False)
    write(long, 3 * MIB)
    long.digest()
    assert short.length < long.length
    assert 2 * MIB < resumed(store, exclusive=False) <= 3 * MIB


def test_where_the_longest_lies_the_next_one_is_copied(store: Store) -> None:
    begin(store, MIB + MIB // 2, exclusive=False)
    liar = store.partial(FILE, False)
    write(liar, 3 * MIB)
    liar.slot.data.write_bytes(bytes(FILE.size))
    assert resumed(store, exclusive=False) == MIB + MIB // 2


def test_a_file_with_a_second_name_is_not_taken_over(store: Store, tmp_path: Path) -> None:
    """Whoever made the second name could change our bytes after they were verified."""
    begin(store)
    os.link(folder(store) / "data", tmp_path / "elsewhere")
    with store.partial(FILE, True) as partial:
        assert partial.length == HALF
        write(partial, FILE.size)
        path = store.commit(partial).path
    assert path.stat().st_nlink == 1
    assert not folder(store).exists()


def test_a_newer_format_is_left_alone(store: Store) -> None:
    begin(store)
    data, journal = folder(store) / "data", folder(store) / "journal"
    journal.write_bytes(b"modelfetch-journal 2 who knows\n")
    before = data.stat()
    with store.partial(FILE, True) as partial:
        assert partial.length == 0
        write(partial, FILE.size)
        store.commit(partial)
    assert (data.stat().st_ino, data.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert journal.read_bytes() == b"modelfetch-journal 2 who knows\n"


def test_a_sealed_file_left_by_a_killed_commit_is_used(store: Store) -> None:
    begin(store)
    (folder(store) / "data").chmod(0o444)
    assert resumed(store) == HALF


@pytest.mark.parametrize("calls", [0, 2])
def test_cancelling_while_old_bytes_are_copied_loses_none(store: Store, calls: int) -> None:
    begin(store, 3 * MIB)
    with store.partial(FILE, False, after(calls)) as partial:
        assert partial.length < 3 * MIB
    assert resumed(store) == 3 * MIB


def test_cancelling_while_they_are_copied_does_not_remove_what_they_are_copied_from(
    store: Store, tmp_path: Path
) -> None:
    begin(store, 3 * MIB)
    os.link(folder(store) / "data", tmp_path / "elsewhere")  # so it cannot be taken over
    with store.partial(FILE, True, after(2)) as partial:
        assert partial.length < 3 * MIB
    assert resumed(store) == 3 * MIB


def test_writing_after_a_cancelled_opening_is_still_right(store: Store) -> None:
    begin(store, 3 * MIB)
    with store.partial(FILE, False, lambda: True) as partial:
        assert partial.length == 0
        write(partial, MIB)
    assert resumed(store, exclusive=False) == 3 * MIB


def after(calls: int) -> Callable[[], bool]:
    """Say no a number of times, then yes."""
    numbers = count()
    return lambda: next(numbers) >= calls


def test_a_claim_about_held_bytes_reads_and_writes_nothing(store: Store) -> None:
    assert store.held(FILE) == 0
    assert not store.root.exists()
    begin(store)
    before = sorted((path, path.stat().st_mtime_ns) for path in folder(store).rglob("*"))
    assert store.held(FILE) == HALF
    assert sorted((path, path.stat().st_mtime_ns) for path in folder(store).rglob("*")) == before


def test_a_quarantined_download_begins_again_in_a_new_file(store: Store) -> None:
    wrong = noise(FILE.size, seed=2)
    with store.partial(FILE, True) as partial:
        partial.put(partial.length, wrong, "mirror a")
        kept = store.quarantine_partial(partial, actual=digest(wrong), source="mirror a")
        assert (partial.length, partial.origins) == (0, frozenset())
        write(partial, FILE.size, "mirror b")
        placed = store.commit(partial)
    assert (kept / "data").read_bytes() == wrong
    assert placed.path.read_bytes() == CONTENT
    assert not folder(store).exists()


def test_a_data_file_is_a_plain_private_inode(store: Store) -> None:
    begin(store)
    found = (folder(store) / "data").lstat()
    assert stat.S_ISREG(found.st_mode)
    assert found.st_nlink == 1


@pytest.mark.parametrize("other", [FileSpec("a", 10, FILE.sha256), FileSpec("a", FILE.size * 2, FILE.sha256)])
def test_a_manifest_that_disagrees_about_the_size_starts_afresh(store: Store, other: FileSpec) -> None:
    begin(store)
    with store.partial(other, True) as partial:
        assert partial.length == 0
        partial.put(0, CONTENT[:5], "mirror a")
    assert (folder(store) / "data").stat().st_size == other.size

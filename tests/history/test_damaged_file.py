"""A file in any state: no method fails, good rows are kept, and one line reports the problem."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from modelfetch.history import History
from modelfetch.history.errors import QUEUE_FACTOR, Unavailable, retry_while_locked
from modelfetch.history.schema import VERSION
from tests.engine.fakes import FakeClock
from tests.history.material import NOW, attempt, held_by_another, query, run


def remember(path: Path, rows: int = 200) -> bytes:
    """Write a history and return its bytes."""
    with History(path) as history:
        history.write(runs=[run()], attempts=[attempt(file=f"{n}.bin") for n in range(rows)])
    return path.read_bytes()


def make(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("state.db.corrupt-*"))


def use_everything(history: History) -> None:
    """Call every method, as commands and runs do."""
    history.health(NOW)
    history.runs()
    history.attempts()
    history.events("r1")
    history.jobs()
    history.job_events("j")
    history.write(runs=[run("r2")], attempts=[attempt(run="r2")])
    history.reset()
    history.forget_jobs(["j"])


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "text": lambda good: b"not a database at all\n" * 50,
    "zeros": lambda good: bytes(8192),
    "random": lambda good: random.Random(1).randbytes(8192),
    "first half": lambda good: good[: len(good) // 2],
    "first page": lambda good: good[:4096],
    "half a page": lambda good: good[:2000],
    "without its head": lambda good: good[4096:],
    "head only": lambda good: good[:100] + bytes(len(good) - 100),
    "tail overwritten": lambda good: good[:8192] + random.Random(2).randbytes(len(good) - 8192),
}


@pytest.mark.quick(6)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_read_first", [True, False], ids=["read first", "written first"])
def test_a_damaged_file_is_moved_aside_and_a_new_one_started(
    path: Path, damage: str, *, is_read_first: bool
) -> None:
    bad = DAMAGES[damage](remember(path))
    make(path, bad)
    with History(path) as history:
        if is_read_first:
            assert history.runs() == []
        history.write(runs=[run("r2")], attempts=[attempt(run="r2")])
        [kept] = aside(path)
        assert str(kept) in history.notice
        assert "a new one was started" in history.notice
        assert [row.run for row in history.runs()] == ["r2"]
        assert len(history.attempts()) == 1
    assert kept.read_bytes() == bad
    with History(path) as healthy:
        assert [row.run for row in healthy.runs()] == ["r2"]
        assert healthy.notice == "", "it is said once"


def test_an_empty_file_is_a_history_without_rows(path: Path) -> None:
    make(path, b"")
    with History(path) as history:
        assert history.runs() == []
        history.write(runs=[run()])
        assert (history.runs(), history.notice, aside(path)) == ([run()], "", [])


@pytest.mark.quick(4)
@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_never_raise(path: Path, seed: int) -> None:
    good = remember(path, 40)
    chance = random.Random(seed)
    bad = bytearray(good)
    for _ in range(chance.choice([1, 20, 400])):
        bad[chance.randrange(len(bad))] = chance.randrange(256)
    make(path, bytes(bad))
    with History(path, wait=0.1) as history:
        use_everything(history)
    with History(path, wait=0.1) as history:
        use_everything(history)


def test_values_that_are_never_written_count_as_damage(path: Path) -> None:
    remember(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE attempts SET started_at = 'long ago'")
        connection.commit()
    with History(path) as history:
        assert history.health(NOW) == {}
        assert len(aside(path)) == 1


def test_a_database_of_another_program_is_moved_aside(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (mine)")
        connection.execute("INSERT INTO runs VALUES ('precious')")
        connection.commit()
    with History(path) as history:
        history.write(runs=[run()])
        assert history.runs() == [run()]
    [kept] = aside(path)
    assert query(kept, "SELECT * FROM runs") == [("precious",)]


def test_a_log_left_behind_is_never_replayed_into_the_new_file(path: Path) -> None:
    remember(path, 1)
    with History(path) as killed:
        killed.write(runs=[run("in the log")])
        log = path.with_name("state.db-wal").read_bytes()
    make(path, b"damaged" * 5000)
    path.with_name("state.db-wal").write_bytes(log)
    with History(path) as history:
        history.write(runs=[run("new")])
    with History(path) as history:
        assert [row.run for row in history.runs()] == ["new"]


def test_a_file_damaged_while_others_write_is_moved_with_its_log_and_they_follow(path: Path) -> None:
    remember(path)
    with History(path) as writer:
        writer.write(runs=[run("in the log")])
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(random.Random(3).randbytes(path.stat().st_size - 8192))
        with History(path) as reader:
            assert reader.attempts() == []
        assert [kept.name.endswith("-wal") for kept in aside(path)] == [False, True]
        writer.write(runs=[run("new")])
    with History(path) as after:
        assert [row.run for row in after.runs()] == ["new"]


def test_a_process_with_the_old_file_does_not_move_the_new_one_aside(path: Path) -> None:
    """Two processes find the damage; the second must not move the new file of the first one aside."""
    make(path, b"damaged" * 1000)
    with History(path) as late:
        assert late.runs() == []  # found, and moved aside
        with History(path) as early:
            early.write(runs=[run("early")])
            late.write(runs=[run("late")])
            assert {row.run for row in late.runs()} == {"early", "late"}
    assert len(aside(path)) == 1


def test_a_file_removed_under_a_writer_is_created_again(path: Path) -> None:
    with History(path) as history:
        history.write(runs=[run("r1")])
        for entry in path.parent.iterdir():
            entry.unlink()
        history.write(runs=[run("r2")])
        assert [row.run for row in history.runs()] == ["r2"]


def test_a_long_lived_writer_follows_a_file_that_was_replaced_even_after_reading_it(path: Path) -> None:
    with History(path) as history:
        history.write(runs=[run("r1")])
        for entry in path.parent.iterdir():
            entry.rename(entry.with_name(f"old-{entry.name}"))
        with History(path) as other:
            other.write(runs=[run("r2")])
        assert [row.run for row in history.runs()] == ["r2"]
        history.write(runs=[run("r3")])
        assert {row.run for row in history.runs()} == {"r2", "r3"}


def test_a_newer_version_is_left_alone(path: Path) -> None:
    remember(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.execute("ALTER TABLE runs ADD COLUMN more TEXT")
        connection.commit()
    before = path.read_bytes()
    with History(path) as history:
        use_everything(history)
        assert "a newer modelfetch wrote it" in history.notice
    assert (path.read_bytes(), aside(path)) == (before, [])


@pytest.mark.quick(1)
@pytest.mark.parametrize(("moves", "tries"), [(True, QUEUE_FACTOR * 2), (False, 2)])
def test_a_queue_that_moves_is_waited_for_longer_than_one_that_stands_still(moves: bool, tries: int) -> None:
    """Each attempt takes half of the wait; the total wait is bounded in any case."""
    clock, tried = FakeClock(), 0

    def locked() -> None:
        nonlocal tried
        tried += 1
        clock.now += 0.5
        raise Unavailable("locked", is_transient=True)

    with pytest.raises(Unavailable):
        retry_while_locked(locked, 1.0, lambda: tried if moves else 0, clock)
    assert tried == tries


def test_a_locked_file_is_waited_for_and_written_later(path: Path) -> None:
    remember(path, 1)
    with History(path, wait=0.2) as history:
        with held_by_another(path):
            history.write(attempts=[attempt(file="while locked")], wait=0.0)
            assert "another process has it locked" in history.notice
            assert [row.file for row in history.attempts()] == ["0.bin"], "readers need not wait"
        history.write(attempts=[attempt(file="after")])
        assert history.notice == ""
        assert [row.file for row in history.attempts()] == ["0.bin", "while locked", "after"]


def test_rows_kept_while_the_file_was_locked_are_written_at_the_end(path: Path) -> None:
    remember(path, 1)
    history = History(path)
    with held_by_another(path):
        history.write(attempts=[attempt(file="while locked")], wait=0.0)
    history.close()
    with History(path) as after:
        assert [row.file for row in after.attempts()] == ["0.bin", "while locked"]


def test_a_file_that_stays_locked_delays_only_once(path: Path) -> None:
    remember(path, 1)
    with held_by_another(path), History(path, wait=0.1) as history:
        history.write(attempts=[attempt()])
        assert "locked" in history.notice
        assert aside(path) == []


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_only_a_regular_file_is_used(path: Path, tmp_path: Path, kind: str) -> None:
    path.parent.mkdir()
    target = tmp_path / "target"
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(target)
    else:
        os.mkfifo(path)
    with History(path, wait=0.1) as history:
        use_everything(history)
        assert "it is not a regular file" in history.notice
    assert not target.exists()


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_nothing_is_written_through_a_link(path: Path, tmp_path: Path, kind: str, suffix: str) -> None:
    """SQLite opens the files beside the database by their names."""
    remember(path, 1)
    victim, side = tmp_path / "victim", path.with_name(path.name + suffix)
    victim.write_bytes(side.read_bytes() if side.exists() else b"precious")
    side.unlink(missing_ok=True)
    if kind == "link":
        side.symlink_to(victim)
    else:
        os.link(victim, side)
    before = victim.read_bytes()
    with History(path, wait=0.1) as history:
        use_everything(history)
        assert history.notice
    assert victim.read_bytes() == before


def test_without_a_writable_cache_there_is_no_notice(tmp_path: Path) -> None:
    """The parent is a file, so the directory cannot be created, even by root."""
    (tmp_path / "cache").write_text("")
    with History(tmp_path / "cache" / "state.db") as history:
        use_everything(history)
        assert history.notice == ""


needs_a_user = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and permissions")


def as_nobody(act: str, path: Path) -> str:
    """Use the history as a user without privileges, in another process, and return its notice."""
    path.parent.parent.chmod(0o755)
    for parent in path.parents:
        if parent.is_relative_to(Path("/tmp")) and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - measured in the parent only
        try:
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            with History(path, wait=0.1) as history:
                if act == "write":
                    history.write(runs=[run("r2")])
                told = f"{len(history.runs())} {history.notice}"
            os.write(writing, told.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


@needs_a_user
def test_a_read_only_cache_is_read_without_a_notice(path: Path) -> None:
    remember(path, 1)
    path.chmod(0o644)
    path.parent.chmod(0o555)
    try:
        assert as_nobody("read", path) == "1 "
        assert as_nobody("write", path) == "1 "
    finally:
        path.parent.chmod(0o755)
    assert [entry.name for entry in path.parent.iterdir()] == ["state.db"]


@needs_a_user
def test_the_history_of_another_user_is_skipped_without_a_notice(path: Path) -> None:
    """Several users may share a cache; only its owner has a history there."""
    if os.geteuid() != 0:
        pytest.skip("needs two users")
    remember(path, 1)
    path.parent.chmod(0o777)
    told = as_nobody("write", path)
    assert told.startswith("0 ")
    assert "could not be read" in told
    with History(path) as own:
        assert len(own.runs()) == 1

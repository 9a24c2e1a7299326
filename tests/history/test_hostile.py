"""A crafted database: no command hangs or fails because of it, and no other file is changed."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType

import pytest

from modelfetch.history import EventRow, History
from modelfetch.history.database import Database, StatementLimit
from modelfetch.history.database_file import DatabaseFile
from modelfetch.history.errors import Damaged, TooSlow, Unavailable
from tests.history.material import attempt, run
from tests.history.test_damaged_file import aside, remember, use_everything

PAGE = 4096
FOREVER = 1e6
"""Time limit in seconds of tests in which something else ends the statement."""

COUNT_FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"

PLANTED = {
    "a view that never ends in the place of a table": f"""
        DROP TABLE attempts;
        CREATE VIEW attempts AS {COUNT_FOREVER} SELECT i AS rowid, * FROM n""",
    "a trigger that never ends": f"""
        CREATE TRIGGER more AFTER INSERT ON runs BEGIN
            INSERT INTO files
            SELECT i, '', '', '', '', 0, 0, 0, '', '' FROM ({COUNT_FOREVER} SELECT i FROM n);
        END""",
    "a trigger that forges": """
        CREATE TRIGGER forge AFTER INSERT ON runs BEGIN UPDATE runs SET error = 'forged'; END""",
    "one table more": "CREATE TABLE mine (a)",
    "one index more": "CREATE INDEX mine ON runs (error)",
    "one column more": "ALTER TABLE runs ADD COLUMN mine TEXT",
    "a column that is computed": "DROP TABLE cids; CREATE TABLE cids (a TEXT, cid TEXT AS (a || a))",
    "a table less": "DROP TABLE cids",
    "statistics": "ANALYZE",
}


def plant(path: Path, script: str) -> None:
    """Change a history with SQLite."""
    remember(path, 3)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


@pytest.mark.quick(6)
@pytest.mark.parametrize("script", PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("is_read_first", [True, False], ids=["read first", "written first"])
def test_a_crafted_schema_is_never_used(path: Path, script: str, *, is_read_first: bool) -> None:
    """The file is moved aside like a damaged one."""
    plant(path, script)
    with History(path, wait=0.1) as history:
        if is_read_first:
            use_everything(history)
        history.write(runs=[run("mine")])
        assert "mine" in [row.run for row in history.runs()]
        assert {row.error for row in history.runs()} == {""}
        assert "the history was damaged" in history.notice
    assert len(aside(path)) == 1


def test_a_trigger_added_under_a_writer_does_not_run(path: Path) -> None:
    with History(path, wait=0.1) as history:
        history.write(runs=[run("before")])
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(PLANTED["a trigger that forges"])
        history.write(runs=[run("after")])
        assert [(row.run, row.error) for row in history.runs()] == [("after", "")]


def endless(path: Path, tables: tuple[str, ...] = ("attempts", "runs", "events", "attempts_started")) -> None:
    """Make tables and indexes with the expected schema whose rows never end.

    Their roots point many times at a page that points many times at a page ..., so that a few pages are read
    for ever; to SQLite each row looks like one more.
    """
    remember(path, 3)
    with History(path) as history:
        history.write(runs=[run(f"r{n}") for n in range(3)])
    with closing(sqlite3.connect(path)) as connection:
        roots = [
            connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [name]).fetchone()[0]
            for name in tables
        ]
    data = bytearray(path.read_bytes())
    for root in roots:
        start = (root - 1) * PAGE
        leaf = bytes(data[start : start + PAGE])
        is_index = leaf[0] == 0x0A
        data += leaf
        below = len(data) // PAGE
        for _ in range(5):
            data += many(below, leaf, is_index=is_index)
            below = len(data) // PAGE
        data[start : start + PAGE] = many(below, leaf, is_index=is_index)
    data[28:32] = struct.pack(">I", len(data) // PAGE)
    path.write_bytes(data)


def many(below: int, leaf: bytes, *, is_index: bool) -> bytes:
    """An inner page of a tree, all of whose children are one page (https://www.sqlite.org/fileformat2.html)."""
    count = 50
    if is_index:
        at = struct.unpack(">H", leaf[8:10])[0]
        key = leaf[at : at + 1 + leaf[at]]
    else:
        key = b"\x01"  # a row's number
    cell = struct.pack(">I", below) + key
    start = PAGE - count * len(cell)
    kind = 0x02 if is_index else 0x05
    head = struct.pack(">BHHHBI", kind, 0, count, start, 0, below)
    pointers = b"".join(struct.pack(">H", start + n * len(cell)) for n in range(count))
    return (head + pointers).ljust(start, b"\0") + cell * count


@pytest.mark.slow
def test_an_endless_table_costs_one_time_limit(path: Path) -> None:
    """It has the expected schema: the time limit ends the statement, the file stays and is not used again."""
    endless(path)
    with History(path, wait=0.1) as history:
        use_everything(history)
        assert "it takes too long to read" in history.notice
    assert aside(path) == []


@pytest.mark.parametrize("days", [0, 30])
def test_writing_to_an_endless_table_ends_too(path: Path, days: int) -> None:
    """By the time limit, or because SQLite detects a page with two uses."""
    endless(path)
    with History(path, wait=0.1, days=days) as history:
        history.reset()
        history.write(runs=[run("mine")], attempts=[attempt()])
        assert history.notice


def test_damage_that_is_found_late_is_damage(path: Path) -> None:
    """A file that is only slow stays where it is; a damaged one is moved aside, whatever the clock says."""
    remember(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        limit = StatementLimit(0.0, lambda: False)
        with pytest.raises(sqlite3.OperationalError, match="no such table"), limit.applied_to(connection):
            connection.execute("SELECT * FROM none")
        with pytest.raises(TooSlow), limit.applied_to(connection):
            connection.execute(f"{COUNT_FOREVER} SELECT count(*) FROM n")


def test_a_cancelled_run_does_not_wait_for_an_endless_table(path: Path) -> None:
    endless(path)
    asked = iter(range(3))
    with History(path, wait=FOREVER, is_cancelled=lambda: next(asked, None) is None) as history:
        assert history.attempts() == []
        assert history.notice == ""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_the_exception_of_a_signal_handler_is_raised(path: Path) -> None:
    """In the middle of a statement, where sqlite3 would swallow it."""

    class Stopped(KeyboardInterrupt):
        exit_code = 143

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    first = iter([0.005])

    def soon() -> bool:
        """Let the signal come while a statement goes on: this is called in the middle of one."""
        for seconds in first:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        return False

    endless(path)
    before = signal.signal(signal.SIGALRM, stop)
    gc.disable()  # what is raised while it calls back, as tools have it do, reaches nobody
    try:
        with History(path, wait=FOREVER, is_cancelled=soon) as history, pytest.raises(Stopped):
            history.attempts()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


VALUES = {
    "deeply nested": ("runs", "models", "[" * 100_000 + "]" * 100_000),
    "nested": ("events", "event", '{"a":' * 40 + "1" + "}" * 40),
    "no list": ("runs", "models", '{"a": 1}'),
    "a list of lists": ("runs", "models", "[[1]]"),
    "an event that is a list": ("events", "event", "[]"),
    "words without a time": ("events", "event", '{"n": 0, "human": "hello"}'),
    "words that are none": ("events", "event", '{"human": {"a": 1}, "at": "2026-11-20T06:00:00.000Z"}'),
    "not a number": ("events", "event", '{"n": NaN}'),
    "infinite in JSON": ("events", "event", '{"seconds": 1e999}'),
    "infinite": ("runs", "seconds", float("inf")),
    "negative": ("runs", "fetched", -1),
    "before all zones": ("runs", "started_at", "0001-01-01T00:00:00.000Z"),
    "a time of nowhere": ("runs", "started_at", "2026-11-20T06:00:00"),
    "an outcome of its own": ("attempts", "outcome", "splendid"),
    "bytes": ("runs", "error", b"\xff"),
    "text for a number": ("runs", "fetched", "many"),
}


@pytest.mark.quick(6)
@pytest.mark.parametrize(("table", "column", "value"), VALUES.values(), ids=VALUES)
def test_a_value_of_another_type_counts_as_damage(path: Path, table: str, column: str, value: object) -> None:
    remember(path, 2)
    with History(path) as history:
        history.write(events=[EventRow("r1", 0, {"n": 0})])
    with closing(sqlite3.connect(path)) as connection:
        forge(connection, table, column, value)
    with History(path, wait=0.1) as history:
        use_everything(history)
        assert "the history was damaged" in history.notice


def forge(connection: sqlite3.Connection, table: str, column: str, value: object) -> None:
    """Store any value in a column, whatever its type."""
    name, sql = connection.execute("SELECT name, sql FROM sqlite_master WHERE name = ?", [table]).fetchone()
    connection.execute("PRAGMA writable_schema = ON")
    loose = sql.replace(" STRICT", "")
    for kind in ("INTEGER", "REAL", "TEXT"):
        loose = loose.replace(f"{column} {kind}", f"{column} BLOB")
    change = "UPDATE sqlite_master SET sql = ? WHERE name = ?"
    connection.execute(change, [loose, name])
    connection.execute("PRAGMA schema_version = 1000")
    connection.commit()
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    with closing(sqlite3.connect(path)) as fresh:
        fresh.execute(f"UPDATE {table} SET {column} = ?", [value])
        fresh.execute("PRAGMA writable_schema = ON")
        fresh.execute(change, [sql, name])
        fresh.execute("PRAGMA schema_version = 1001")
        fresh.commit()


# What lies beside it

SIDE_SUFFIXES = ["-wal", "-shm", "-journal"]


def link(beside: Path, victim: Path) -> None:
    beside.symlink_to(victim)


def hard_link(beside: Path, victim: Path) -> None:
    beside.hardlink_to(victim)


def fifo(beside: Path, _victim: Path) -> None:
    os.mkfifo(beside)


def directory(beside: Path, _victim: Path) -> None:
    beside.mkdir()


@pytest.mark.quick(8)
@pytest.mark.parametrize("suffix", SIDE_SUFFIXES)
@pytest.mark.parametrize("make", [link, hard_link, fifo, directory])
@pytest.mark.parametrize("has_database", [True, False], ids=["beside one", "alone"])
def test_crafted_side_files_are_never_opened(
    path: Path, tmp_path: Path, suffix: str, make: Callable[[Path, Path], None], *, has_database: bool
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path.parent.mkdir()
    if has_database:
        remember(path, 1)
    beside = path.with_name(path.name + suffix)
    make(beside, victim)
    with History(path, wait=0.1) as history:
        use_everything(history)
        history.write(runs=[run("mine")])
        assert "mine" in [row.run for row in history.runs()]
    assert victim.read_bytes() == b"precious"


def test_a_crafted_journal_is_not_played_back(path: Path, tmp_path: Path) -> None:
    """SQLite deletes the super-journal that a journal names, once it has played it back."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    remember(path, 1)
    data = bytearray(path.read_bytes())
    data[18:20] = b"\x01\x01"  # no write-ahead log
    path.write_bytes(data)
    name = os.fsencode(victim)
    magic = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
    pages = len(data) // PAGE
    head = magic + struct.pack(">IIIII", 0, 0, pages, 512, PAGE)
    checksum = sum(name) & 0xFFFFFFFF
    end = struct.pack(">I", 1 << 30) + name + struct.pack(">II", len(name), checksum) + magic
    path.with_name("state.db-journal").write_bytes(head.ljust(512, b"\0") + end)
    with History(path, wait=0.1) as history:
        use_everything(history)
    assert victim.exists()


def test_creating_the_tables_writes_no_journal(path: Path) -> None:
    """A journal counts as crafted, so this package must never write one."""
    seen: list[set[str]] = []

    class Listed(Database):
        def _begin(self) -> sqlite3.Connection:
            connection = super()._begin()
            seen.append({entry.name for entry in path.parent.iterdir()})
            return connection

    with Listed(path).transaction(1.0):
        pass
    assert seen
    assert all("state.db-journal" not in names for names in seen)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.skipif(os.name != "posix", reason="SQLite follows links on POSIX only")
def test_a_link_created_between_inspection_and_use_is_detected(path: Path, tmp_path: Path) -> None:
    from modelfetch.history.database import _opened

    elsewhere = tmp_path / "elsewhere" / "state.db"
    remember(path, 1)
    remember(elsewhere, 1)
    place = DatabaseFile(path)
    assert place.inspect()
    path.unlink()
    path.symlink_to(elsewhere)
    with closing(sqlite3.connect(path)) as connection, pytest.raises(Unavailable, match="being replaced"):
        place.require_opened(_opened(connection))


def test_a_hard_link_is_not_used(path: Path, tmp_path: Path) -> None:
    remember(path, 1)
    (tmp_path / "another name").hardlink_to(path)
    with History(path, wait=0.1) as history:
        use_everything(history)
        assert "hard link" in history.notice


def test_too_slow_is_a_kind_of_unavailable() -> None:
    assert issubclass(TooSlow, Unavailable)
    assert not issubclass(TooSlow, Damaged)

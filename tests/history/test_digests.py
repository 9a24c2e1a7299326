"""Digests of files outside of the cache: kept between runs, bounded, and added to files of version 1."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine import known_digests
from modelfetch.engine.known_digests import HistoryDigests
from modelfetch.history import FILE, DigestRow, History, schema
from modelfetch.history.schema import VERSION
from tests.history.material import NOW, query, run

SHA256 = "a" * 64


def digest(path: str = "/models/a.gguf", **changes: object) -> DigestRow:
    values: dict[str, object] = {
        "path": path,
        "size": 10,
        "mtime_ns": 5,
        "inode": 7,
        "sha256": SHA256,
        "seen_at": NOW,
    }
    return DigestRow(**values | changes)  # type: ignore[arg-type]


def make_version_1(path: Path) -> None:
    """Write a file as version 1 of the tables did."""
    with History(path) as history:
        history.write(runs=[run("old")])
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE digests; DROP TABLE checks")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


def test_digests_come_back_and_replace_earlier_ones(history: History) -> None:
    history.write(digests=[digest(), digest("/b")])
    history.write(digests=[digest(size=11)])
    assert history.digests() == [digest(size=11), digest("/b")]


def test_the_newest_digests_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MOST_DIGESTS", 2)
    with History(path) as history:
        history.write(digests=[digest(str(number)) for number in range(5)])
        assert [row.path for row in history.digests()] == ["4", "3"]


def test_a_file_of_version_1_is_read_as_it_is(path: Path) -> None:
    make_version_1(path)
    before = path.read_bytes()
    with History(path) as history:
        assert (history.digests(), [row.run for row in history.runs()]) == ([], ["old"])
        assert history.notice == ""
    assert path.read_bytes() == before


def test_a_file_of_version_1_gets_the_table_with_the_next_write(path: Path) -> None:
    make_version_1(path)
    with History(path) as history:
        history.write(runs=[run("new")], digests=[digest()])
        assert {row.run for row in history.runs()} == {"old", "new"}
        assert (history.digests(), history.notice) == ([digest()], "")
    assert query(path, "PRAGMA user_version") == [(VERSION,)]
    assert [entry.name for entry in path.parent.iterdir()] == [FILE]


def test_a_file_of_version_1_with_other_tables_is_foreign(path: Path) -> None:
    make_version_1(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE digests (x)")
        connection.commit()
    with History(path) as history:
        assert history.runs() == []
        assert "damaged" in history.notice


# What a run remembers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"x")
    return path


def remembering(root: Path) -> HistoryDigests:
    return HistoryDigests(root, 30, Cancellation())


def test_a_digest_holds_while_the_file_is_unchanged(tmp_path: Path, file: Path) -> None:
    first = remembering(tmp_path)
    first.put(file, file.stat(), SHA256)
    assert first.get(file, file.stat()) == SHA256
    assert not (tmp_path / FILE).exists(), "small files are written together"
    first.close()
    assert remembering(tmp_path).get(file, file.stat()) == SHA256
    os.utime(file, ns=(1, 1))
    assert remembering(tmp_path).get(file, file.stat()) is None


def test_files_are_found_by_their_digest_while_they_are_unchanged(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "b.gguf"
    other.write_bytes(b"x")
    digests = remembering(tmp_path)
    for path in (file, other):
        digests.put(path, path.stat(), SHA256)
    assert list(digests.paths_of(SHA256)) == [file, other]
    assert not list(digests.paths_of("0" * 64))
    os.utime(file, ns=(1, 1))
    other.unlink()
    assert not list(digests.paths_of(SHA256))


def test_the_digest_of_a_large_file_is_written_at_once(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_digests, "AT_ONCE", 1)
    remembering(tmp_path).put(file, file.stat(), SHA256)
    assert remembering(tmp_path).get(file, file.stat()) == SHA256


def test_a_history_that_is_lost_or_damaged_loses_nothing_else(tmp_path: Path, file: Path) -> None:
    (tmp_path / FILE).write_bytes(b"damaged" * 100)
    digests = remembering(tmp_path)
    assert digests.get(file, file.stat()) is None
    digests.put(file, file.stat(), SHA256)
    digests.close()
    assert remembering(tmp_path).get(file, file.stat()) == SHA256


def test_numbers_that_the_database_does_not_have_are_not_remembered(tmp_path: Path, file: Path) -> None:
    digests = remembering(tmp_path)
    found = list(file.stat())
    found[1] = 2**63  # the inode, as some file systems have it
    digests.put(file, os.stat_result(found, {"st_mtime_ns": 5}), SHA256)
    digests.close()
    assert not (tmp_path / FILE).exists()

"""The file of the history and the files beside it: what is no history of ours, or is another's meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelfetch.history.database_file import DatabaseFile
from modelfetch.history.errors import Unavailable

LONGEST = 255
"""Bytes of a name that common file systems take."""


def test_a_name_that_the_system_refuses_is_a_reason(tmp_path: Path) -> None:
    file = DatabaseFile(tmp_path / ("a" * (LONGEST + 1)))
    with pytest.raises(Unavailable, match="name too long"):
        file.inspect()
    assert file.inode() is None


def test_below_a_file_none_is_created_and_no_notice_is_given(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(Unavailable) as caught:
        DatabaseFile(tmp_path / "cache" / "state.db").create()
    assert caught.value.reason == ""


def test_one_that_another_process_created_meanwhile_is_used(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"theirs")
    file = DatabaseFile(tmp_path / "state.db")
    file.create()
    assert file.used == file.inode()
    assert file.path.read_bytes() == b"theirs"


def test_without_a_log_there_is_no_state_of_it(tmp_path: Path) -> None:
    file = DatabaseFile(tmp_path / "state.db")
    assert file.log_state() is None
    file.side_file("-wal").write_bytes(b"log")
    state = file.log_state()
    assert state is not None
    assert state[0] == 3


@pytest.mark.skipif(os.name != "posix", reason="SQLite follows no links on Windows")
def test_a_link_put_there_after_the_inspection_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"")
    file = DatabaseFile(tmp_path / "state.db")
    assert file.inspect()
    real = os.fsencode(Path(os.path.realpath(tmp_path), "state.db"))
    file.require_opened(real)
    with pytest.raises(Unavailable) as caught:
        file.require_opened(os.fsencode(tmp_path / "elsewhere.db"))
    assert caught.value.is_transient
    file.path.rename(tmp_path / "old.db")
    file.path.write_bytes(b"")
    with pytest.raises(Unavailable, match="is being replaced"):
        file.require_opened(real)


def test_a_damaged_file_that_another_process_replaced_stays(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"damaged")
    file = DatabaseFile(tmp_path / "state.db")
    assert file.inspect()
    file.path.rename(tmp_path / "old.db")
    file.path.write_bytes(b"new")
    assert file.move_aside() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.db", "state.db"]


def test_a_damaged_file_that_cannot_be_renamed_is_a_reason(tmp_path: Path) -> None:
    file = DatabaseFile(tmp_path / ("a" * LONGEST))
    file.path.write_bytes(b"damaged")
    file.used = file.inode()
    with pytest.raises(Unavailable, match="it is damaged and cannot be renamed"):
        file.move_aside()
    assert file.path.read_bytes() == b"damaged"

"""A file that came with a project is read without blocking, whatever it links to."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from modelfetch.model.regular_file import open_regular, read_regular


def test_the_beginning_of_a_file_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b", 4) == b"0123"
    assert read_regular(tmp_path / "b", 40) == b"0123456789"


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_nothing_but_a_regular_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The open file is checked, not the path, which may be replaced in between."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "directory").mkdir()
    for name in ("fifo", "zero", "directory"):
        with pytest.raises((OSError, ValueError)):
            read_regular(tmp_path / name, 10)
        with pytest.raises(OSError):
            open_regular(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # the path of a socket may have a hundred characters
        listening.bind("socket")
        with pytest.raises(OSError):
            read_regular(tmp_path / "socket", 10)


def test_it_is_looked_at_when_it_is_open(tmp_path: Path) -> None:
    def refuse(found: os.stat_result) -> None:
        raise ValueError(f"{found.st_size} bytes")

    (tmp_path / "a").write_bytes(b"0123456789")
    with pytest.raises(ValueError, match="10 bytes"):
        read_regular(tmp_path / "a", 4, refuse)

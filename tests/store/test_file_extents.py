"""What the file system says about shared extents is added up, call by call."""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelfetch.store import Disk, file_extents

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


def answers(monkeypatch: pytest.MonkeyPatch, *calls: Sequence[tuple[int, int, int, int]]) -> list[int]:
    """Answer calls with these extents (logical, physical, length, flags); collects where each call starts."""
    starts: list[int] = []

    def ioctl(_fd: int, _request: int, room: bytearray) -> int:
        starts.append(struct.unpack_from("=Q", room)[0])
        extents = calls[len(starts) - 1]
        struct.pack_into("=L", room, 20, len(extents))
        for number, (logical, physical, length, flags) in enumerate(extents):
            entry = (logical, physical, length, 0, 0, flags, 0, 0, 0)
            struct.pack_into("=QQQQQLLLL", room, 32 + 56 * number, *entry)
        return 0

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    return starts


def test_shared_extents_of_all_calls_count(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = answers(
        monkeypatch,
        [(0, 7000, 100, 0), (100, 8000, 50, 0x2000)],
        [(150, 9000, 25, 0x2000), (175, 1, 5, 1)],
    )
    assert file_extents.shared_extents(0) == (75, 8000)
    assert starts == [0, 150]


def test_a_file_without_extents_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, [])
    assert file_extents.shared_extents(0) == (0, 0)


def test_a_file_system_that_does_not_say_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "")

    monkeypatch.setattr("fcntl.ioctl", refuse)
    assert file_extents.shared_extents(0) == (0, 0)


def test_a_real_file_and_a_name_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100_000))
    assert Disk().shared(tmp_path / "a") == (0, 0)
    assert Disk().shared(tmp_path) == Disk().shared(tmp_path / "none") == (0, 0)

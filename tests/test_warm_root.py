"""Which roots of a cache are told of: those whose content other users can replace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelfetch.warm import doubt, doubt_about

ME, OTHER = 1000, 1001


def look(mode: int, owner: int = ME) -> os.stat_result:
    return os.stat_result((0o040000 | mode, 1, 1, 2, owner, 50, 0, 0, 0, 0))


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o775, 0o2775, 0o1777, 0o3777])
def test_a_cache_of_ones_own_or_of_a_group_is_fine(mode: int) -> None:
    assert doubt(look(mode), ME) == ""


@pytest.mark.parametrize("mode", [0o777, 0o2777, 0o757, 0o702])
def test_one_that_everybody_can_write_to_is_not(mode: int) -> None:
    assert doubt(look(mode), ME) == "is writable by every user of this machine"
    assert doubt(look(mode, 0), ME)


def test_one_of_another_user_is_not_but_one_of_root_is() -> None:
    assert doubt(look(0o755, OTHER), ME) == "belongs to another user (1001)"
    assert doubt(look(0o755, OTHER), 0)
    assert doubt(look(0o755, 0), ME) == ""


def test_a_cache_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    assert doubt_about(str(tmp_path / "cache")) == ""


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_it_is_looked_at_through_links(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    (tmp_path / "disk").chmod(0o755)
    assert doubt_about(str(tmp_path / "cache")) == ""
    (tmp_path / "disk").chmod(0o777)
    assert doubt_about(str(tmp_path / "cache"))

"""How many files a run has under way where few may be open."""

from __future__ import annotations

import pytest

from modelfetch.engine.workers import affordable


@pytest.mark.parametrize(
    ("files", "descriptors", "expected"),
    [(4, None, 4), (4, 1024, 4), (64, 1024, 64), (4, 32, 4), (4, 28, 3), (4, 23, 1), (4, 3, 1), (1, 20, 1)],
)
def test_few_descriptors_are_fewer_files_at_once_and_never_none(
    files: int, descriptors: int | None, expected: int
) -> None:
    assert affordable(files, descriptors) == expected

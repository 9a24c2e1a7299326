"""Extents, compared with a plain set of byte positions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.store.extents import Extents

SIZE = 40
RANGES = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 12), st.sampled_from("ab")), max_size=25)


@pytest.mark.slow
@given(RANGES)
def test_extents_agree_with_a_set_of_positions(ranges: list[tuple[int, int, str]]) -> None:
    extents, there = Extents(), dict[int, str]()
    for start, length, origin in ranges:
        wanted = range(start, min(start + length, SIZE))
        if any(position in there for position in wanted):
            with pytest.raises(ValueError, match="already"):
                extents.add(start, wanted.stop, origin)
        else:
            extents.add(start, wanted.stop, origin)
            there |= dict.fromkeys(wanted, origin)
    gaps = [position for start, end in extents.missing(SIZE) for position in range(start, end)]
    assert gaps == [position for position in range(SIZE) if position not in there]
    assert extents.total == len(there)
    assert extents.prefix_length == next(
        (position for position in range(SIZE) if position not in there), SIZE
    )
    assert extents.origins == set(there.values())
    listed = [(position, origin) for start, end, origin in extents.parts for position in range(start, end)]
    assert listed == sorted(there.items())
    for position in range(SIZE):
        found = extents.covering(position)
        assert (found.origin if found is not None else None) == there.get(position)
        if found is not None:
            assert all(there[inside] == found.origin for inside in range(found.start, found.end))


def test_neighbours_of_one_origin_become_one() -> None:
    extents = Extents()
    for start in (20, 0, 10):
        extents.add(start, start + 10, "a")
    found = extents.covering(0)
    assert found is not None
    assert (found.start, found.end) == (0, 30)

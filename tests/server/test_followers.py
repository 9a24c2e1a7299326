"""The quick form of the campaign ``followers``: one who takes nothing holds up nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.followers import Story, follow

pytestmark = pytest.mark.slow  # real processes, one after the other


def test_everybody_gets_every_fact_in_order_beside_one_who_takes_nothing(tmp_path: Path) -> None:
    outcome = follow(tmp_path, Story(events=2_000), 8)
    assert outcome.shares == [1.0] * 7
    assert outcome.behind < 2.0


def test_progress_is_dropped_before_anything_else(tmp_path: Path) -> None:
    outcome = follow(tmp_path, Story(events=5_000, facts=50, pace=1e9), 4)
    assert all(share >= 0.02 for share in outcome.shares)

"""The quick form of the campaign ``followers``: a stalled follower delays no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.patience import IN_TIME
from tests.server.followers import Story, follow

pytestmark = pytest.mark.slow  # real processes, one after the other


def test_followers_get_every_event_in_order_despite_a_stalled_one(tmp_path: Path) -> None:
    outcome = follow(tmp_path, Story(events=2_000), 8)
    assert outcome.shares == [1.0] * 7
    assert outcome.behind < IN_TIME, "the stalled one is waited for longer"


def test_progress_is_dropped_before_anything_else(tmp_path: Path) -> None:
    outcome = follow(tmp_path, Story(events=5_000, facts=50, pace=1e9), 4)
    assert all(share >= 0.02 for share in outcome.shares)

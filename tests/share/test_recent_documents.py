"""Documents are made once for many requests, and again after a moment."""

from __future__ import annotations

import pytest

from modelfetch.share.recent_documents import KEEP_SECONDS, MOST_KEPT, RecentDocuments


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_document_is_made_again_after_a_moment() -> None:
    clock, made = Clock(), list[int]()
    recent = RecentDocuments(clock)

    def make() -> bytes:
        made.append(1)
        return b"%d" % len(made)

    assert [recent.get("a", make), recent.get("a", make), recent.get("b", make)] == [b"1", b"1", b"2"]
    clock.now = KEEP_SECONDS
    assert recent.get("a", make) == b"3"


def test_a_limited_number_is_kept() -> None:
    recent = RecentDocuments()
    for number in range(MOST_KEPT + 1):
        recent.get(number, lambda number=number: b"%d" % number)  # type: ignore[misc]
    assert recent.get(0, lambda: b"new") == b"new"
    assert recent.get(MOST_KEPT, lambda: b"new") == b"%d" % MOST_KEPT


def test_an_error_is_not_kept() -> None:
    recent = RecentDocuments()

    def fail() -> bytes:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        recent.get("a", fail)
    assert recent.get("a", lambda: b"good") == b"good"

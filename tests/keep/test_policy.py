"""Which versions, downloads and wrong bytes a policy lets go."""

from __future__ import annotations

import pytest

from modelfetch.keep.policy import DAY, Policy, Version, by_last_use, expired, outlived
from modelfetch.store.survey import Leftover

NOW = 1_000 * DAY
POLICY = Policy(partial_days=7, quarantine_days=7, version_days=90)


def version(
    label: str, *, fetched: float = 500, used: float = 0, name: str = "m", is_pinned: bool = False
) -> Version:
    """A complete version, fetched and used some days ago."""
    times = {"fetched": NOW - fetched * DAY, "used": NOW - used * DAY}
    return Version(name, label, is_complete=True, is_pinned=is_pinned, **times)


def incomplete(label: str, changed: float) -> Version:
    at = NOW - changed * DAY
    return Version("m", label, is_complete=False, is_pinned=False, fetched=at, used=at)


def gone(*versions: Version, policy: Policy = POLICY) -> list[str]:
    return [choice.version.label for choice in outlived(versions, policy, NOW)]


def test_a_leftover_goes_when_its_days_are_over() -> None:
    leftovers = [Leftover("b", NOW - 7 * DAY), Leftover("a", NOW - 8 * DAY), Leftover("c", NOW - 6.9 * DAY)]
    assert [each.key for each in expired(leftovers, 7, NOW)] == ["a", "b"]
    assert [each.key for each in expired(leftovers, 0, NOW)] == ["a", "b", "c"]


def test_a_lone_version_stays_however_old_it_is() -> None:
    assert gone(version("v1", used=900)) == []


@pytest.mark.parametrize(
    ("newer", "used", "is_gone"),
    [(91, 91, True), (89, 400, False), (400, 89, False), (90, 90, True)],
)
def test_a_replaced_version_goes_days_after_the_newer_one_and_its_own_use(
    newer: float, used: float, is_gone: bool
) -> None:
    older = version("v1", used=used)
    assert gone(older, version("v2", fetched=newer)) == ["v1"] * is_gone


def test_it_stays_if_a_catalog_pins_it_or_its_name_is_kept() -> None:
    newer = version("v2", fetched=400)
    assert gone(version("v1", used=400, is_pinned=True), newer) == []
    kept = Policy(7, 7, 90, kept=frozenset({"m"}))
    assert gone(version("v1", used=400), newer, policy=kept) == []


def test_neither_another_model_nor_an_incomplete_version_replaces_one() -> None:
    assert gone(version("v1", used=400), version("v2", fetched=400, name="n"), incomplete("v3", 1)) == []


def test_an_incomplete_version_goes_like_a_partial() -> None:
    assert gone(incomplete("v1", 7), incomplete("v2", 6)) == ["v1"]


def test_what_is_not_used_goes_and_the_reason_says_since_when() -> None:
    policy = Policy(7, 7, 90, unused_for=30 * DAY)
    (choice,) = outlived([version("v1", used=31.5), version("v1", name="n", used=29)], policy, NOW)
    assert (choice.version.name, choice.reason) == ("m", "not used for 31 days")


def test_the_one_that_was_not_used_for_longest_makes_room_first() -> None:
    versions = [version("a", used=1), version("b", used=9), version("c", used=5), incomplete("d", 99)]
    assert [each.version.label for each in by_last_use(versions, POLICY)] == ["b", "c", "a"]
    kept = Policy(7, 7, 90, kept=frozenset({"m"}))
    assert list(by_last_use(versions, kept)) == []


def test_a_clock_that_was_set_back_removes_nothing() -> None:
    assert gone(version("v1", used=-1), version("v2", fetched=-2)) == []

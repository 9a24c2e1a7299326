"""Health of hosts, and the order that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from modelfetch.history import AttemptRow, rank
from modelfetch.history.health import Health, facts, measure, missed, score, status_of
from modelfetch.history.schema import stamp
from tests.history.material import NOW, attempt, failure, hit

A = ("mirror", "a.example")


@dataclass(frozen=True)
class Offered:
    """An offer without a source."""

    host: str
    kind: str = "mirror"


def of(*rows: AttemptRow) -> Health:
    return measure(rows, NOW)[A]


def order(hosts: str, *rows: AttemptRow) -> str:
    """Rank hosts of one letter each."""
    offers = [Offered(host) for host in hosts]
    return "".join(offer.host for offer in rank(offers, measure(rows, NOW)))


def rows(host: str, good: int = 0, bad: int = 0, days: float = 0, speed: float = 1e6) -> list[AttemptRow]:
    """Attempts of one host of a given age."""
    at = NOW - timedelta(days=days)
    seconds = 0.1 + 1_000_000 / speed
    return [
        *[attempt(host=host, started_at=at, seconds=seconds) for _ in range(good)],
        *[failure(host=host, started_at=at) for _ in range(bad)],
    ]


def test_a_host_that_always_delivers() -> None:
    health = of(*[attempt()] * 3)
    assert (health.samples, health.share, health.trust, health.stalls) == (3, 1.0, 1.0, 0)
    assert (health.status, health.first_byte, health.last) == ("healthy", 0.1, NOW)
    assert health.speed == pytest.approx(1_000_000)
    assert str(health) == "100 % of 3 tries, first byte 100 ms, 1.00 MB/s"


def test_what_is_no_host_or_has_no_verdict_does_not_count() -> None:
    ignored = [
        hit(),
        attempt(outcome="cancelled"),
        attempt(source="local", host="/somewhere"),
        failure(source="", host="", fault="all_layers_exhausted"),
        failure(source="ipfs", host="manifest"),
    ]
    assert measure(ignored, NOW) == {}


def test_kinds_are_apart() -> None:
    found = measure([attempt(), failure(source="url")], NOW)
    assert {key: health.share for key, health in found.items()} == {A: 1.0, ("url", "a.example"): 0.0}


def test_an_attempt_weighs_half_after_three_days() -> None:
    health = of(attempt(started_at=NOW - timedelta(days=3)), failure())
    assert health.share == pytest.approx(0.5 / 1.5)
    assert health.trust == pytest.approx((0.5 + 1) / (1.5 + 1))


def test_a_clock_that_was_set_back_changes_nothing() -> None:
    assert of(attempt(started_at=NOW + timedelta(days=400))).share == 1.0


def test_one_failure_makes_a_host_degraded_until_it_is_old() -> None:
    assert [of(failure(started_at=NOW - timedelta(days=days))).status for days in (0, 3, 10)] == [
        "degraded",
        "degraded",
        "healthy",
    ]
    assert of(failure(), failure()).status == "unhealthy"


def test_the_first_byte_is_the_weighted_median_and_outliers_do_not_move_it() -> None:
    found = of(*[attempt(first_byte=second) for second in (0.2, 9.0, 0.1, 0.3, 8.0)])
    assert found.first_byte == 0.3
    old = [attempt(first_byte=9.0, started_at=NOW - timedelta(days=30))] * 20
    assert of(*old, attempt(first_byte=0.1)).first_byte == 0.1


def test_speed_is_measured_on_large_successes_only() -> None:
    assert of(attempt(received=256 * 1024)).speed is None
    assert of(attempt(received=256 * 1024 + 1, first_byte=0.1, seconds=1.1)).speed == pytest.approx(262_145)
    assert of(attempt(outcome="error", fault="cut")).speed is None
    assert of(attempt(seconds=0.1)).speed is None, "no time, no speed"


def test_stalls_are_counted() -> None:
    health = of(failure("stall"), failure("timeout"), failure("server"), attempt())
    assert health.stalls == 2
    assert str(health).endswith(", 2 stalls")
    assert str(of(failure("stall"))) == "0 % of 1 try, 1 stall"


@pytest.mark.parametrize(
    ("share", "word"),
    [
        *[(None, "unknown"), (1, "healthy"), (0.9, "healthy"), (0.89, "degraded")],
        *[(0.5, "degraded"), (0.49, "unhealthy"), (0, "unhealthy")],
    ],
)
def test_classes_and_their_thresholds(share: float | None, word: str) -> None:
    assert status_of(share) == word


def test_unknown_hosts_keep_the_order_of_the_settings() -> None:
    assert order("cab") == "cab"


def test_a_failing_host_moves_down() -> None:
    assert order("ab", *rows("a", bad=2)) == "ba"
    assert order("abc", *rows("a", bad=5), *rows("b", good=1, bad=2), *rows("c", good=9)) == "cba"
    assert order("ab", *rows("a", good=2, bad=8), *rows("b", good=1, bad=9)) == "ab"


def test_among_healthy_hosts_the_faster_one_comes_first() -> None:
    assert order("ab", *rows("a", good=5, speed=1e6), *rows("b", good=5, speed=1e7)) == "ba"


def test_a_new_host_keeps_its_place_beside_the_best() -> None:
    """A new host in front of the best one is tried first; one behind it is not."""
    known = [*rows("a", good=20, bad=1, speed=1e7), *rows("b", good=20, speed=1e6)]
    assert order("nab", *known) == "nab"
    assert order("anb", *known) == "anb"
    assert order("abn", *known) == "anb"
    assert order("an", *rows("a", bad=3)) == "na"


def test_a_failing_host_comes_behind_a_slow_one() -> None:
    assert order("ab", *rows("a", bad=4), *rows("b", good=4, speed=1e5)) == "ba"


def test_several_addresses_of_one_host_stay_together_in_their_order() -> None:
    offers = [Offered("a"), Offered("b"), Offered("a")]
    assert rank(offers, measure(rows("a", bad=3), NOW)) == [offers[1], offers[0], offers[2]]


def test_an_unknown_host_has_no_score_and_an_unknown_pace_is_that_of_the_best() -> None:
    assert score(None, 1.0) is None
    assert score(of(failure()), 2.0) == (1, 2.0 / 0.5)


def test_facts_are_plain_and_what_is_unknown_is_null() -> None:
    assert facts(of(attempt(), failure("stall"))) == {
        "status": "degraded",
        "success": 0.5,
        "first_byte": 0.1,
        "speed": 1_000_000,
        "stalls": 1,
        "samples": 2,
        "last": stamp(NOW),
    }
    assert facts(None) == {
        "status": "unknown",
        "success": None,
        "first_byte": None,
        "speed": None,
        "stalls": 0,
        "samples": 0,
        "last": None,
    }


# This machine's own outages


def unreached(host: str, seconds_ago: float = 0, fault: str = "connect", **how: Any) -> AttemptRow:
    return failure(fault, host=host, started_at=NOW - timedelta(seconds=seconds_ago), **how)


@pytest.mark.parametrize("fault", ["connect", "proxy"])
def test_failures_of_a_run_that_reached_no_host_do_not_count(fault: str) -> None:
    rows = [unreached("a.example", fault=fault), unreached("b.example", fault=fault)]
    assert measure(rows, NOW) == {}


def test_a_failure_counts_if_another_host_answered() -> None:
    rows = [unreached("a.example", 20), attempt(host="b.example", started_at=NOW - timedelta(seconds=10))]
    assert measure(rows, NOW)[A].share == 0.0


def test_any_answer_shows_that_the_network_was_up() -> None:
    rows = [unreached("a.example", 20), failure("not_found", host="b.example")]
    assert measure(rows, NOW)[A].share == 0.0


def test_answers_of_other_runs_do_not_matter() -> None:
    rows = [unreached("a.example", run="r1"), unreached("a.example", run="r2"), attempt(run="r2", host="b")]
    assert measure(rows, NOW)[A].samples == 1


def test_failures_after_the_network_was_lost_do_not_count() -> None:
    """A host that had answered before cannot be reached either."""
    rows = [
        unreached("a.example", 60),
        attempt(host="b.example", started_at=NOW - timedelta(seconds=50)),
        unreached("b.example", 20),
        unreached("c.example", 10),
    ]
    found = measure(rows, NOW)
    assert {host: (each.samples, each.share) for (_, host), each in found.items()} == {
        "a.example": (1, 0.0),
        "b.example": (1, 1.0),
    }


def test_a_stall_is_no_answer_and_counts() -> None:
    rows = [failure("timeout", host="a.example"), unreached("b.example")]
    assert set(measure(rows, NOW)) == {A}


# What gateways did not have


def test_a_missing_file_is_a_miss_until_it_is_found() -> None:
    assert missed([failure("not_found")]) == {("a.example", "m", "a.bin", 1_000_000)}
    assert missed([failure("not_found"), attempt()]) == frozenset()
    assert missed([attempt(), failure("server")]) != frozenset()


@pytest.mark.parametrize(
    ("fault", "received", "is_missed"),
    [
        ("not_found", 0, True),
        ("server", 0, True),
        ("timeout", 0, True),
        ("stall", 0, True),
        ("stall", 10, False),
        ("connect", 0, False),
        ("cut", 0, False),
        ("hash", 10, False),
    ],
)
def test_which_failures_say_that_a_file_is_not_there(fault: str, received: int, is_missed: bool) -> None:
    assert bool(missed([failure(fault, received=received)])) is is_missed


def test_a_host_that_could_not_be_reached_while_another_was() -> None:
    dead = failure("connect", source="ipfs", host="gate.example")
    miss = {("gate.example", "m", "a.bin", 1_000_000)}
    assert missed([dead, attempt(source="huggingface")], "ipfs") == miss
    assert missed([dead, attempt(source="huggingface")], "mirror") == frozenset()
    assert missed([dead, attempt(source="cache", outcome="hit")], "ipfs") == frozenset()

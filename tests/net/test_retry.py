"""Backoff, jitter, and the delays that servers request."""

from __future__ import annotations

import datetime as dt
import random
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.net.retry import RetryPolicy, backoff, retry_after, wait_for

POLICY = RetryPolicy()
NOW = "Wed, 21 Oct 2026 07:28:00 GMT"


def longest(_low: float, high: float) -> float:
    return high


def shortest(low: float, _high: float) -> float:
    return low


# Backoff


@pytest.mark.parametrize(
    ("failures", "ceiling"), [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (8, 30), (33, 30), (10**9, 30)]
)
def test_backoff_doubles_up_to_the_cap(failures: int, ceiling: float) -> None:
    assert backoff(POLICY, failures, longest) == ceiling
    assert backoff(POLICY, failures, shortest) == 0.0


def test_backoff_is_spread_over_the_whole_span() -> None:
    """Full jitter: the delays of many clients are spread over the interval."""
    rng = random.Random(7)
    waits = [backoff(POLICY, 3, rng.uniform) for _ in range(400)]
    assert all(0 <= wait <= 2 for wait in waits)
    assert min(waits) < 0.1
    assert max(waits) > 1.9


@given(
    st.floats(0, 1e300), st.floats(0, 1e6), st.integers(1, 10**6), st.one_of(st.none(), st.floats(0, 1e12))
)
def test_no_policy_overflows(base: float, cap: float, failures: int, asked: float | None) -> None:
    policy = RetryPolicy(base=base, cap=cap)
    assert 0 <= backoff(policy, failures, longest) <= cap
    assert wait_for(policy, failures, asked) >= (asked or 0)


# Together with the delay that the server requests


def test_without_a_wish_the_wait_is_our_own() -> None:
    assert wait_for(POLICY, 3, None, longest) == 2.0


def test_a_wish_is_a_lower_bound_with_spread() -> None:
    assert wait_for(POLICY, 1, 100.0, shortest) == 100.0
    assert wait_for(POLICY, 1, 100.0, longest) == 111.0


def test_a_wish_of_nothing_still_backs_off() -> None:
    assert wait_for(POLICY, 6, 0.0, longest) == 16.0


# Retry-After


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("007", 7.0),
        ("999999999999", 999_999_999_999.0),
        ("Wed, 21 Oct 2026 07:29:30 GMT", 90.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 0.0),
        ("Wednesday, 21-Oct-26 07:29:30 GMT", 90.0),
        ("Wed Oct 21 07:29:30 2026", None),
        ("-5", None),
        ("-0", None),
        ("1.5", None),
        ("1e3", None),
        ("0x10", None),
        ("٣", None),
        ("5, 6", None),
        ("soon", None),
        ("\x1b[2J", None),
        ("", None),
        ("Wed, 99 Oct 2026 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value, "date": NOW}) == seconds


def test_a_huge_wish_stays_huge() -> None:
    """With any number of digits: a server that requests a very long delay must not be retried at once."""
    assert (retry_after({"retry-after": "9" * 5000}) or 0) >= 999_999_999_999


@pytest.mark.parametrize("ahead", [-86_400, 0, 86_400])
def test_a_date_is_read_by_the_servers_own_clock(ahead: int) -> None:
    there = dt.datetime(2026, 10, 21, 7, 28, tzinfo=dt.UTC) + dt.timedelta(seconds=ahead)
    headers = {
        "date": format_datetime(there, usegmt=True),
        "retry-after": format_datetime(there + dt.timedelta(seconds=42), usegmt=True),
    }
    assert retry_after(headers) == 42.0


@pytest.mark.parametrize("date", [{}, {"date": "garbage"}])
def test_a_date_without_the_servers_clock_says_nothing(date: dict[str, str]) -> None:
    assert retry_after({"retry-after": NOW} | date) is None


# RateLimit


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ('"api";r=0;t=55', 56.0),
        ('"api"; r=0; t=55', 56.0),
        ('"api";t=55;r=0', 56.0),
        ('"api";r=0;t=0', 1.0),
        ('"api";r=12;t=55', None),
        ('"api";r=0', None),
        ('"api";t=55', None),
        ('"a";r=0;t=9, "b";r=7;t=60', 10.0),
        ('"a";r=7;t=9, "b";r=0;t=60', 61.0),
        ('"a";r=0;t=9, "b";r=0;t=60', 61.0),
        ("limit=100, remaining=0, reset=50", None),
        ("garbage", None),
        ("", None),
    ],
)
def test_rate_limit(value: str, seconds: float | None) -> None:
    assert retry_after({"ratelimit": value}) == seconds


def test_retry_after_goes_before_rate_limit() -> None:
    assert retry_after({"retry-after": "3", "ratelimit": '"api";r=0;t=55'}) == 3.0


@pytest.mark.parametrize(
    ("remaining", "reset", "date", "seconds"),
    [
        ("0", "1764367260", "Fri, 28 Nov 2025 22:00:00 GMT", 61.0),
        ("0", "1764367100", "Fri, 28 Nov 2025 22:00:00 GMT", 1.0),
        ("1", "1764367260", "Fri, 28 Nov 2025 22:00:00 GMT", None),
        ("0", "soon", "Fri, 28 Nov 2025 22:00:00 GMT", None),
        ("0", "1764367260", "", None),
        ("0", "9" * 30, "Fri, 28 Nov 2025 22:00:00 GMT", None),
    ],
)
def test_the_reset_of_github(remaining: str, reset: str, date: str, seconds: float | None) -> None:
    headers = {"x-ratelimit-remaining": remaining, "x-ratelimit-reset": reset, "date": date}
    assert retry_after(headers) == seconds


def test_no_delay_requested() -> None:
    assert retry_after({}) is None


DATES = st.one_of(
    st.text(max_size=60),
    st.sampled_from([NOW, "Wed, 21 Oct 2026 07:28:00 -0000", "Wed, 21 Oct 2026 07:28:00 +9999"]),
    st.from_regex(r"\A\w{0,3},? ?\d{1,5} \w{3} \d{1,6} [\d:.]{0,12} ?[A-Z+\-\d]{0,6}\Z"),
)


@given(DATES, DATES, DATES)
def test_no_header_is_ever_an_exception_or_a_negative_wait(value: str, date: str, limit: str) -> None:
    seconds = retry_after({"retry-after": value, "date": date, "ratelimit": limit})
    assert seconds is None or seconds >= 0

"""Delays between retries: exponential backoff with jitter, and the delay that a server requests. Pure.

With the default policy the upper bounds of the delays after the first failures are 0.5, 1, 2, 4 and 8
seconds; the delay is chosen at random below them. ``Retry-After: 20`` leads to 20 to 23 seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from modelfetch.lazy_dataclass import dataclass

RESET_BYTES = 8 * 1024 * 1024
"""Bytes of progress after which the attempt counter starts at zero again. With a lower value, a source that
sends a few bytes per attempt would be retried for ever."""

Jitter = Callable[[float, float], float]
"""``random.uniform``, or a fixed stand-in for it in tests."""


def _uniform(low: float, high: float) -> float:
    import random  # only a retry needs it

    return random.uniform(low, high)  # noqa: S311 - jitter is no secret


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Number of attempts and delays for one source and one file. Times are in seconds."""

    attempts: int = 5
    """Attempts without progress before the next source is used."""
    base: float = 0.5
    """Upper bound of the first retry delay; doubles with each attempt."""
    cap: float = 30.0
    """Largest upper bound of a delay."""
    retry_after_cap: float = 300.0
    """Longest delay that a server may request; if it requests more, the source counts as unavailable."""


def backoff(policy: RetryPolicy, failures: int, jitter: Jitter = _uniform) -> float:
    """Delay in seconds after ``failures`` failed attempts: ``U(0, min(cap, base * 2**n))``, n = failures - 1.

    With full jitter, because after an outage deterministic delays make all clients return at the same time.
    """
    # Beyond 32 failures the power is far above any cap; it must not grow until it overflows.
    ceiling = policy.cap if failures > 32 else min(policy.cap, policy.base * 2.0 ** (failures - 1))
    return jitter(0.0, ceiling)


def wait_for(
    policy: RetryPolicy, failures: int, retry_after: float | None, jitter: Jitter = _uniform
) -> float:
    """Delay in seconds: the larger of our own backoff and the delay that the server requested, plus jitter.

    The jitter of up to 1 s plus 10 % keeps thousands of clients from returning in the same second.

    Args:
        policy: Attempts and delays.
        failures: Failed attempts so far.
        retry_after: Seconds that the server requested, or None.
        jitter: Chooses a number between two bounds.
    """
    own = backoff(policy, failures, jitter)
    if retry_after is None:
        return own
    return max(own, retry_after + jitter(0.0, 1.0 + 0.1 * retry_after))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server requests to wait (``Retry-After``, RFC 9110, 10.2.3, or a rate limit), or None.

    A date is compared with the ``Date`` of the response, because the local clock may be wrong. A date in the
    past is 0; a value that cannot be parsed is None.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    if value:
        return _seconds_until(value, headers.get("date"))
    return _rate_limit_reset(headers.get("ratelimit", "")) or _github_reset(headers)


def _seconds_until(value: str, date: str | None) -> float | None:
    """Seconds from ``date`` to ``value``, both HTTP dates; None if one cannot be parsed."""
    from email.utils import parsedate_to_datetime  # imported late: few responses need it

    try:
        now = parsedate_to_datetime(date or "")
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _rate_limit_reset(value: str) -> float | None:
    """Parse ``RateLimit: "api";r=0;t=55``: no requests remain (r) for t seconds.

    Defined by the IETF draft ratelimit-headers. Of several exhausted policies the one with the longest time
    counts.
    """
    policies = [dict(re.findall(r";\s*([rt])=(\d{1,9})", policy, re.ASCII)) for policy in value.split(",")]
    waits = [float(policy["t"]) for policy in policies if policy.get("r") == "0" and "t" in policy]
    return max(waits) + 1.0 if waits else None


def _github_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until ``x-ratelimit-reset``, an epoch time, if no requests remain; None if not stated.

    GitHub sends these fields with 403 or 429 (GitHub REST documentation, rate limits). The clock of the
    server decides, as for ``Retry-After``.
    """
    reset = headers.get("x-ratelimit-reset", "").strip()
    is_reached = headers.get("x-ratelimit-remaining", "").strip() == "0"
    if not (is_reached and re.fullmatch(r"[0-9]{1,11}", reset)):
        return None
    from email.utils import parsedate_to_datetime

    try:
        now = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, float(reset) - now) + 1.0

"""When to ask again: backoff, jitter and Retry-After as pure functions."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from modelfetch.lazy_dataclass import dataclass

RESET_BYTES = 8 * 1024 * 1024
"""New good bytes after which the attempt counter starts again. Less would let a source that drips one byte
per try go on for ever."""

Jitter = Callable[[float, float], float]
"""``random.uniform``, or a fixed stand-in for it in tests."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently one source is asked for one file. Times are in seconds."""

    attempts: int = 5
    """Tries without progress before the source is left."""
    base: float = 0.5
    cap: float = 30.0
    retry_after_cap: float = 300.0
    """The longest wait a server may ask for; beyond it the source counts as unavailable."""


def backoff(policy: RetryPolicy, failures: int, jitter: Jitter = random.uniform) -> float:
    """Seconds to wait after ``failures`` failed tries: ``U(0, min(cap, base * 2**n))``, n = failures - 1.

    Full jitter, because deterministic steps make the clients of one outage come back together.
    """
    ceiling = policy.cap if failures > 32 else min(policy.cap, policy.base * 2.0 ** (failures - 1))
    return jitter(0.0, ceiling)


def wait_for(
    policy: RetryPolicy, failures: int, retry_after: float | None, jitter: Jitter = random.uniform
) -> float:
    """Seconds to wait: the larger of our own backoff and what the server asked for, with spread.

    The spread of up to ``1 + 10 %`` seconds keeps thousands of clients from waking in the same second.
    """
    own = backoff(policy, failures, jitter)
    if retry_after is None:
        return own
    return max(own, retry_after + jitter(0.0, 1.0 + 0.1 * retry_after))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a server asks to wait, by ``Retry-After`` (RFC 9110, 10.2.3) or ``RateLimit``, or None.

    A date is read against the response's own ``Date``, not against the local clock. The past is 0, garbage
    is None.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    if value:
        return _until(value, headers.get("date"))
    return _rate_limit_reset(headers.get("ratelimit", ""))


def _until(value: str, date: str | None) -> float | None:
    from email.utils import parsedate_to_datetime  # which few answers need, and no run without requests

    try:
        now = parsedate_to_datetime(date or "")
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _rate_limit_reset(value: str) -> float | None:
    """``"api";r=0;t=55``: nothing remains (r) for t seconds (IETF draft ratelimit-headers).

    Of several policies the one that is exhausted for longest counts.
    """
    policies = [dict(re.findall(r";\s*([rt])=(\d{1,9})", policy, re.ASCII)) for policy in value.split(",")]
    waits = [float(policy["t"]) for policy in policies if policy.get("r") == "0" and "t" in policy]
    return max(waits) + 1.0 if waits else None

"""Faults told by a status, and oddities of heads."""

from __future__ import annotations

import time
from dataclasses import replace
from email.utils import formatdate

from tests.origin.content import Content
from tests.origin.faults.base import Fault, reply_fault
from tests.origin.message import Reply


def status(
    code: int, *, retry_after: str | float | None = None, body: bytes = b"no", reason: str | None = None
) -> Fault:
    """Answer with a status.

    Args:
        code: Status code.
        retry_after: Value of a Retry-After header, sent as it is: seconds, negative, huge, garbage.
        body: Body of the answer.
        reason: Reason phrase; None for the usual one.
    """
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    reply = Reply(code, (("Content-Type", "text/plain"), *headers), body=Content.of(body), reason=reason)
    return reply_fault(str(code), lambda _reply: reply)


def retry_at(code: int, seconds: float, *, clock: float = 0.0) -> Fault:
    """Answer with a status and a Retry-After in the date form.

    Args:
        code: Status code.
        seconds: How long after the answer's own Date; negative for the past.
        clock: How many seconds the server's clock (hence Date) is ahead of ours.
    """

    def change(_reply: Reply) -> Reply:
        now = time.time() + clock
        dates = (
            ("Date", formatdate(now, usegmt=True)),
            ("Retry-After", formatdate(now + seconds, usegmt=True)),
        )
        return Reply(code, dates, body=Content.of(b"later"))

    return reply_fault(f"{code} until a date", change)


def rate_limited(remaining: int = 0, reset: float = 55, code: int = 429) -> Fault:
    """Answer with a status and a RateLimit header as Hugging Face sends it, without Retry-After."""
    reply = Reply(code, (("RateLimit", f'"api";r={remaining};t={reset}'),), body=Content.of(b"slow down"))
    return reply_fault(f"rate limited for {reset} s", lambda _reply: reply)


def reason(phrase: str) -> Fault:
    """The reply with another reason phrase; text is sent as Latin-1, so ``\\x1b`` is an ESC byte."""
    return reply_fault("reason phrase", lambda reply: replace(reply, reason=phrase))


def header(name: str, value: str) -> Fault:
    """The reply with a header set; text is sent as Latin-1."""
    return reply_fault(f"header {name}", lambda reply: reply.with_header(name, value))


def big_header(size: int = 2_000_000) -> Fault:
    """The reply with one header of `size` bytes."""
    return header("X-Padding", "x" * size)


def many_headers(count: int = 5000) -> Fault:
    """The reply with `count` more headers."""
    more = tuple((f"X-Header-{number}", "x") for number in range(count))
    return reply_fault(f"{count} headers", lambda reply: replace(reply, headers=(*reply.headers, *more)))

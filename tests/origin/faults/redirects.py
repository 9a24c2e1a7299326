"""Faults of redirects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote

from tests.origin.content import Content
from tests.origin.faults.base import Fault, reply_fault
from tests.origin.message import Reply, Request


class Elsewhere(Protocol):
    """Another origin."""

    def url(self, path: str) -> str:
        """URL of a path there."""


def redirect(location: str | None, code: int = 302, *, body: bytes | Content = b"Found") -> Fault:
    """Redirect to this Location, sent as it is (Latin-1), or without a Location."""
    headers = () if location is None else (("Location", location),)
    content = Content.of(body) if isinstance(body, bytes) else body
    return reply_fault(f"{code} to {location!r}", lambda _reply: Reply(code, headers, body=content))


def no_location(code: int = 302) -> Fault:
    """Redirect without saying where to."""
    return redirect(None, code)


def redirect_to(origin: Elsewhere, code: int = 302) -> Fault:
    """Redirect to the same path of another origin: another port, and http after https if it speaks that."""
    return _redirecting("elsewhere", lambda request: origin.url(request.target), code)


def redirect_loop(code: int = 302) -> Fault:
    """Redirect to the same URL again."""
    return _redirecting("loop", lambda request: request.target, code)


def hops(count: int, code: int = 302) -> Fault:
    """Redirect `count` times, by a counter in the query, before the good reply."""

    def change(request: Request, reply: Reply) -> Reply:
        hop = int(request.query.get("hop", 0))
        location = f"{quote(request.path)}?hop={hop + 1}"
        return reply if hop >= count else _redirected(location, code)

    return Fault(f"{count} hops", change)


def userinfo_location(origin: Elsewhere, user: str = "user:secret") -> Fault:
    """Redirect to the same path of an origin with credentials in the URL."""

    def location(request: Request) -> str:
        scheme, _, rest = origin.url(request.target).partition("://")
        return f"{scheme}://{user}@{rest}"

    return _redirecting("userinfo in Location", location)


def control_bytes_location(text: str = "/files/a\x1b[2J\x01\x7fb") -> Fault:
    """Redirect to a Location that holds control bytes."""
    return redirect(text)


def expired_link() -> Fault:
    """The good redirect with a signed link that has expired: the place it leads to answers 403."""
    expired = f"X-Amz-Signature={'0' * 64}"

    def change(reply: Reply) -> Reply:
        link = re.sub(r"X-Amz-Signature=\w+", expired, reply.header("Location") or "")
        return reply.with_header("Location", link) if link else reply

    return reply_fault("expired link", change)


def _redirecting(name: str, location: Callable[[Request], str], code: int = 302) -> Fault:
    return Fault(f"redirect: {name}", lambda request, _reply: _redirected(location(request), code))


def _redirected(location: str, code: int) -> Reply:
    return Reply(code, (("Location", location),), body=Content.of(b"Found"))

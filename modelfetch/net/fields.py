"""Header fields of requests and responses, as :mod:`modelfetch.net.session` needs them. Pure.

For a request from byte 100 of 500, whose first bytes came with a strong validator::

    Range: bytes=100-499
    If-Range: "abc"
"""

from __future__ import annotations

from dataclasses import replace

import httpx

from modelfetch.net.responses import RangeRequest, length_of
from modelfetch.net.time_limits import Memory
from modelfetch.net.urls import origin


def with_etag(request: RangeRequest, memory: Memory, url: str) -> RangeRequest:
    """Add the validator of earlier bytes, if ``url`` is at the origin that sent it."""
    if not (request.start and request.ranged and memory.etag and memory.etag_origin == origin(url)):
        return request
    return replace(request, etag=memory.etag)


def range_headers(request: RangeRequest, memory: Memory, url: str) -> dict[str, str]:
    """The fields that ask for the bytes of a request."""
    request = with_etag(request, memory, url)
    headers = {"Range": f"bytes={request.start}-{request.last}"} if request.ranged else {}
    return headers | ({"If-Range": request.etag} if request.etag else {})


def location(response: httpx.Response) -> bytes | None:
    """The target of a redirect as received, or None."""
    # Raw bytes, because httpx decodes header fields by a guess, and Location may be UTF-8 or Latin-1.
    return next((value for name, value in response.headers.raw if name.lower() == b"location"), None)


def header_fields(response: httpx.Response) -> dict[str, str]:
    """The fields of a response, names in lower case; repeated ones are joined by commas."""
    return {name.lower(): value for name, value in response.headers.items()}


def request_fields(request: httpx.Request) -> bytes:
    """The header fields of a request as sent, without ``Range``."""
    return b"".join(b"%b: %b\r\n" % field for field in request.headers.raw if field[0].lower() != b"range")


def credential_sent(response: httpx.Response) -> str:
    """The kind of credential that was sent, or empty: on redirects to other origins none is."""
    scheme, _, _ = response.request.headers.get("authorization", "").partition(" ")
    return {"": "", "Bearer": "token"}.get(scheme, "password")


def may_be_used(response: httpx.Response, size: int) -> bool:
    """Whether a response may contain the file. Of other bodies the beginning is read, for the message."""
    ranged = response.headers.get("content-range")
    match response.status_code:
        case 200 if ranged is None:
            length = length_of(header_fields(response))
            stated = "*" if length is None else str(length)
        case 200 | 206:
            stated = (ranged or "*").rpartition("/")[2].strip()
        case _:
            return False
    return stated in ("*", str(size))

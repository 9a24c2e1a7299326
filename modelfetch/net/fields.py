"""Header fields of requests and responses, as :mod:`modelfetch.net.session` needs them. Pure.

For a request from byte 100 of 500, whose first bytes came with a strong validator::

    Range: bytes=100-499
    If-Range: "abc"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfetch.lazy_dataclass import replace
from modelfetch.net.responses import RangeRequest, length_of
from modelfetch.net.time_limits import Memory
from modelfetch.net.urls import origin

if TYPE_CHECKING:
    from modelfetch.net.transport import Response


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


def credential_sent(response: Response) -> str:
    """The kind of credential that was sent, or empty: on redirects to other origins none is."""
    scheme, _, _ = response.credential.partition(" ")
    return {"": "", "Bearer": "token"}.get(scheme, "password")


def may_be_used(response: Response, size: int) -> bool:
    """Whether a response may contain the file. Of other bodies the beginning is read, for the message."""
    ranged = response.headers.get("content-range")
    match response.status:
        case 200 if ranged is None:
            length = length_of(response.headers)
            stated = "*" if length is None else str(length)
        case 200 | 206:
            stated = (ranged or "*").rpartition("/")[2].strip()
        case _:
            return False
    return stated in ("*", str(size))

"""The correct answer to a GET or HEAD for a content: 200, 206 or 416 (RFC 9110, sections 13.1.5 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from tests.origin.content import Content
from tests.origin.message import Headers, Reply, Request


class Span(NamedTuple):
    """Bytes [start, stop) of a content; not satisfiable when empty."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Representation:
    """A content under one validator.

    Attributes:
        content: The bytes.
        etag: With its quotes.
        headers: More headers of the answer.
    """

    content: Content
    etag: str
    headers: Headers = ()


def represent(request: Request, representation: Representation) -> Reply:
    """Answer with the representation or the range of it asked for."""
    whole = _whole(representation)
    if request.method != "GET" or not _range_applies(request, representation.etag):
        return whole
    span = parse_range(request.range or "", whole.whole.size)
    if span is None:
        return whole
    return partial(whole, span) if span.start < span.stop else unsatisfiable(whole)


def parse_range(text: str, size: int) -> Span | None:
    """The one range of a Range header; None if it is to be ignored: malformed, or several ranges."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text.strip())
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        return Span(max(0, size - int(match[2])), size)
    start, last = int(match[1]), int(match[2] or max(size - 1, int(match[1])))
    return None if last < start else Span(start, min(last + 1, size))


def partial(reply: Reply, span: Span) -> Reply:
    """206 with some bytes of a reply's whole."""
    text = f"bytes {span.start}-{span.stop - 1}/{reply.whole.size}"
    body = reply.whole.window(span.start, span.stop)
    return replace(reply, status=206, body=body).with_header("Content-Range", text)


def span_of(reply: Reply) -> Span:
    """Which bytes of its whole a good reply carries."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/\d+", reply.header("Content-Range") or "")
    return Span(int(match[1]), int(match[2]) + 1) if match else Span(0, reply.whole.size)


def unsatisfiable(reply: Reply) -> Reply:
    """416 that tells the size."""
    return Reply(416, whole=reply.whole).with_header("Content-Range", f"bytes */{reply.whole.size}")


def _whole(representation: Representation) -> Reply:
    headers = (*representation.headers, ("ETag", representation.etag), ("Accept-Ranges", "bytes"))
    return Reply(200, headers, body=representation.content, whole=representation.content)


def _range_applies(request: Request, etag: str) -> bool:
    condition = request.header("If-Range")
    return request.range is not None and (condition is None or condition == etag)

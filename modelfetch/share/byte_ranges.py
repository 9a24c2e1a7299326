"""Conditional and range requests: which bytes of a file a request gets. Pure.

The rules are those of RFC 9110, sections 13 and 14, for a representation that never changes and whose ETag is
its digest: no modification time, so conditions on dates do not apply (13.1.3, 13.1.4). They are checked in
the order of section 13.2.2. One range is answered with 206. Several ranges are answered with the whole file,
which 14.2 allows: a multipart response would let a short request cause a long one.

    >>> select("GET", {"range": "bytes=2-5"}, '"x"', 10)
    Selection(status=206, start=2, length=4)
    >>> select("GET", {"if-none-match": '"x"'}, '"x"', 10)
    Selection(status=304, start=0, length=0)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from modelfetch.lazy_dataclass import dataclass

_RANGE: Final = re.compile(
    r"bytes=[ \t]*(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))[ \t]*", re.ASCII | re.IGNORECASE
)
"""One range. 19 digits hold any file size; more are no range that a file has, and slow to parse."""
_TAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
"""An entity tag (RFC 9110, 8.8.3)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which bytes to answer with."""

    status: int
    """200, 206, 304, 412 or 416."""
    start: int
    length: int
    """0 if the response has no bytes of the file; for HEAD that of the whole file."""


def select(method: str, fields: Mapping[str, str], etag: str, size: int) -> Selection:
    """Evaluate the conditions and the range of a request.

    Args:
        method: GET or HEAD. A range counts for GET only (14.2).
        fields: Headers, with names in lower case. Of a name that was sent several times, the joined values.
        etag: The strong entity tag of the file, with its quotes.
        size: Bytes of the file.
    """
    if "if-match" in fields and not _matches(fields["if-match"], etag, is_weak_enough=False):
        return Selection(HTTPStatus.PRECONDITION_FAILED, 0, 0)
    if "if-none-match" in fields and _matches(fields["if-none-match"], etag, is_weak_enough=True):
        return Selection(HTTPStatus.NOT_MODIFIED, 0, 0)
    whole = Selection(HTTPStatus.OK, 0, size)
    if method != "GET" or "range" not in fields:
        return whole
    # A date in If-Range never matches: there is no modification time to compare it with (13.1.5).
    if "if-range" in fields and fields["if-range"].strip() != etag:
        return whole
    return _select_range(fields["range"], size) or whole


def _matches(value: str, etag: str, *, is_weak_enough: bool) -> bool:
    """Whether a list of tags, or ``*``, includes a tag; strong comparison unless a weak tag is enough."""
    if value.strip() == "*":
        return True
    tags = _TAG.findall(value)
    return etag in tags or (is_weak_enough and f"W/{etag}" in tags)


def _select_range(value: str, size: int) -> Selection | None:
    """Return the bytes of a range; None if it is to be ignored: malformed, several, or another unit."""
    found = _RANGE.fullmatch(value.strip())
    if found is None or not size:  # an empty file has no range; all of it is as good an answer
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        return Selection(HTTPStatus.PARTIAL_CONTENT, size - length, length) if length else _unsatisfiable()
    start, end = int(first), int(last) if last else size - 1
    if last and end < start:  # malformed (14.1.1), so it is ignored
        return None
    if start >= size:
        return _unsatisfiable()
    return Selection(HTTPStatus.PARTIAL_CONTENT, start, min(end, size - 1) - start + 1)


def _unsatisfiable() -> Selection:
    return Selection(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, 0)

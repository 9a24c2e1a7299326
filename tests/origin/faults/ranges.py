"""Faults of ranges and validators."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from tests.origin.content import Content
from tests.origin.faults.base import Fault, file_fault, reply_fault
from tests.origin.message import Reply, Request
from tests.origin.ranges import Representation, Span, partial, represent, span_of


def ignored_range() -> Fault:
    """200 with the whole file, whatever range was asked for."""
    return file_fault("range ignored", _whole)


def ok_with_content_range() -> Fault:
    """200, yet with the range asked for and its Content-Range."""
    return file_fault("200 with Content-Range", lambda reply: replace(_ranged(reply), status=200))


def other_range(*, start: int = 0, stop: int = 0) -> Fault:
    """206 with another range than asked for, truly labelled: both ends moved by so many bytes."""

    def change(reply: Reply) -> Reply:
        span = span_of(reply)
        return partial(reply, Span(max(0, span.start + start), min(span.stop + stop, reply.whole.size)))

    return file_fault(f"range {start:+}..{stop:+}", change)


def shorter_range(length: int) -> Fault:
    """206 with only the first `length` bytes of the range asked for, truly labelled: allowed by RFC 9110."""

    def change(reply: Reply) -> Reply:
        span = span_of(reply)
        return partial(reply, Span(span.start, min(span.stop, span.start + length)))

    return file_fault(f"at most {length} B a range", change)


def content_range(text: str) -> Fault:
    """206 with this Content-Range over the right bytes; {start}, {last} and {total} are filled in truly."""
    return file_fault(f"Content-Range {text!r}", lambda reply: _labelled(reply, text))


def wrong_start(by: int = 1) -> Fault:
    """206 whose Content-Range lies about its start."""
    return _mislabelled("wrong start", start=by)


def wrong_end(by: int = 1) -> Fault:
    """206 whose Content-Range lies about its end."""
    return _mislabelled("wrong end", last=by)


def wrong_total(by: int = 1) -> Fault:
    """206 whose Content-Range lies about the size of the file."""
    return _mislabelled("wrong total", total=by)


def unknown_total() -> Fault:
    """206 with ``*`` for the size of the file: allowed by RFC 9110."""
    return content_range("bytes {start}-{last}/*")


def wrong_unit() -> Fault:
    """206 in another unit than bytes."""
    return content_range("items {start}-{last}/{total}")


def no_content_range() -> Fault:
    """206 without Content-Range."""
    return file_fault("no Content-Range", lambda reply: _ranged(reply).without("Content-Range"))


def multipart() -> Fault:
    """206 with the range asked for inside multipart/byteranges."""
    return file_fault("multipart/byteranges", _multipart)


def unasked_range(length: int = 1000) -> Fault:
    """206 with the first bytes of the file, to a request without Range too."""
    return file_fault("unasked 206", lambda reply: partial(reply, Span(0, min(length, reply.whole.size))))


def unsatisfiable(total: int | None = None) -> Fault:
    """416 that claims a size; None for the true one."""

    def change(reply: Reply) -> Reply:
        claimed = reply.whole.size if total is None else total
        return Reply(416, (("Content-Range", f"bytes */{claimed}"),))

    return reply_fault("416", change)


def unsatisfiable_unknown() -> Fault:
    """416 without Content-Range."""
    return reply_fault("416 without size", lambda _reply: Reply(416))


def etag(value: str | None) -> Fault:
    """The good reply with this ETag (quotes included), or none."""
    return file_fault(
        f"ETag {value}", lambda reply: reply.with_header("ETag", value) if value else reply.without("ETag")
    )


def weak_etag() -> Fault:
    """The good reply with its ETag made weak."""
    return file_fault(
        "weak ETag", lambda reply: reply.with_header("ETag", "W/" + (reply.header("ETag") or '"x"'))
    )


def changing_etag() -> Fault:
    """The good reply with another strong ETag each time."""
    numbers = count(1)
    return file_fault("changing ETag", lambda reply: reply.with_header("ETag", f'"version-{next(numbers)}"'))


def other_revision(content: Content, tag: str = '"other-revision"') -> Fault:
    """Serve other content under another strong ETag, ranges included: the entity changed."""

    def change(request: Request, reply: Reply) -> Reply:
        headers = reply.without("ETag", "Accept-Ranges", "Content-Range").headers
        return represent(request, Representation(content, tag, headers))

    return Fault("other revision", change)


def _whole(reply: Reply) -> Reply:
    return replace(reply, status=200, body=reply.whole).without("Content-Range")


def _ranged(reply: Reply) -> Reply:
    return partial(reply, span_of(reply))


def _labelled(reply: Reply, text: str) -> Reply:
    span = span_of(reply)
    label = text.format(start=span.start, last=span.stop - 1, total=reply.whole.size)
    return partial(reply, span).with_header("Content-Range", label)


def _mislabelled(name: str, *, start: int = 0, last: int = 0, total: int = 0) -> Fault:
    def change(reply: Reply) -> Reply:
        span = span_of(reply)
        label = f"bytes {span.start + start}-{span.stop - 1 + last}/{reply.whole.size + total}"
        return partial(reply, span).with_header("Content-Range", label)

    return file_fault(name, change)


def _multipart(reply: Reply) -> Reply:
    part = _ranged(reply)
    label = part.header("Content-Range")
    opening = f"--BOUNDARY\r\nContent-Type: application/octet-stream\r\nContent-Range: {label}\r\n\r\n"
    closing = Content.of(b"\r\n--BOUNDARY--\r\n")
    body = Content.of(opening.encode()).followed_by(part.body).followed_by(closing)
    kind = "multipart/byteranges; boundary=BOUNDARY"
    return replace(part, body=body).without("Content-Range").with_header("Content-Type", kind)

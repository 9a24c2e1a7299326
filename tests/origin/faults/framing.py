"""Faults of framing: how the end of the body is told, truly or not."""

from __future__ import annotations

from dataclasses import replace

from tests.origin.faults.base import Fault, all_of, reply_fault
from tests.origin.faults.delivery import cut
from tests.origin.message import Reply


def wrong_length(by: int) -> Fault:
    """Declare a Content-Length that is `by` bytes more (or, negative, less) than is sent, then close."""
    return reply_fault(f"Content-Length {by:+}", lambda reply: replace(_declared(reply, by), ending="silent"))


def two_lengths(by: int) -> Fault:
    """Declare two Content-Lengths, the right one and one that differs by `by` bytes (0: twice the same)."""

    def change(reply: Reply) -> Reply:
        second = ("Content-Length", str(reply.body.size + by))
        return replace(reply, headers=(*_declared(reply, 0).headers, second))

    return reply_fault("two Content-Lengths", change)


def no_length() -> Fault:
    """End the body with the connection, as HTTP/1.0 did: a good reply, but nothing tells when it was cut."""
    return reply_fault("close-delimited", lambda reply: replace(reply, framing="close"))


def no_length_cut(at: int | float) -> Fault:
    """End the body with the connection, too early."""
    return all_of(no_length(), cut(at))


def http_1_0() -> Fault:
    """Answer as an HTTP/1.0 server: that version, no length, closed at the end."""
    return reply_fault("HTTP/1.0", lambda reply: replace(reply, protocol="HTTP/1.0", framing="close"))


def chunked() -> Fault:
    """Send the body in chunks, without Content-Length: a good reply."""
    return reply_fault("chunked", lambda reply: replace(reply, framing="chunked"))


def chunked_without_end() -> Fault:
    """Send the body in chunks and close where the last, empty chunk should follow."""
    return reply_fault(
        "chunked without end", lambda reply: replace(reply, framing="unfinished", ending="silent")
    )


def chunked_with_length(by: int = 0) -> Fault:
    """Send the body in chunks and declare a Content-Length too."""
    return reply_fault("chunked with length", lambda reply: replace(_declared(reply, by), framing="chunked"))


def _declared(reply: Reply, by: int) -> Reply:
    return reply.with_header("Content-Length", str(reply.body.size + by))

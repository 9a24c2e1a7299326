"""Faults of delivery: the right reply, cut, late, slow, or over a connection that does not last."""

from __future__ import annotations

import threading
from dataclasses import replace

from tests.origin.faults.base import Fault, reply_fault
from tests.origin.message import Effect, Reply
from tests.origin.stream import End, Hold, Op, Part, Pause, Send, drip, insert, preceded


def cut(at: int | float, *, reset: bool = False) -> Fault:
    """End the connection after some of the body.

    Args:
        at: Bytes of this reply's body that are sent; a float is a fraction of the body.
        reset: With RST instead of a clean close.
    """
    return reply_fault(f"cut at {at}", lambda reply: _insert(reply, End(reset, notify=False), Part.BODY, at))


def cut_head(at: int = 0, *, reset: bool = False) -> Fault:
    """End the connection inside the head, after `at` bytes of it."""
    return reply_fault(
        f"head cut at {at}", lambda reply: _insert(reply, End(reset, notify=False), Part.HEAD, at)
    )


def no_answer(*, reset: bool = False) -> Fault:
    """End the connection without a byte; with ``when=lambda request: request.reused`` a stale keep-alive."""
    return cut_head(0, reset=reset)


def stale_keepalive() -> Fault:
    """Answer well, then close the connection without having said so."""
    return reply_fault("stale keep-alive", lambda reply: replace(reply, ending="silent"))


def stall(at: int | float | None = None, *, until: threading.Event | None = None) -> Fault:
    """Stop sending, before the head or after some of the body.

    Args:
        at: Bytes of the body sent first, a float being a fraction of it; None to stall before the head.
        until: Setting it lets the rest follow; None stalls as long as the client stays.
    """
    hold = Hold(until or threading.Event())
    part = Part.HEAD if at is None else Part.BODY
    return reply_fault(f"stall at {at}", lambda reply: _insert(reply, hold, part, at or 0))


def stall_head(at: int, *, until: threading.Event | None = None) -> Fault:
    """Stop sending after `at` bytes of the head."""
    hold = Hold(until or threading.Event())
    return reply_fault(f"stall in head at {at}", lambda reply: _insert(reply, hold, Part.HEAD, at))


def late(seconds: float) -> Fault:
    """Answer well, some seconds later."""
    return _disturb(f"{seconds} s late", lambda ops: preceded(ops, Pause(seconds)))


def trickle(size: int = 1, every: float = 0.1) -> Fault:
    """Send the body in pieces of `size` bytes, one each `every` seconds."""
    return _disturb(f"{size} B each {every} s", lambda ops: drip(ops, size, every))


def glued(count: int, pause: float = 0.02) -> Fault:
    """Send the head and exactly `count` bytes of the body in one piece, the rest after a pause."""
    return reply_fault(
        f"{count} B glued to the head", lambda reply: _insert(reply, Pause(pause), Part.BODY, count)
    )


def continues(count: int = 1) -> Fault:
    """Send `100 Continue` answers, not asked for, before the real one."""
    interim = Send(Part.FRAME, b"HTTP/1.1 100 Continue\r\n\r\n" * count)
    return _disturb(f"{count} x 100 Continue", lambda ops: preceded(ops, interim))


def raw(data: bytes) -> Fault:
    """Send these bytes instead of an answer, then close."""
    instead: tuple[Op, ...] = (Send(Part.FRAME, data), End())
    return _disturb("raw bytes", lambda _ops: iter(instead))


def _disturb(name: str, effect: Effect) -> Fault:
    return reply_fault(name, lambda reply: reply.through(effect))


def _insert(reply: Reply, op: Op, part: Part, at: int | float) -> Reply:
    offset = int(at * reply.body.size) if isinstance(at, float) else at
    return reply.through(lambda ops: insert(ops, op, part, offset))

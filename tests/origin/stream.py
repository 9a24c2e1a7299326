"""What a connection is told to do for a reply: a stream of operations, and ways to disturb it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

Data = bytes | memoryview


class Part(Enum):
    """What bytes on the wire belong to: the head, chunk framing, or the body proper."""

    HEAD = auto()
    FRAME = auto()
    BODY = auto()


@dataclass(frozen=True, slots=True)
class Send:
    """Send bytes."""

    part: Part
    data: Data


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Send nothing until the event is set, the client leaves, or the origin closes."""

    until: threading.Event


@dataclass(frozen=True, slots=True)
class End:
    """End the connection; nothing after this is done.

    Attributes:
        reset: With RST instead of FIN.
        notify: Under TLS, with close_notify.
    """

    reset: bool = False
    notify: bool = True


Op = Send | Pause | Hold | End


def insert(ops: Iterator[Op], op: Op, part: Part, at: int) -> Iterator[Op]:
    """The operations with one more after `at` bytes of a part; unchanged if the part is shorter or empty."""
    for each in ops:
        if not isinstance(each, Send) or each.part is not part or not 0 <= at <= len(each.data):
            at -= len(each.data) if isinstance(each, Send) and each.part is part else 0
            yield each
        else:
            yield from _around(each, op, at)
            at = -1


def _around(send: Send, op: Op, at: int) -> Iterator[Op]:
    if at:
        yield Send(send.part, send.data[:at])
    yield op
    if at < len(send.data):
        yield Send(send.part, send.data[at:])


def drip(ops: Iterator[Op], size: int, every: float) -> Iterator[Op]:
    """The operations with the body in small pieces, a pause after each."""
    for each in ops:
        if isinstance(each, Send) and each.part is Part.BODY:
            for at in range(0, len(each.data), size):
                yield Send(Part.BODY, each.data[at : at + size])
                yield Pause(every)
        else:
            yield each


def preceded(ops: Iterator[Op], *first: Op) -> Iterator[Op]:
    """Other operations, then these."""
    yield from first
    yield from ops

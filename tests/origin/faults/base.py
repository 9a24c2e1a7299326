"""What a fault is: a pure change of a good reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.origin.message import Reply, Request


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to misbehave.

    Attributes:
        name: Shown in the record of a request it was applied to.
        change: The bad reply for a request and its good reply.
    """

    name: str
    change: Callable[[Request, Reply], Reply]

    def __call__(self, request: Request, reply: Reply) -> Reply:
        """The bad reply."""
        return self.change(request, reply)


def all_of(*faults: Fault) -> Fault:
    """Several faults in one reply, applied in order."""

    def change(request: Request, reply: Reply) -> Reply:
        for fault in faults:
            reply = fault(request, reply)
        return reply

    return Fault(" + ".join(fault.name for fault in faults), change)


def reply_fault(name: str, change: Callable[[Reply], Reply]) -> Fault:
    """A fault that does not depend on the request."""
    return Fault(name, lambda _request, reply: change(reply))


def file_fault(name: str, change: Callable[[Reply], Reply]) -> Fault:
    """A fault of a reply that carries the file or a range of it; any other reply stays good."""
    return reply_fault(name, lambda reply: change(reply) if reply.status in (200, 206) else reply)

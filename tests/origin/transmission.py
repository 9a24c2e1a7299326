"""From a reply to the operations that send it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.origin.content import Content
from tests.origin.message import Reply, render_head
from tests.origin.stream import End, Op, Part, Send


def transmission(reply: Reply, *, head_only: bool) -> Iterator[Op]:
    """What to do on the wire for a reply; without its body for HEAD."""
    ops = _undisturbed(reply, head_only=head_only)
    for effect in reply.effects:
        ops = effect(ops)
    return ops


def _undisturbed(reply: Reply, *, head_only: bool) -> Iterator[Op]:
    yield Send(Part.HEAD, render_head(reply))
    if not head_only and reply.status not in (204, 304):
        yield from _framed(reply)
    if not reply.persistent:
        yield End()


def _framed(reply: Reply) -> Iterator[Op]:
    if reply.framing in ("chunked", "unfinished"):
        yield from _chunks(reply.body)
    else:
        yield from (Send(Part.BODY, piece) for piece in reply.body.pieces())
    if reply.framing == "chunked":
        yield Send(Part.FRAME, b"0\r\n\r\n")


def _chunks(body: Content) -> Iterator[Op]:
    for piece in body.pieces():
        yield Send(Part.FRAME, b"%x\r\n" % len(piece))
        yield Send(Part.BODY, piece)
        yield Send(Part.FRAME, b"\r\n")

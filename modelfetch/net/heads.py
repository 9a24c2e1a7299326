"""What decides whether a response can be used: its head, and an excerpt of a body that cannot be the file.

The excerpt is read only where the head says that the body will not be used. It shows an error page, or a
pointer of Git LFS that came with status 200::

    version https://git-lfs.github.com/spec/v1
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from modelfetch.errors import SourceError
from modelfetch.net.fields import credential_sent, may_be_used
from modelfetch.net.responses import RangeRequest, ResponseHead

if TYPE_CHECKING:
    from modelfetch.net.challenges import Challenge
    from modelfetch.net.time_limits import StallTimer
    from modelfetch.net.transport import Response

EXCERPT_BYTES = 8192
"""Bytes read of a body that cannot be used: enough to recognize error pages and Git LFS pointers. If that is
the whole body, its connection can be used again."""
EXCERPT_SECONDS = 0.5
"""Time limit for reading them: a new connection to a distant server takes about as long."""


def response_head(
    response: Response,
    request: RangeRequest,
    timer: StallTimer,
    *,
    redirected: bool,
    challenge: Challenge | None = None,
) -> ResponseHead:
    """Read what decides whether a response can be used.

    Args:
        response: The response; some of its body is read if that cannot be the file.
        request: What was requested.
        timer: Limits the reads.
        redirected: Whether it came from another address than the one requested.
        challenge: What a 401 asks for.
    """
    excerpt = "" if may_be_used(response, request.size) else excerpt_of(response, timer)
    sent = credential_sent(response)
    return ResponseHead(response.status, response.headers, redirected, excerpt, sent, challenge)


def excerpt_of(response: Response, timer: StallTimer) -> str:
    """The beginning of a body that will not be used. Reading a small one to its end frees the connection."""
    data = b""
    # Failures do not matter here: the status alone decides, an excerpt only improves the message.
    with contextlib.suppress(SourceError, OSError), timer.capped(EXCERPT_SECONDS):
        for piece in response.pieces():
            data += piece
            if len(data) > EXCERPT_BYTES:
                break
    return data[:EXCERPT_BYTES].decode("latin-1")

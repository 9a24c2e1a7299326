"""Answers to requests for something that is not pinned: listings, metadata, files of unknown size.

Unlike a :class:`~modelfetch.net.body.Body`, nothing about such an answer is known beforehand. Every reader
therefore gives a limit in bytes, and the end of the body is checked against ``Content-Length``, because a
connection that was cut looks like the end of a body of unknown length.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from modelfetch.errors import Fault, SourceError
from modelfetch.net.errors import socket_error
from modelfetch.net.heads import excerpt_of
from modelfetch.net.responses import length_of

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.challenges import Challenge
    from modelfetch.net.time_limits import StallTimer
    from modelfetch.net.transport import Response

JSON_BYTES: Final = 32 * 1024 * 1024
"""Largest JSON document in bytes. The largest known one lists the 20,000 files of the largest manifest, at
about 500 bytes each."""


class Answer:
    """One answer, whatever its status. Use it as a context manager, or close it.

    Attributes:
        status: HTTP status.
        headers: Header fields, names in lower case.
        url: Where the answer came from, after redirects. It may contain a signature: never show it.
        challenge: What a 401 of the server that was asked requires, or None.
        is_public: Whether it came from the public internet; known of answers to requests with content only.
    """

    def __init__(self, response: Response, url: str, timer: StallTimer, cancel: Cancellation) -> None:
        self.status = response.status
        self.headers = dict(response.headers)
        self.url = url
        self.challenge: Challenge | None = None
        self.is_public = False
        self._response = response
        self._timer = timer
        self._cancel = cancel

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def length(self) -> int | None:
        """The length of the body in bytes, if the answer states it; an answer to HEAD has no body."""
        return 0 if self._response.is_head else length_of(self.headers)

    def pieces(self, limit: int) -> Iterator[bytes]:
        """Yield the body as it arrives.

        Args:
            limit: Most bytes that are accepted.

        Raises:
            SourceError: The body was cut, stalled, is compressed, or has more than ``limit`` bytes.
            Cancelled: The run was cancelled.
        """
        if self.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise SourceError(Fault.PROTOCOL, "sent compressed content, which was not asked for")
        received = 0
        try:
            for piece in self._response.pieces():
                # First, because a connection that cancel() shut down looks like the end of the body.
                self._cancel.raise_if_cancelled()
                received += len(piece)
                if received > limit:
                    raise SourceError(Fault.SIZE, f"sent more than {limit} bytes")
                self._timer.count_bytes(len(piece))
                self._timer.pause()
                yield piece
                self._timer.resume()
                self._timer.check_speed()
        except OSError as error:
            self._cancel.raise_if_cancelled()
            raise socket_error(error, body=True) from error
        self._cancel.raise_if_cancelled()
        if self.length not in (None, received):
            raise SourceError(Fault.CUT, "the connection was cut before the end of the answer")

    def read(self, limit: int = JSON_BYTES) -> bytes:
        """Read the whole body; raises like :meth:`pieces`."""
        return b"".join(self.pieces(limit))

    def read_within(self, seconds: float, limit: int) -> bytes:
        """Read the whole body within some seconds; raises like :meth:`pieces`.

        The limits of the client restart with every byte, so a short body could take minutes.
        """
        with self._timer.capped(seconds):
            return self.read(limit)

    def excerpt(self) -> str:
        """Read the beginning of a body that will not be used, such as that of an error, as text."""
        return excerpt_of(self._response, self._timer)

    def json(self, limit: int = JSON_BYTES) -> Any:
        """Read the body as JSON.

        Raises:
            SourceError: As for :meth:`pieces`, or the body is not JSON.
        """
        try:
            return json.loads(self.read(limit))
        except (ValueError, RecursionError) as error:
            raise SourceError(Fault.PROTOCOL, "sent something that is not JSON") from error

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else close it."""
        self._timer.expire()
        self._response.close()

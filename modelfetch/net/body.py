"""Reading one body: counted to the byte, watched, wakeable, and no longer than it is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.net import raw_body
from modelfetch.net.errors import source_error

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.limits import StallTimer
    from modelfetch.net.responses import Accept


class Body:
    """The bytes of an accepted answer.

    Iterating yields pieces as they come and ends after exactly the accepted number of bytes. httpx takes a
    close-delimited body that was cut short for a complete one, so counting is the only proof of the end.
    A piece is valid only until the next one is asked for: it may be a view of a buffer that is used again.

    Attributes:
        start: Offset in the file of the first byte that will come.
        ranged: Whether the server sends the range that was asked for.
    """

    def __init__(
        self,
        response: httpx.Response,
        accepted: Accept,
        timer: StallTimer,
        cancel: Cancellation,
        *,
        size: int,
        direct_from: float,
    ) -> None:
        self.start = accepted.start
        self.ranged = accepted.ranged
        self._length = size - accepted.start if accepted.length is None else accepted.length
        self._response = response
        self._direct_from = direct_from
        self._timer = timer
        self._cancel = cancel
        self._reading: Iterator[bytes | memoryview] | None = None
        self._left = self._length
        self._is_lent = False
        timer.pause()

    def read(self) -> bytes:
        """Read a small body whole, and not a byte beyond it: the connection is as good as new afterwards.

        The parser never sees the end, so httpx takes it for still in use, until :meth:`close`.

        Raises:
            SourceError: Cut short, too slow, or longer than announced.
            Cancelled: The run was cancelled.
        """
        self._is_lent = True
        return b"".join(bytes(piece) for piece in self)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Yield the body. What follows its last byte is not waited for: it is complete then.

        Raises:
            SourceError: Cut short, stalled, too slow, or longer than announced.
            Cancelled: The run was cancelled.
        """
        while self._left:
            piece = self._next()
            if not piece:
                raise SourceError(Fault.CUT, f"the connection was cut, {self._left} bytes too early")
            wanted = piece[: self._left]
            self._left -= len(wanted)
            yield wanted
            if len(wanted) < len(piece):
                raise SourceError(Fault.SIZE, f"sent more than the {self._length} bytes expected")
            if self._left:
                self._timer.check_speed()

    def _next(self) -> bytes | memoryview:
        """The next piece; empty at the end. Only while this runs is the source waited for."""
        if self._reading is None:
            self._reading = self._source()
        self._timer.resume()
        try:
            piece = next(self._reading, b"")
            self._cancel.check()
            if piece:
                self._timer.count_bytes(len(piece))
        except (httpx.HTTPError, OSError) as error:
            self._cancel.check()
            raise source_error(error, body=True) from error
        finally:
            self._timer.pause()
        return piece

    def _source(self) -> Iterator[bytes | memoryview]:
        """The quickest way to read this body that is safe."""
        response, length = self._response, self._length
        if (stream := raw_body.chunked_stream_of(response, length)) is not None:
            return raw_body.chunked_pieces(stream, self._timer)
        sock = raw_body.socket_of(response, length) if length >= self._direct_from else None
        if sock is None:
            return response.iter_raw()
        return raw_body.pieces(response, sock, length, self._timer)

    def close(self) -> None:
        """Give the connection back, or drop it if the body was not read to its end.

        The parser must see that end. Where it has not arrived yet, a last chunk or trailers, nobody waits.
        """
        self._timer.expire()
        if self._reading is not None and not self._left and not self._is_lent:
            with suppress(httpx.HTTPError, OSError):
                next(self._reading, b"")
        self._response.close()

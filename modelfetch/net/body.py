"""Reads the body of one accepted response.

Bytes are counted, because a close-delimited body that was cut short looks complete. Reads run under
the limits of :class:`.StallTimer`, end when the run is cancelled, and stop after the last byte of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.net.errors import socket_error

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.responses import Accept
    from modelfetch.net.time_limits import StallTimer
    from modelfetch.net.transport import Response


class Body:
    """The body of an accepted response.

    Iterating yields pieces as they arrive and ends after exactly the accepted number of bytes. A piece is
    valid only until the next one is requested: it may be a view of a buffer that is used again.

    Args:
        response: The response, none of its body read.
        accepted: What was accepted of it.
        timer: Limits the waits for bytes; paused while no read is under way.
        cancel: Ends reads when the run is cancelled.
        size: Size of the file in bytes.
        direct_from: Smallest body, in bytes, to read from the socket directly; see :class:`.Limits`.

    Attributes:
        start: Offset in the file of the first byte of the body.
        ranged: Whether the server sends the range that was requested.
    """

    def __init__(
        self,
        response: Response,
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
        timer.pause()

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Yield the body. Nothing is waited for after its last byte, such as trailers.

        Raises:
            SourceError: The body ended early, stalled, was too slow, or longer than announced.
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
        """Read the next piece; empty at the end. The timer runs only during this call."""
        if self._reading is None:
            self._reading = self._response.pieces_of(self._length, self._direct_from)
        self._timer.resume()
        try:
            piece = next(self._reading, b"")
            # First, because a connection that cancel() shut down looks like the end of the body.
            self._cancel.raise_if_cancelled()
            if piece:
                self._timer.count_bytes(len(piece))
        except OSError as error:
            self._cancel.raise_if_cancelled()
            raise socket_error(error, body=True) from error
        except SourceError:
            self._cancel.raise_if_cancelled()
            raise
        finally:
            self._timer.pause()
        return piece

    def close(self) -> None:
        """Keep the connection for further requests, or close it if the body was not read to its end.

        If the last chunk or the trailers have not arrived yet, they are not waited for.
        """
        self._timer.expire()
        if self._reading is not None and not self._left:
            with suppress(SourceError, OSError):
                next(self._reading, b"")
        self._report()
        self._response.close()

    def _report(self) -> None:
        """Print the end of the exchange, if that was requested."""
        if tracing.active is not None:
            from modelfetch.net.exchange_trace import note_body

            note_body(self._response, self._length - self._left)

"""Requests that are no plain GET: their method, and the content that they send.

Content is sent piece by piece while it is read from the disk. The time limits of
:mod:`modelfetch.net.time_limits` hold for sending too: each piece that the connection took counts as
progress, and the time for reading the next one from the disk does not count. For example::

    Outgoing("PATCH", {"Content-Range": "0-1048575"}, 1048576, lambda: [first_mebibyte])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from modelfetch.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from modelfetch.net.time_limits import StallTimer

Piece = bytes | memoryview
"""Bytes on their way to a server; a view is valid until the next one is read."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a request sends."""

    method: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Header fields besides the credential and the length."""
    size: int = 0
    """Bytes of the content."""
    pieces: Callable[[], Iterable[Piece]] = tuple
    """Returns the content from its beginning; called for each time that the request is sent."""
    answer_seconds: float = 0.0
    """Time for the answer in seconds, if the server needs more than ``stall_timeout`` for it."""

    @property
    def fields(self) -> dict[str, str]:
        """All header fields. With a stated length, httpx does not send the content in chunks."""
        return {**self.headers, **({"Content-Length": str(self.size)} if self.size else {})}


GET: Final = Outgoing("GET")


def form_of(form: Mapping[str, str]) -> Outgoing:
    """Return a POST request that sends a form."""
    data = urlencode(form).encode()
    fields = {"Content-Type": "application/x-www-form-urlencoded"}
    return Outgoing("POST", fields, len(data), lambda: [data])


class Sending:
    """The content of one request while it is sent.

    Args:
        outgoing: The request.
        timer: Counts the bytes; not while they are read from the disk.
    """

    def __init__(self, outgoing: Outgoing, timer: StallTimer) -> None:
        self._outgoing = outgoing
        self._timer = timer
        self.has_begun = False
        """Whether any of it was given to a connection."""

    def __iter__(self) -> Iterator[Piece]:
        """Yield the pieces.

        Raises:
            SourceError: They are taken too slowly.
        """
        self._timer.pause()
        for piece in self._outgoing.pieces():
            self._timer.resume()
            self.has_begun = True
            yield piece
            # Control returns here when the connection has taken the piece.
            self._timer.count_bytes(len(piece))
            self._timer.check_speed()
            self._timer.pause()
        self._timer.resume()

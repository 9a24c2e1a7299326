"""One transfer from or to an object store: the bytes of an object that is read, and of one that is written.

obstore waits inside compiled code, so its calls run in a thread (:mod:`modelfetch.net.background`), and the
limits of a run are applied where its results arrive. An object that is read yields what is known of it first,
then its bytes in pieces, as the network brings them. One that is written is there as a whole or not at all: a
large one is sent in parts, and discarded at the store when its input fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.net.background import Background
from modelfetch.net.errors import socket_error
from modelfetch.net.object_errors import object_error

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.time_limits import StallTimer

SMALL: Final = 8 << 20
"""Largest object, in bytes, that is written with one request. It is held in memory."""
PART: Final = 16 << 20
"""Bytes of a part of a larger one. Amazon S3 wants at least 5 MiB, and allows 10,000 parts."""
_PARTS: Final = 9_000
"""Most parts: larger objects have larger parts."""
_PARALLEL_PARTS: Final = 3
"""Parts that are sent at the same time. Memory is this number of parts, and one more that is being filled."""


@dataclass(frozen=True, slots=True)
class ObjectRange:
    """A part of an object."""

    start: int
    size: int
    """Size of the whole object; a different size is refused."""
    end: int | None = None
    """Exclusive; None for the rest."""
    first_byte: float | None = None
    """Seconds for the first byte, if less than the limits allow."""
    etag: str = ""
    """Refuse another version of the object, if the beginning was read already."""


class ObjectBody:
    """The bytes of an object from an offset on: a stream of :mod:`modelfetch.sources.base`.

    Args:
        store: The client of the bucket.
        key: The object.
        request: Which bytes.
        timer: Limits the waits.
        cancel: Ends them when the run is cancelled.
        hint: What a person can do if access is refused.

    Attributes:
        start: Offset of the first byte.
        ranged: Always true: every object store sends parts of objects.
        etag: Tag of this version of the object.
    """

    ranged = True

    def __init__(
        self,
        store: Any,
        key: str,
        request: ObjectRange,
        timer: StallTimer,
        cancel: Cancellation,
        hint: str,
    ) -> None:
        self.start = request.start
        self.etag = ""
        self._request = request
        self._left = (request.size if request.end is None else request.end) - request.start
        self._timer = timer
        self._hint = hint
        self._has_begun = False
        self._work: Background[Any] = Background(lambda: _read(store, key, request), cancel, "object-store")

    def begin(self) -> None:
        """Wait for the head of the answer.

        Raises:
            SourceError: The store refused, or the object has another size.
            Cancelled: The run was cancelled.
        """
        head = self._next()
        self._timer.pause()
        size = head["size"]
        self.etag = head["e_tag"] or ""
        if size != self._request.size:
            raise SourceError(Fault.SIZE, f"has {size} bytes instead of {self._request.size}")

    def __iter__(self) -> Iterator[memoryview]:
        """Yield the bytes as they arrive.

        Raises:
            SourceError: The transfer ended early, stalled or was too slow.
            Cancelled: The run was cancelled.
        """
        while self._left:
            self._timer.resume()
            try:
                piece = self._next()
                if piece is not None:
                    self._timer.count_bytes(len(piece))
            finally:
                self._timer.pause()
            if piece is None:
                raise SourceError(Fault.CUT, f"the connection was cut, {self._left} bytes too early")
            self._has_begun = True
            wanted = memoryview(piece)[: self._left]
            self._left -= len(wanted)
            yield wanted
            if self._left:
                self._timer.check_speed()

    def close(self) -> None:
        """Leave the transfer; its connection is closed unless all of it was read."""
        self._work.close()

    def _next(self) -> Any:
        with Translated(self._hint, has_begun=self._has_begun):
            return self._work.next(self._timer)


class Translated:
    """A context that translates what obstore raises, and a limit that was reached."""

    def __init__(self, hint: str, *, has_begun: bool = False) -> None:
        self._hint = hint
        self._has_begun = has_begun

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise socket_error(error, body=self._has_begun) from error
        # obstore reports a missing object as FileNotFoundError, a bug of its own (a "panic" of Rust) with a
        # class that is no Exception, and everything else with classes of its own.
        package = type(error).__module__.partition(".")[0]
        if isinstance(error, FileNotFoundError) or package in ("obstore", "pyo3_runtime"):
            assert error is not None
            if tracing.active is not None:
                tracing.active.detail(f"object store: {str(error).partition(chr(10))[0]}")
            raise object_error(error, self._hint, has_begun=self._has_begun) from error


class Upload:
    """Writes one object, in another thread.

    Args:
        store: The client of the bucket.
        key: The object.
        size: Its size.
        pieces: Its bytes.

    Attributes:
        taken: Bytes that the client has taken.
        is_left: Whether the caller has left.
    """

    def __init__(self, store: Any, key: str, size: int, pieces: Iterable[bytes | memoryview]) -> None:
        self.taken = 0
        self.is_left: Callable[[], bool] = lambda: False
        self._store = store
        self._key = key
        self._size = size
        self._pieces = pieces

    def run(self) -> Iterator[bool]:
        """Write the object; yield once when it is there."""
        import obstore

        if self._size <= SMALL:
            # Copies: a piece is valid until the next one only.
            obstore.put(self._store, self._key, b"".join(self._counted()), use_multipart=False)
        else:
            part = max(PART, -(-self._size // _PARTS))
            obstore.put(
                self._store, self._key, self._counted(), chunk_size=part, max_concurrency=_PARALLEL_PARTS
            )
        yield True

    def _counted(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if self.is_left():  # obstore discards the upload when its input fails
                raise SourceError(Fault.CUT, "the upload was cancelled")
            self.taken += len(piece)
            yield bytes(piece)


def _read(store: Any, key: str, request: ObjectRange) -> Iterator[Any]:
    """Yield what is known of an object, then its bytes, in pieces as they arrive."""
    import obstore

    options: dict[str, Any] = {}
    if request.end is not None:
        options["range"] = (request.start, request.end)
    elif request.start:
        options["range"] = {"offset": request.start}
    if request.etag:
        options["if_match"] = request.etag
    found = obstore.get(store, key, options=options or None)  # type: ignore[arg-type] # a TypedDict
    yield found.meta
    # One byte: else a piece would be held back until it has some size, and a slow transfer looks stalled.
    yield from found.stream(min_chunk_size=1)

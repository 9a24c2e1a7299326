"""The first answer for a small file: received into memory, and replayed where it did not bring the file.

A batch asks the first source of each small file once. If that fails, the ordinary way starts with what
arrived instead of a second request: :class:`FirstAnswer` is then an offer whose first stream yields the
received bytes and raises the failure. So a wait that the server asked for, the number of attempts and the
bytes that are there count as if the ordinary way had sent the request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from modelfetch.errors import StoreError

if TYPE_CHECKING:
    from modelfetch.errors import SourceError
    from modelfetch.model.manifest import FileSpec
    from modelfetch.sources.base import Offer, Stream
    from modelfetch.store import Store


class FirstAnswer:
    """An offer, and what it answered to the first request for the whole file.

    Attributes:
        data: The bytes that were received.
        error: How the answer failed; None if it ended, with or without all bytes.
    """

    def __init__(self, offer: Offer) -> None:
        self.kind = offer.kind
        self.host = offer.host
        self.address = offer.address
        self.data = bytearray()
        self.error: SourceError | None = None
        self._offer = offer
        self._is_ranged = True
        self._is_used = False

    @property
    def outcome(self) -> str:
        """What went wrong, in words."""
        return "not the pinned bytes" if self.error is None else self.error.message

    def receive(self, first_byte: float | None) -> Iterator[int]:
        """Request the file, and collect the answer; yields the length of each piece.

        Raises:
            SourceError: The source failed.
            Cancelled: The run was cancelled.
        """
        with closing(self._offer.open(0, first_byte=first_byte)) as stream:
            self._is_ranged = stream.ranged
            for piece in stream:
                self.data += piece
                yield len(piece)

    def keep(self, store: Store, file: FileSpec) -> None:
        """Keep the bytes of a cancelled request for the next run. Best effort."""
        if not self.data:
            return
        with suppress(StoreError):
            lock = store.lock_blob(file.sha256)
            if not lock.try_acquire():
                return
            try:
                with store.partial(file, lock.effective) as partial:
                    if not partial.received:
                        partial.put(0, bytes(self.data), f"{self.kind} {self.host}")
            finally:
                lock.release()

    def open(self, offset: int, end: int | None = None, first_byte: float | None = None) -> Stream:
        """Replay the answer to the first request for the start of the file; send any other request."""
        if self._is_used or offset:
            return self._offer.open(offset, end, first_byte)
        self._is_used = True
        if self.error is not None and not self.data:
            raise self.error
        return _Replay(bytes(self.data), self.error, ranged=self._is_ranged)


class _Replay:
    """The stream of an answer that was received before. See :class:`modelfetch.sources.base.Stream`."""

    start = 0

    def __init__(self, data: bytes, error: SourceError | None, *, ranged: bool) -> None:
        self.ranged = ranged
        self._data = data
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        yield self._data
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Nothing is open."""

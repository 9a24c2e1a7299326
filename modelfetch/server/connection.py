"""One connection, with an end to patience: a client that does not ask, or does not read, is let go."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS: Final = 10.0
"""How long a request may take to say what it wants."""
READ_SECONDS: Final = 15.0
"""How long a reader may take nothing while 64 KiB lie ready for it."""


class Connection(H11Protocol):
    """HTTP/1.1 over one connection; uvicorn itself limits only the time between two requests.

    Attributes:
        head_seconds: How long a request may take to say what it wants.
        read_seconds: How long a reader may take nothing.
    """

    head_seconds: ClassVar[float] = HEAD_SECONDS
    read_seconds: ClassVar[float] = READ_SECONDS
    _asking: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._asking = self._later(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_asking()
        self._stop_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes; a request that began must become complete in time."""
        if self._asking is None and not self._is_answering:
            self._asking = self._later(self.head_seconds)
        super().data_received(data)
        if self._is_answering:
            self._stop_asking()

    def pause_writing(self) -> None:
        """The reader is behind; begin to wait for it."""
        super().pause_writing()
        self._stop_reading()
        self._reading = self._later(self.read_seconds)

    def resume_writing(self) -> None:
        """The reader has caught up."""
        self._stop_reading()
        super().resume_writing()

    @property
    def _is_answering(self) -> bool:
        # There is none before the first request, whatever its annotation says.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _later(self, seconds: float) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, self.transport.abort)

    def _stop_asking(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

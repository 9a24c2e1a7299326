"""One connection, with an end to patience: a client that does not ask, or does not read, is let go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from modelfetch.server.login_limits import LoginLimits

HEAD_SECONDS: Final = 10.0
"""How long a request may take to say what it wants."""
READ_SECONDS: Final = 15.0
"""How long a reader may take nothing while 64 KiB lie ready for it."""


DOOR: Final = "door"
"""Key in the state of the application: the door that connections come in by."""
GUEST: Final = "guest"
"""Key in the state of a request: its connection."""


class Connection(H11Protocol):
    """HTTP/1.1 over one connection; uvicorn itself limits only the time between two requests.

    Attributes:
        head_seconds: How long a request may take to say what it wants.
        read_seconds: How long a reader may take nothing.
        is_known: Whether the token was shown over it.
    """

    head_seconds: ClassVar[float] = HEAD_SECONDS
    read_seconds: ClassVar[float] = READ_SECONDS
    _asking: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _door: LoginLimits | None = None
    is_known = False

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        # What the application is given with each request: the guard says by it who is known.
        super().__init__(config, server_state, {**app_state, GUEST: self}, _loop)
        self._door = app_state.get(DOOR)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if self._door is not None:
            self._door.enter(self)
        self._asking = self._later(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_asking()
        self._stop_reading()
        if self._door is not None:
            self._door.leave(self)
        super().connection_lost(exc)

    def know(self) -> None:
        """The token was shown over it."""
        self.is_known = True
        if self._door is not None:
            self._door.leave(self)

    def turn_away(self) -> None:
        """Cut it, at once."""
        self.transport.abort()

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

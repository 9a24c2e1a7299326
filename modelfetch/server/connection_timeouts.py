"""One HTTP/1.1 connection with timeouts: clients that send or read too slowly are disconnected.

uvicorn limits only the idle time between two requests. This protocol class adds two timers:

- a request head must be complete within ``HEAD_SECONDS`` (a client that sends one byte a minute would
  otherwise hold a connection forever);
- a client must read from a paused response within ``READ_SECONDS`` (a stalled reader would otherwise hold
  its stream and its buffers).

It also registers the connection with the login limits until a request on it has sent the right token.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from modelfetch.server.login_limits import LoginLimits

HEAD_SECONDS: Final = 10.0
"""Seconds within which the head of a request must be complete."""
READ_SECONDS: Final = 15.0
"""Seconds within which a client must read on while 64 KiB (uvicorn's high-water mark) wait for it."""


LOGIN_LIMITS: Final = "login_limits"
"""Key in the state of the application: the :class:`LoginLimits` of all connections."""
CONNECTION: Final = "connection"
"""Key in the state of a request: the :class:`Connection` it came over."""


class Connection(H11Protocol):
    """HTTP/1.1 over one connection, with timeouts for sending a request and for reading a response.

    Attributes:
        head_seconds: Seconds within which the head of a request must be complete.
        read_seconds: Seconds within which a client must read on from a paused response.
        is_authenticated: Whether a request with the right token came over this connection.
    """

    head_seconds: ClassVar[float] = HEAD_SECONDS
    read_seconds: ClassVar[float] = READ_SECONDS
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None
    _login_limits: LoginLimits | None = None
    is_authenticated = False

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        # uvicorn copies this state into each request, where the guard reads `is_authenticated` from it.
        super().__init__(config, server_state, {**app_state, CONNECTION: self}, _loop)
        self._login_limits = app_state.get(LOGIN_LIMITS)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection as unauthenticated, and start the timer for its first request."""
        super().connection_made(transport)
        if self._login_limits is not None:
            self._login_limits.add(self)
        self._head_timer = self._abort_after(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop both timers."""
        self._stop_head_timer()
        self._stop_read_timer()
        if self._login_limits is not None:
            self._login_limits.discard(self)
        super().connection_lost(exc)

    def mark_authenticated(self) -> None:
        """Note that a request on this connection sent the right token; the login limits no longer apply."""
        self.is_authenticated = True
        if self._login_limits is not None:
            self._login_limits.discard(self)

    def abort(self) -> None:
        """Close the connection at once, without sending what is buffered."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse incoming bytes; the first byte of a request starts the timer for its head."""
        if self._head_timer is None and not self._is_responding:
            self._head_timer = self._abort_after(self.head_seconds)
        super().data_received(data)
        # A response under way means that the head was complete. The guard limits the time for the body.
        if self._is_responding:
            self._stop_head_timer()

    def pause_writing(self) -> None:
        """Start the read timer: the write buffer is full, so the client reads too slowly."""
        super().pause_writing()
        self._stop_read_timer()
        self._read_timer = self._abort_after(self.read_seconds)

    def resume_writing(self) -> None:
        """Stop the read timer: the client has read what was buffered."""
        self._stop_read_timer()
        super().resume_writing()

    @property
    def _is_responding(self) -> bool:
        # uvicorn annotates `cycle` as always set, but it is None before the first request.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _abort_after(self, seconds: float) -> asyncio.TimerHandle:
        # Not `close`: that waits until buffered data is sent, which a client that does not read prevents.
        return self.loop.call_later(seconds, self.transport.abort)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

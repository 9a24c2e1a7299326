"""One HTTP/1.1 connection with timeouts: clients that send or read too slowly are disconnected.

uvicorn limits only the idle time between two requests. This protocol class adds two timers:

- a request head must be complete within ``HEAD_SECONDS`` (a client that sends one byte a minute would
  otherwise hold a connection forever);
- a client must read from a paused response within ``READ_SECONDS`` (a stalled reader would otherwise hold
  its stream and its buffers).

It also hands the socket to a transfer that sends a file without uvicorn
(:mod:`modelfetch.server.socket_transfer`), and registers the connection with the login limits until a request
on it has sent the right token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from modelfetch.server.client_limit import network_of
from modelfetch.server.socket_transfer import IS_SUPPORTED, SocketTransfer

if TYPE_CHECKING:
    from modelfetch.server.handshakes import Handshakes
    from modelfetch.server.login_limits import LoginLimits

HEAD_SECONDS: Final = 10.0
"""Seconds within which the head of a request must be complete."""
READ_SECONDS: Final = 15.0
"""Seconds within which a client must read on while 64 KiB (uvicorn's high-water mark) wait for it."""


LOGIN_LIMITS: Final = "login_limits"
"""Key in the state of the application: the :class:`LoginLimits` of all connections."""
HANDSHAKES: Final = "handshakes"
"""Key in the same state: the :class:`Handshakes` of all connections."""
CONNECTION: Final = "connection"
"""Key in the state of a request: the :class:`Connection` it came over."""


class Connection(H11Protocol):
    """HTTP/1.1 over one connection, with timeouts for sending a request and for reading a response.

    Attributes:
        head_seconds: Seconds within which the head of a request must be complete.
        read_seconds: Seconds within which a client must read on from a paused response.
        is_authenticated: Whether a request with the right token came over this connection.
        is_lost: Whether the connection has ended.
        network: What counts as its client, see :func:`modelfetch.server.client_limit.network_of`.
    """

    head_seconds: ClassVar[float] = HEAD_SECONDS
    read_seconds: ClassVar[float] = READ_SECONDS
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None
    _login_limits: LoginLimits | None = None
    _transfer: SocketTransfer | None = None
    is_authenticated = False
    is_lost = False
    network = ""

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
        self._handshakes: Handshakes | None = app_state.get(HANDSHAKES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection as unauthenticated, and start the timer for its first request."""
        super().connection_made(transport)
        if self._handshakes is not None:
            self._handshakes.end(transport.get_extra_info("socket").fileno())
        self.network = network_of(self.client[0]) if self.client else ""
        if self._login_limits is not None:
            self._login_limits.add(self)
        self._head_timer = self._abort_after(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop both timers, and a transfer that is under way."""
        self.is_lost = True
        if self._transfer is not None:
            self._transfer.cancel()
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

    def send_interim(self, status: int, reason: str) -> None:
        """Send an interim response (1xx) before the head of the final one; nothing once that was sent.

        h11 is not involved: it forgets an interim response as soon as it was written.
        """
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_started and not self.transport.is_closing():
            self.transport.write(f"HTTP/1.1 {status} {reason}\r\n\r\n".encode())

    @property
    def can_send_files(self) -> bool:
        """Whether the system can send a file over this connection: without TLS, and with ``sendfile``."""
        return IS_SUPPORTED and self.scheme == "http"

    async def begin_transfer(self, make: Callable[[int, float], SocketTransfer]) -> SocketTransfer | None:
        """Wait until the head of a response has left, then make the transfer of its body.

        Args:
            make: Makes it from the descriptor of the socket and the seconds within which a client must read.

        Returns:
            None if the connection has ended.
        """
        # With these limits the transport reports a full buffer as soon as it holds anything, and a free one
        # once it is empty. The bytes of the file must not overtake those of the head.
        self.transport.set_write_buffer_limits(0)
        try:
            await self.flow.drain()
        finally:
            if not self.is_lost:
                self.transport.set_write_buffer_limits()
        if self.is_lost or self.transport.is_closing():
            return None
        return make(self.transport.get_extra_info("socket").fileno(), self.read_seconds)

    async def run_transfer(self, transfer: SocketTransfer, pool: Executor, length: int) -> bool:
        """Run a transfer in a thread; ends the connection if it fails, and the transfer if that is lost.

        Args:
            transfer: Sends the body of the current response.
            pool: Has a free thread.
            length: Bytes of the body.

        Returns:
            Whether all bytes were sent, so that the response can be completed.
        """
        self._transfer = transfer
        is_complete = False
        try:
            # h11 counts the bytes of the body; the kernel sends them (h11 manual, "sendfile").
            self.conn.send_with_data_passthrough(h11.Data(data=_Length(length)))  # type: ignore[arg-type]
            is_complete = await _run(transfer, pool)
        finally:
            self._transfer = None
            if not is_complete:
                self.transport.abort()
        return is_complete and not self.is_lost

    @contextlib.contextmanager
    def spared(self) -> Iterator[None]:
        """Spare the connection when too many without a token are open.

        For what is limited by itself: a transfer that has a slot, or a request that waits for a file.
        """
        limits = self._login_limits
        if limits is not None:
            limits.spare(self)
        try:
            yield
        finally:
            # Not one that is closing: to count it again might close another one for it.
            is_open = not self.is_lost and not self.transport.is_closing()
            if limits is not None and not self.is_authenticated and is_open:
                limits.add(self)

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


class _Length:
    """Stands for bytes that are sent by the system; h11 only asks for their number."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


async def _run(transfer: SocketTransfer, pool: Executor) -> bool:
    """Run a transfer in a thread; whatever happens, it ends and closes its descriptors."""
    try:
        running = pool.submit(transfer.run)
    except RuntimeError:  # the server is stopping, or the system allows no more threads
        transfer.close()
        return False
    try:
        return await asyncio.wrap_future(running)
    finally:
        if not running.done():  # the task was cancelled
            transfer.cancel()
            if running.cancel():  # it was still waiting for a thread
                transfer.close()

"""Bounds the connections whose TLS handshake is not complete yet.

asyncio reports a connection once its handshake is complete, so before that the login limits do not know it.
A client that connects and sends nothing costs a descriptor until the handshake times out: with thousands of
them no descriptor would be left for anybody. So the listening socket notes each connection as it is accepted.
If there are too many, the oldest of the client with the most of them is closed, as it is with connections
without a token (:mod:`modelfetch.server.login_limits`)::

    handshakes = Handshakes()
    listener = Listener(sock, handshakes.add)
    handshakes.end(connection.fileno())       its handshake is complete
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.server.client_limit import network_of

MAX_HANDSHAKES: Final = 256
"""Connections without a complete handshake: as many as may be open without a token
(``MAX_UNAUTHENTICATED``). With all others and two descriptors for each transfer they stay below the 1024 that
many systems allow."""


class Listener(socket.socket):
    """A listening socket that reports the connections it accepts.

    asyncio calls ``accept`` on it; on Windows it does not, so nothing is reported there.

    Args:
        sock: The socket; it is of no use afterwards.
        accepted: Called with each connection and the address of its client.
    """

    def __init__(self, sock: socket.socket, accepted: Callable[[socket.socket, str], None]) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._accepted = accepted

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and report it."""
        connection, address = super().accept()
        self._accepted(connection, str(address[0]))
        return connection, address


@dataclass(frozen=True, slots=True)
class _Pending:
    """A connection without a complete handshake."""

    connection: socket.socket
    network: str
    """What counts as its client, see :func:`modelfetch.server.client_limit.network_of`."""


class Handshakes:
    """The connections of one server whose handshake is not complete. Used by the event loop only.

    Args:
        most: Most of them.
    """

    def __init__(self, most: int = MAX_HANDSHAKES) -> None:
        self._most = most
        self._pending: dict[int, _Pending] = {}
        """By descriptor, oldest first."""

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, connection: socket.socket, client: str) -> None:
        """Count a connection that was accepted; close an old one if there are too many."""
        # Those that failed were closed by asyncio, which tells nobody; their descriptors may be in use again.
        self._pending = {fd: each for fd, each in self._pending.items() if each.connection.fileno() == fd}
        self._pending[connection.fileno()] = _Pending(connection, network_of(client))
        if len(self._pending) > self._most:
            self._close_one()

    def end(self, descriptor: int) -> None:
        """Stop counting a connection, because its handshake is complete."""
        self._pending.pop(descriptor, None)

    def _close_one(self) -> None:
        [(largest, _)] = Counter(each.network for each in self._pending.values()).most_common(1)
        fd = next(fd for fd, each in self._pending.items() if each.network == largest)
        with contextlib.suppress(OSError):  # the client may have closed it
            # asyncio finds its end, and closes it.
            self._pending.pop(fd).connection.shutdown(socket.SHUT_RDWR)

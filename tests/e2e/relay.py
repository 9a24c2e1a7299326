"""What stands between a client and a server and can hang up: a bad network on one machine."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.origin.channel import Channel
from tests.origin.listener import Listener


class Relay:
    """Passes connections on to a port of this machine, as itself: ``Host`` is made right on the way.

    Attributes:
        requests: The heads of the requests that were passed on, without their empty lines.
        port: Where it listens.
    """

    def __init__(self, target: int) -> None:
        self.requests: list[str] = []
        self._target = target
        self._live: set[socket.socket] = set()
        self._listener = Listener(self._serve)
        self.port = self._listener.port

    def cut(self) -> None:
        """Break every connection that is open now."""
        for sock in list(self._live):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Break everything, and listen no more."""
        self.cut()
        self._listener.close()

    def _serve(self, channel: Channel) -> None:
        head = channel.read_head()
        if head is None:
            return
        ours, theirs = f"127.0.0.1:{self.port}".encode(), f"127.0.0.1:{self._target}".encode()
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            self._live |= {server, channel.sock}
            server.sendall(head.replace(ours, theirs) + b"\r\nConnection: close\r\n\r\n" + channel._buffer)
            self.requests.append(head.decode("latin-1"))
            threading.Thread(target=_pump, args=(channel.sock, server), daemon=True).start()
            _pump(server, channel.sock)
            self._live -= {server, channel.sock}


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)

"""The lifecycle of HTTP servers on loopback that tests write handlers for."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LoopbackServer:
    """An HTTP server on a free port, with a thread for each connection. Use it as a context manager.

    Args:
        handler: Answers the requests.
        is_joined: Whether closing waits for the threads of connections.
    """

    def __init__(self, handler: type[LoopbackHandler], *, is_joined: bool = False) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = not is_joined
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        for connection in list(self._server.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def release(self) -> None:
        """End what handlers wait for; called before the server is closed."""

    @property
    def port(self) -> int:
        """The port."""
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://{self.host}"


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[LoopbackHandler]) -> None:
        super().__init__(address, handler)
        self.connections: set[socket.socket] = set()

    def handle_error(self, *_: Any) -> None:
        """Clients that leave are part of the tests."""


class LoopbackHandler(BaseHTTPRequestHandler):
    """Base of the handlers: connections stay open, are closed with the server, and nothing is printed."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

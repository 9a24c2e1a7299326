"""A wire between two nodes that can be listened to."""

from __future__ import annotations

import socket
import threading
from typing import Self

from tests.patience import IN_TIME
from tests.swarm.nodes import address


class Relay:
    """Passes on all connections to a node, and keeps what was sent. Use it as a context manager.

    Args:
        target: ``HOST:PORT`` of the node.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._server = socket.create_server((address(), 0))
        self._sockets = [self._server]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        name = self._server.getsockname()
        self.endpoint = f"{name[0]}:{name[1]}"
        self.seen = bytearray()
        """All bytes, of both directions."""

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(IN_TIME)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                server = socket.create_connection(self._target, IN_TIME)
            except OSError:
                return
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self.seen += data
                sink.sendall(data)
        except OSError:
            return
        finally:
            for each in (source, sink):
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

"""A loopback listener: a daemon thread per connection, all of them gone soon after close()."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.origin.channel import Channel
from tests.patience import IN_TIME


class Listener:
    """Accepts connections on 127.0.0.1 and hands each to a function in a thread of its own.

    Attributes:
        port: TCP port.
        accepted: Connections accepted so far.
        errors: Exceptions out of the handler that are no client's doing.
    """

    def __init__(
        self, handle: Callable[[Channel], None], *, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.accepted = 0
        self.errors: list[Exception] = []
        self._handle = handle
        self._tls = tls
        self._closing = threading.Event()
        self._live: dict[Channel, threading.Thread] = {}
        self._socket = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port: int = self._socket.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="origin-accept", daemon=True)
        self._acceptor.start()

    @property
    def active(self) -> int:
        """Connections open now."""
        return len(self._live)

    def close(self) -> None:
        """Stop accepting, break every connection, wait for the threads."""
        self._closing.set()
        self._stop_accepting()
        live = dict(self._live)
        for channel in live:
            channel.abort()
        deadline = time.monotonic() + IN_TIME
        for thread in live.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _stop_accepting(self) -> None:
        if self._acceptor.is_alive():
            with suppress(OSError):  # the one portable way to wake a blocked accept()
                socket.create_connection(("127.0.0.1", self.port), timeout=IN_TIME).close()
            self._acceptor.join(IN_TIME)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            sock, client = self._socket.accept()
            if self._closing.is_set():
                sock.close()
                return
            self.accepted += 1
            channel = Channel(sock, client, self.accepted, self._closing)
            thread = threading.Thread(target=self._run, args=(channel,), name="origin", daemon=True)
            self._live[channel] = thread
            thread.start()

    def _run(self, channel: Channel) -> None:
        try:
            if self._tls:
                channel.secure(self._tls)
            self._handle(channel)
        except (ConnectionError, ssl.SSLError):
            pass  # the client left, or refused the certificate: its right
        except Exception as error:
            if not self._closing.is_set():
                self.errors.append(error)
        finally:
            channel.close()
            self._live.pop(channel, None)


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections for as long as the context lasts."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]

"""Ending a run from outside: one flag, interruptible waits, and sockets that wake up."""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref


class Cancelled(Exception):  # noqa: N818 - a signal, not a failure
    """Raised inside a worker when its run was cancelled. Never leaves the engine."""


class Cancellation:
    """The one switch that ends all work of a run.

    A blocked read cannot be ended by closing its socket from another thread; shutting the socket down wakes
    it at once. ``socket.socket.shutdown`` is called on the base class on purpose: ``SSLSocket.shutdown``
    drops its TLS layer first, so that a concurrent read would return ciphertext as if it were the body.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled."""
        return self._event.is_set()

    def cancel(self) -> None:
        """End all work. May be called from any thread, any number of times."""
        self._event.set()
        with self._lock:
            for sock in list(self._sockets):
                _wake(sock)

    def register(self, sock: socket.socket) -> None:
        """Wake ``sock`` when the run is cancelled; forgotten by itself when the socket goes."""
        with self._lock:
            self._sockets.add(sock)
        if self.cancelled:
            _wake(sock)

    def sleep(self, seconds: float) -> None:
        """Wait, unless the run is cancelled meanwhile.

        Raises:
            Cancelled: The run was cancelled before or during the wait.
        """
        self._event.wait(max(0.0, seconds))
        self.check()

    def check(self) -> None:
        """Raise if the run was cancelled.

        Raises:
            Cancelled: It was.
        """
        if self._event.is_set():
            raise Cancelled


def _wake(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already closed
        socket.socket.shutdown(sock, socket.SHUT_RDWR)

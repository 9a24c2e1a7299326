"""Cancellation of a run: a flag, waits that end early, and sockets that wake blocked reads.

Workers call :meth:`Cancellation.raise_if_cancelled` between steps, wait with :meth:`Cancellation.sleep`, and
register every socket that they read from. :meth:`Cancellation.cancel` may be called from any thread.

A part of a run that may end before the rest gets a child: cancelling the parent cancels the child, and not
the other way around.

    >>> run = Cancellation()
    >>> part = run.child()
    >>> part.cancel()
    >>> part.cancelled, run.cancelled
    (True, False)
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


class Cancelled(Exception):  # noqa: N818 - a signal, not a failure
    """Raised in a worker when its run was cancelled. The engine catches it; it is not part of the API."""


class Cancellation:
    """Ends all work of a run, or of a part of it. May be used by several threads.

    Closing a socket in another thread does not end a blocked read; shutting it down does, at once.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        """Weak references, so that closed connections need not be removed."""
        self._children: weakref.WeakSet[Cancellation] = weakref.WeakSet()

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Cancel the work, that of children too. May be called from any thread, any number of times."""
        self._event.set()  # before the sockets: a worker that wakes must find the flag set
        with self._lock:
            for sock in list(self._sockets):
                _wake(sock)
            children = list(self._children)
        for child in children:
            child.cancel()

    def child(self) -> Cancellation:
        """Make a cancellation for a part of the work: it ends with this one, or earlier and alone.

        Sockets that are registered here are not woken when the child is cancelled.
        """
        child = Cancellation()
        with self._lock:
            self._children.add(child)
        if self.cancelled:  # checked after adding, so that a cancel() in between is not missed
            child.cancel()
        return child

    def register(self, sock: socket.socket) -> None:
        """Shut ``sock`` down when the run is cancelled; at once if that has happened already."""
        with self._lock:
            self._sockets.add(sock)
        if self.cancelled:  # checked after adding, so that a cancel() in between is not missed
            _wake(sock)

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds, or until the run is cancelled.

        Raises:
            Cancelled: The run was cancelled before or during the wait.
        """
        self._event.wait(max(0.0, seconds))
        self.raise_if_cancelled()

    def raise_if_cancelled(self) -> None:
        """Raise :class:`Cancelled` if the run was cancelled.

        Raises:
            Cancelled: The run was cancelled.
        """
        if self._event.is_set():
            raise Cancelled


def _wake(sock: socket.socket) -> None:
    # The method of the base class: SSLSocket.shutdown drops its TLS layer first, and a concurrent read would
    # then return ciphertext as if it were the body.
    import socket  # loaded by now: only runs without a request do without it

    with contextlib.suppress(OSError):  # already closed
        socket.socket.shutdown(sock, socket.SHUT_RDWR)

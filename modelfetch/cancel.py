"""Ending work from outside: one flag, waits that it interrupts, and sockets that it wakes.

A run has one :class:`Cancellation`, which every part of it checks. A part of the run that may end before the
rest gets a child: cancelling the parent cancels the child, and not the other way around.

    >>> run = Cancellation()
    >>> part = run.child()
    >>> part.cancel()
    >>> part.cancelled, run.cancelled
    (True, False)
"""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref


class Cancelled(Exception):  # noqa: N818 - a signal, not a failure
    """Raised inside a worker when its work was cancelled. Never leaves the engine."""


class Cancellation:
    """The switch that ends all work of a run, or of a part of it. Thread-safe.

    A blocked read cannot be ended by closing its socket from another thread; shutting the socket down wakes
    it at once. ``socket.socket.shutdown`` is called on the base class on purpose: ``SSLSocket.shutdown``
    drops its TLS layer first, so that a concurrent read would return ciphertext as if it were the body.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._children: weakref.WeakSet[Cancellation] = weakref.WeakSet()

    @property
    def cancelled(self) -> bool:
        """Whether this was cancelled."""
        return self._event.is_set()

    def cancel(self) -> None:
        """End all work, that of children too. May be called from any thread, any number of times."""
        self._event.set()
        with self._lock:
            for sock in list(self._sockets):
                _wake(sock)
            children = list(self._children)
        for child in children:
            child.cancel()

    def child(self) -> Cancellation:
        """Make a cancellation for a part of the work: it ends with this one, or earlier and alone.

        Sockets that this one watches are not woken when the child is cancelled.
        """
        child = Cancellation()
        with self._lock:
            self._children.add(child)
        if self.cancelled:  # checked after adding, so that a cancel at the same time is not missed
            child.cancel()
        return child

    def watch(self, sock: socket.socket) -> None:
        """Wake ``sock`` when this is cancelled. Only a weak reference is kept."""
        with self._lock:
            self._sockets.add(sock)
        if self.cancelled:  # checked after adding, so that a cancel at the same time is not missed
            _wake(sock)

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds, or until this is cancelled.

        Raises:
            Cancelled: It was, before or during the wait.
        """
        self._event.wait(max(0.0, seconds))
        self.check()

    def check(self) -> None:
        """Raise if this was cancelled.

        Raises:
            Cancelled: It was.
        """
        if self._event.is_set():
            raise Cancelled


def _wake(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already closed
        socket.socket.shutdown(sock, socket.SHUT_RDWR)

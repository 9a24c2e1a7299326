"""HTTP for one run: made at the first request, so that a run without requests never loads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from modelfetch.errors import UnavailableError
from modelfetch.net.urls import Credential, is_secure

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.body import Body
    from modelfetch.net.limits import Limits, Memory
    from modelfetch.net.responses import Ask
    from modelfetch.net.session import Session


class Client:
    """HTTP for one run, shared by all its threads.

    Args:
        limits: Its patience.
        cancel: Ends what it waits for.
        clock: Monotonic seconds, by which its patience is measured.
    """

    def __init__(
        self, limits: Limits, cancel: Cancellation, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._cancel = cancel
        self._clock = clock
        self._lock = threading.Lock()
        self._session: Session | None = None

    def open(self, url: str, ask: Ask, *, credential: Credential | None, memory: Memory) -> Body:
        """Ask ``url`` for the rest of a file and judge the answer.

        Returns:
            The body. It may start earlier than asked for (the server sends whole files only), or end early.

        Raises:
            SourceError: The source cannot serve this request; the fault says what may help.
            Cancelled: The run was cancelled.
        """
        return self._session_for(url).open(url, ask, credential=credential, memory=memory)

    def prepare(self, url: str) -> None:
        """Do what a request would otherwise wait for, so that its time is the source's alone."""
        self._session_for(url).prepare(url)

    def fetch(
        self, url: str, size: int, credential: Credential | None, first_byte: float | None = None
    ) -> bytes:
        """Ask ``url`` for a small file, whole.

        Where it can be, the connection is kept for the next one, and asked without much ado; see
        :mod:`modelfetch.net.keepalive`. Each thread that asks has one of its own.

        Args:
            url: Where it is.
            size: Bytes of the file; not none.
            credential: Sent to its own origin.
            first_byte: Seconds that the first byte over a new connection may take, if less than usual.

        Returns:
            ``size`` bytes. Whether they are the right ones, nobody has looked.

        Raises:
            SourceError: The source cannot serve this request; the fault says what may help.
            Cancelled: The run was cancelled.
        """
        return self._session_for(url).fetch(url, size, credential, first_byte)

    def close_idle(self) -> None:
        """Close the connections that :meth:`fetch` keeps and over which nobody asks right now."""
        if self._session is not None:
            self._session.close_idle()

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            if self._session is not None:
                self._session.close()

    def _session_for(self, url: str) -> Session:
        """Load httpx (50 ms), and beside it the trust anchors, where the first request needs them.

        Raises:
            UnavailableError: This Python cannot do it.
            ConfigError: A certificate variable of the environment cannot be used.
        """
        with self._lock:
            if self._session is None:
                try:
                    from modelfetch.net.tls import Trust

                    trust = Trust()
                    if is_secure(url):
                        trust.begin()
                    from modelfetch.net.session import Session
                except ImportError as error:
                    raise missing(error) from error
                self._session = Session(self._limits, self._cancel, trust, self._clock)
            return self._session


def missing(error: ImportError) -> Exception:
    """What a failed import means: a Python that was built without OpenSSL; anything else is itself."""
    if error.name not in ("ssl", "_ssl"):
        return error
    return UnavailableError(
        "this Python was built without ssl, so nothing can be asked of the network",
        hint="Use another Python; what is on this disk is still found and verified.",
    )

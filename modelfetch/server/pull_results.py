"""How the fetch of a file for a client ends: with the file, or with the reason why there is none.

A client of the shared endpoints has no token, so it learns the kind of a failure and no more: the error of a
job may name mirrors of a private network, or paths of this machine. An operator finds it in the job.

==========================  =======  ========================
what happened               status   code
==========================  =======  ========================
no source has the bytes     502      ``origin_failed``
a source wants credentials  502      ``origin_refused``
the network may not be used 504      ``origin_offline``
a time limit was reached    504      ``origin_too_slow``
the disk is full            507      ``disk_full``
too many files are fetched  503      ``fetch_queue_full``
the operator cancelled it   503      ``fetch_cancelled``
the settings are wrong      500      ``config``
the disk fails              500      ``disk``
==========================  =======  ========================
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from modelfetch.errors import StoreError
from modelfetch.model.text import sanitize
from modelfetch.server.error_responses import Refusal

if TYPE_CHECKING:
    from modelfetch.engine.events import ErrorInfo
    from modelfetch.server.connection_timeouts import Connection
    from modelfetch.share.shared_cache import SharedFile
    from modelfetch.store import Store

T = TypeVar("T")

Fetch: TypeAlias = "asyncio.Task[SharedFile | Refusal]"
"""Fetches a file for all requests that wait for it; returns the reason if it cannot be had."""

KEEP_FREE: Final = 1 << 30
"""Bytes of the disk that fetches for clients leave free, 1 GiB: they must not fill it."""
RETRY_SECONDS: Final = 10
"""``Retry-After`` of what may pass, in seconds."""
_OF_ORIGIN: Final = "origin_"
"""How the codes of failures of the origin begin."""
_RETRY_AFTER: Final = {"Retry-After": str(RETRY_SECONDS)}
_LATER: Final = "Try again in some seconds."
FAILURE_SECONDS: Final = 5.0
"""Seconds for which a failed fetch is not repeated; clients retry after one second or less."""
MOST_FAILURE_SECONDS: Final = 300.0
"""The most of them, after many failures in a row: each may read a whole file from the origin, and clients
that repeat their request would make this server do so without end."""
REPORT_SECONDS: Final = 3600.0
"""Seconds between two lines about a disk that cannot store files: clients repeat their requests."""


def result_of(task: asyncio.Task[T | Refusal]) -> T:
    """Return what a task obtained for all requests that wait for it.

    Raises:
        Refusal: It obtained nothing: the reason that it returned, or that the server is stopping.
    """
    if task.cancelled():
        raise stopping()
    result = task.result()
    if isinstance(result, Refusal):
        raise copy_of(result)
    return result


def copy_of(refusal: Refusal) -> Refusal:
    """Copy a refusal: an exception that several requests raise would collect the tracebacks of all."""
    status, code = refusal.status, refusal.code
    return Refusal(status, code, refusal.message, refusal.hint, refusal.headers)


def refusal_of(error: ErrorInfo | None) -> Refusal:
    """Return the refusal for a job that fetched no file.

    Args:
        error: The error of the job.
    """
    match error.code if error is not None else "":
        case "offline":
            return origin_offline()
        case "timeout" | "lock_timeout":
            message = "the origin of the file is too slow"
            return Refusal(HTTPStatus.GATEWAY_TIMEOUT, "origin_too_slow", message)
        case "unauthorised":
            message = "the origin of the file wants credentials"
            return Refusal(HTTPStatus.BAD_GATEWAY, "origin_refused", message)
        case "disk":
            return disk_full()
        case "cancelled":
            message = "the operator of this server cancelled the fetch"
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "fetch_cancelled", message, _LATER, _RETRY_AFTER)
        case "interrupted":
            return stopping()
        case _:
            return origin_failed()


def origin_failed(message: str = "no source could deliver the file with the pinned digest") -> Refusal:
    """Make the refusal of a file that could not be fetched."""
    return Refusal(HTTPStatus.BAD_GATEWAY, "origin_failed", message)


def origin_offline() -> Refusal:
    """Make the refusal of a file that a server without a network does not have."""
    message = "this is not here, and this server may not use the network"
    return Refusal(HTTPStatus.GATEWAY_TIMEOUT, "origin_offline", message)


def disk_full() -> Refusal:
    """Make the refusal of a file that cannot be stored."""
    message = "the disk of this server has no room for the file, or cannot be written"
    return Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "disk_full", message)


def disk_failed() -> Refusal:
    """Make the refusal of what a server cannot store for another reason than a lack of room."""
    message = "this server cannot read or write its cache or its catalog"
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "disk", message)


def wrong_settings() -> Refusal:
    """Make the refusal of a server whose settings or catalogs became wrong."""
    message = "the settings of this server are wrong"
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "config", message)


def unreadable(what: str) -> Refusal:
    """Make the refusal of a server whose disk does not let it read its cache, or something else."""
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "disk", f"this server cannot read its {what}")


def check_room(store: Store, needed: int) -> None:
    """Check that the disk has room for files for clients, and that :data:`KEEP_FREE` stays free.

    Args:
        store: The cache.
        needed: Bytes of the files.

    Raises:
        StoreError: It has not; the message says that a part of what is needed is the reserve.
    """
    try:
        store.check_space(needed + KEEP_FREE)
    except StoreError as error:
        raise StoreError(f"{error.message} (1 GiB of it as a reserve)", hint=error.hint) from error.__cause__


class FailurePauses:
    """For how long fetches that failed are not repeated: twice as long with each failure in a row.

    Only those of the origin count, as what this server lacks may be there a moment later. Used by the
    event loop only. What is kept is bounded by the files that catalogs pin.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, tuple[float, float]] = {}
        """By digest: the seconds of the last failure, and when they are over."""

    def seconds(self, sha256: str, refusal: Refusal | None) -> float:
        """Note how a fetch ended, and return the seconds for which it is not repeated.

        Args:
            sha256: Digest of the file.
            refusal: The reason if it failed.
        """
        last, until = self._last.pop(sha256, (0.0, 0.0))
        if refusal is None:
            return 0.0
        if not refusal.code.startswith(_OF_ORIGIN):
            return FAILURE_SECONDS
        now = self._clock()
        is_in_a_row = last and now - until < MOST_FAILURE_SECONDS
        seconds = min(MOST_FAILURE_SECONDS, 2 * last) if is_in_a_row else FAILURE_SECONDS
        self._last[sha256] = seconds, now + seconds
        return seconds


class DiskReports:
    """Tells the operator why nothing can be stored for clients, where no job says so.

    Thread-safe.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._next: float | None = None

    def tell(self, why: str) -> None:
        """Log the reason, unless one was logged within :data:`REPORT_SECONDS`."""
        now = self._clock()
        with self._lock:
            if self._next is not None and now < self._next:
                return
            self._next = now + REPORT_SECONDS
        # A warning, because the default logging prints nothing below that.
        logging.getLogger(__name__).warning("warning: files for clients cannot be stored: %s", sanitize(why))


def queue_full() -> Refusal:
    """Make the refusal of a request that would have to wait for too many others."""
    message = "this server fetches too many files at the same time"
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "fetch_queue_full", message, _LATER, _RETRY_AFTER)


def client_gone() -> Refusal:
    """Make the refusal that ends a request whose client has closed the connection; it is not sent."""
    return Refusal(HTTPStatus.REQUEST_TIMEOUT, "too_slow", "the client has closed the connection")


def check_client(connection: Connection | None) -> None:
    """End a request whose client is gone: what is sent to it would be dropped.

    Raises:
        Refusal: The client has closed the connection.
    """
    if connection is not None and connection.is_lost:
        raise client_gone()


def stopping() -> Refusal:
    """Make the refusal of a request that waits while the server stops."""
    message = "the server is stopping"
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", message, _LATER, _RETRY_AFTER)

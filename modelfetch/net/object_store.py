"""Object stores: objects of ``s3://``, ``gs://`` and ``az://`` are read, listed and written here.

This is the only importer of obstore, which the extra ``s3`` installs. It has connections of its own, signs
requests, and reads credentials as :mod:`modelfetch.net.object_credentials` says. What modelfetch promises for
HTTP holds here too: a read has the limits of :class:`.StallTimer`, ends within a moment when the run is
cancelled, and fails with a :class:`.SourceError`. An example::

    stores = ObjectStores(limits, cancel)
    with closing(stores.open(parse_object_url("s3://models/a.bin"), ObjectRange(0, size=1000))) as body:
        for piece in body: ...

Proxies are chosen by :mod:`modelfetch.net.proxies`, as for every request. Trust anchors are those of the
system, or of ``SSL_CERT_FILE``. Requests to a metadata server of a cloud never go through a proxy.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError, UsageError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.net import proxies
from modelfetch.net.background import POLL_SECONDS, Background
from modelfetch.net.object_credentials import ObjectAccess, access_to
from modelfetch.net.object_transfer import ObjectBody, ObjectRange, Translated, Upload
from modelfetch.net.time_limits import Limits, StallTimer
from modelfetch.version import __version__

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.model.object_address import ObjectAddress
    from modelfetch.net.time_limits import Clock

T = TypeVar("T")

PAGE: Final = 1000
"""Objects that a listing yields at a time: a page of Amazon S3 (ListObjectsV2, ``MaxKeys``)."""
_PUT_SECONDS: Final = 300.0
"""Longest time in seconds without a part being taken: a part at 56 kB/s takes so long."""
_ABORT_SECONDS: Final = 2.0
"""Seconds to wait until an upload that failed is discarded at the store."""
_LONG: Final = timedelta(days=30)
"""obstore ends each request after 30 s by default, whatever arrives. The limits of a run are used instead."""
_EXTRA: Final = "pip install 'modelfetch[s3]'"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a listing."""

    key: str
    size: int


@dataclass(slots=True)
class _Bucket:
    """The client for one bucket."""

    store: Any
    access: ObjectAccess


class ObjectStores:
    """The object stores of one run. May be used by several threads.

    Args:
        limits: Timeouts and minimum speed.
        cancel: Ends waits when the run is cancelled.
        clock: Returns monotonic seconds.
        environ: The environment, usually ``os.environ``. obstore reads that of the process too.
    """

    def __init__(
        self,
        limits: Limits,
        cancel: Cancellation,
        clock: Clock = time.monotonic,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._limits = limits
        self._cancel = cancel
        self._clock = clock
        self._environ = environ
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str, bool], _Bucket] = {}
        self._access: dict[str, ObjectAccess] = {}

    def open(self, address: ObjectAddress, request: ObjectRange) -> ObjectBody:
        """Open an object for reading, and check its size.

        Raises:
            SourceError: The store cannot serve it. Unranged if it sends no parts of objects.
            Cancelled: The run was cancelled.
        """
        bucket = self._bucket(address)
        _trace("GET", address, f" from byte {request.start}" if request.start else "")
        timer = StallTimer(self._limits, self._clock, request.first_byte)
        body = ObjectBody(bucket.store, address.key, request, timer, self._cancel, bucket.access.hint)
        try:
            body.begin()
        except BaseException:
            body.close()
            raise
        return body

    def head(self, address: ObjectAddress) -> StoredObject:
        """Return the size of an object.

        Raises:
            SourceError: There is no such object, or the store failed.
            Cancelled: The run was cancelled.
        """
        bucket = self._bucket(address)
        import obstore  # after the bucket, which reports that it is not installed

        _trace("HEAD", address)
        found = self._call(bucket.access.hint, lambda: obstore.head(bucket.store, address.key))
        return StoredObject(address.key, found["size"])

    def list(self, prefix: ObjectAddress) -> Iterator[list[StoredObject]]:
        """Yield the objects below a prefix, some at a time, in the order of the store.

        Raises:
            SourceError: The store failed.
            Cancelled: The run was cancelled.
        """
        bucket = self._bucket(prefix)
        import obstore

        _trace("LIST", prefix)

        def pages() -> Iterator[Any]:
            yield from obstore.list(bucket.store, prefix.key.rstrip("/") or None, chunk_size=PAGE)

        work = Background(pages, self._cancel, "object-store")
        try:
            while (page := self._wait(bucket.access.hint, work, self._limits)) is not None:
                yield [StoredObject(each["path"], each["size"]) for each in page]
        finally:
            work.close()

    def put(
        self,
        address: ObjectAddress,
        size: int,
        pieces: Iterable[bytes | memoryview],
        sent: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Write an object, which is there as a whole or not at all.

        Args:
            address: Its place.
            size: Its size.
            pieces: Its bytes, read in another thread. An exception of theirs discards the upload.
            sent: Called in the calling thread with the number of bytes that the client has taken.

        Raises:
            SourceError: The store cannot take it.
            ModelfetchError: What ``pieces`` raised.
            Cancelled: The run was cancelled.
        """
        bucket = self._bucket(address, writing=True)
        _trace("PUT", address)
        upload = Upload(bucket.store, address.key, size, pieces)
        limits = replace(self._limits, stall_timeout=max(_PUT_SECONDS, self._limits.stall_timeout))
        work = Background(upload.run, self._cancel, "object-store")
        upload.is_left = lambda: work.is_left
        timer, before = StallTimer(limits, self._clock), 0

        def tick() -> None:
            nonlocal before
            if upload.taken != before:
                timer.count_bytes(upload.taken - before)
                before = upload.taken
                sent(before)

        try:
            while self._wait(bucket.access.hint, work, limits, timer, tick) is not None:
                pass
        finally:
            work.close(_ABORT_SECONDS)

    def _call(self, hint: str, call: Callable[[], T]) -> T:
        """Return the result of a call that blocks, which a run that is cancelled leaves."""
        work = Background(lambda: iter([call()]), self._cancel, "object-store")
        try:
            found = self._wait(hint, work, self._limits)
        finally:
            work.close()
        assert found is not None, "the call returns a value"
        return found

    def _wait(
        self,
        hint: str,
        work: Background[T],
        limits: Limits,
        timer: StallTimer | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> T | None:
        with Translated(hint):
            return work.next(timer or StallTimer(limits, self._clock), tick)

    def _bucket(self, address: ObjectAddress, *, writing: bool = False) -> _Bucket:
        """The client for a bucket, made at the first call.

        Raises:
            SourceError: obstore is not installed, or the settings in the environment cannot be used.
            Cancelled: The run was cancelled.
        """
        key = address.scheme, address.bucket, writing
        with self._locked():  # also while credentials are looked for, which is done once
            if key not in self._buckets:
                scheme = address.scheme
                if scheme not in self._access:
                    require_obstore()
                    self._access[scheme] = self._call("", lambda: access_to(scheme, self._environ))
                access = self._access[scheme]
                self._buckets[key] = _Bucket(self._make_client(address, access, writing=writing), access)
            return self._buckets[key]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; a run that is cancelled does not wait for it."""
        while not self._lock.acquire(timeout=POLL_SECONDS):
            self._cancel.raise_if_cancelled()
        try:
            yield
        finally:
            self._lock.release()

    def _make_client(self, address: ObjectAddress, access: ObjectAccess, *, writing: bool) -> Any:
        from obstore import store

        kind: Any = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}[address.scheme]
        # Of reads, it only ends a thread that was left: the timer is shorter. Of writes, it begins with the
        # request, not with its last byte, so it must be long enough to send a part.
        silence = _PUT_SECONDS if writing else self._limits.stall_timeout + 5
        client_options = {
            "allow_http": access.is_plain,
            "connect_timeout": timedelta(seconds=self._limits.connect_timeout),
            "read_timeout": timedelta(seconds=silence),
            "timeout": _LONG,
            "user_agent": f"modelfetch/{__version__}",
            **_proxy_options(access.endpoint),
        }
        # Reads are repeated by the run, which may ask another source instead. A part of an upload is repeated
        # here, since what was sent before would be lost otherwise.
        retries = {"max_retries": 4 if writing else 0, "retry_timeout": timedelta(seconds=2 * _PUT_SECONDS)}
        try:
            return kind(
                address.bucket,
                config=access.config,
                client_options=client_options,
                retry_config=retries,
            )
        except Exception as error:  # a value of the environment that obstore cannot use
            raise SourceError(
                Fault.PROTOCOL,
                "the settings of the object store in the environment cannot be used",
                hint=access.hint,
            ) from error


def _proxy_options(endpoint: str) -> dict[str, str]:
    """Let obstore use the proxy that every other request of modelfetch would use, or none.

    Raises:
        SourceError: The proxy that the environment sets cannot be used.
    """
    found = proxies.from_environment()
    if not found.is_set:
        return {}
    excluded = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    if (proxy := found.proxy_for(endpoint)) is not None:
        return {"proxy_url": proxy.url, "proxy_excludes": excluded}
    # obstore has no option for a direct connection, and would use the proxy for loopback too. So the host is
    # an exception, while requests for credentials, which go to other hosts, use the proxy.
    parts = urlsplit(endpoint)
    others = found.proxy_for(f"{parts.scheme}://elsewhere.invalid/")
    return {"proxy_url": others.url, "proxy_excludes": f"{parts.hostname},{excluded}"} if others else {}


def require_obstore() -> None:
    """Load the client of object stores.

    Raises:
        SourceError: It is not installed.
    """
    try:
        import obstore  # noqa: F401
    except ImportError as error:
        raise SourceError(
            Fault.PROTOCOL, "object stores need the package obstore", hint=f"Install it: {_EXTRA}"
        ) from error


def require_extra() -> None:
    """Load the client of object stores for a command that can do nothing without it.

    Raises:
        UsageError: It is not installed. To try again does not help, and there is no other source.
    """
    try:
        require_obstore()
    except SourceError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _trace(method: str, address: ObjectAddress, more: str = "") -> None:
    if tracing.active is not None:
        tracing.active.say(f"{method} {address.text}{more}")

"""Entry point of the HTTP package: one client per run, shared by its threads.

What sends requests, and the trust anchors, are loaded at the first request. A run that needs no request,
because every file is present, does not spend time on them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.model.addresses import is_object_url
from modelfetch.net.credentials import Credential
from modelfetch.net.urls import is_secure, origin

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.answers import Answer
    from modelfetch.net.body import Body
    from modelfetch.net.object_store import ObjectStores
    from modelfetch.net.outgoing import Outgoing
    from modelfetch.net.responses import RangeRequest
    from modelfetch.net.session import Session
    from modelfetch.net.time_limits import Limits, Memory


class Client:
    """HTTP for one run, shared by all its threads.

    Args:
        limits: Timeouts and minimum speed.
        cancel: Wakes blocked reads when the run is cancelled.
        clock: Returns monotonic seconds; timeouts are measured with it.
        may_be_private: URLs whose origins may lead into a private network; every other request of
            :meth:`open` has to stay in the public internet. None for no such limit: the user of this machine
            names the addresses, and not a client of a server.
        is_nearby: Whether its servers are machines of the local network: no proxy is used, and no redirect to
            another origin is followed.
    """

    def __init__(
        self,
        limits: Limits,
        cancel: Cancellation,
        clock: Callable[[], float] = time.monotonic,
        *,
        may_be_private: Collection[str] | None = None,
        is_nearby: bool = False,
    ) -> None:
        self._limits = limits
        self._is_nearby = is_nearby
        self._others: list[Client] = []
        """Clients that are closed with this one."""
        self._allowed = None if may_be_private is None else frozenset(map(origin, may_be_private))
        self._cancel = cancel
        self._clock = clock
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._objects: ObjectStores | None = None

    @property
    def objects(self) -> ObjectStores:
        """The object stores of the run, with its limits; nothing of them is loaded before.

        Raises:
            SourceError: Requests are limited to certain addresses, because a client of a server names them:
                a bucket would be read with credentials of this machine, which that client may not have.
        """
        if self._allowed is not None:
            raise SourceError(Fault.AUTHORIZATION, "buckets are not read for a client of this server")
        with self._lock:
            if self._objects is None:
                from modelfetch.net.object_store import ObjectStores

                self._objects = ObjectStores(self._limits, self._cancel, self._clock)
            return self._objects

    def nearby(
        self, connect_timeout: float, stall_timeout: float = math.inf, min_speed: float = 0.0
    ) -> Client:
        """Make a client for machines of the local network; it is closed with this one.

        It uses no proxy: a proxy leads out of that network. It follows no redirect to another origin: such a
        machine is trusted to name no other one.

        Args:
            connect_timeout: Seconds for connecting, if less than the limits allow.
            stall_timeout: Seconds without a byte, if less than the limits allow.
            min_speed: Bytes per second, if more than the limits demand; not where they demand none, since a
                limit of this run's own may be the reason for a low speed.
        """
        from modelfetch.lazy_dataclass import replace

        limits = replace(
            self._limits,
            connect_timeout=min(connect_timeout, self._limits.connect_timeout),
            stall_timeout=min(stall_timeout, self._limits.stall_timeout),
            min_speed=max(min_speed, self._limits.min_speed) if self._limits.min_speed else 0.0,
        )
        other = Client(limits, self._cancel, self._clock, is_nearby=True)
        with self._lock:
            self._others.append(other)
        return other

    def request(
        self, url: str, request: RangeRequest, *, credential: Credential | None, memory: Memory
    ) -> Body:
        """Request the rest of a file and check the response.

        Returns:
            The body. It may start before ``request.start`` (the server sends whole files only), or end early.

        Raises:
            SourceError: The source cannot serve this request; its fault says whether a retry may help.
            Cancelled: The run was cancelled.
        """
        session = self._session_for(url)
        with _asking(url):
            return session.request(url, request, credential=credential, memory=memory)

    def prepare(self, url: str) -> None:
        """Load what a request for ``url`` needs, so that its time is not measured as the source's."""
        if not is_object_url(url):
            self._session_for(url).prepare(url)
            return
        from modelfetch.net.object_store import require_obstore

        with suppress(SourceError):  # raised again by the request
            require_obstore()

    def open(
        self,
        url: str,
        headers: dict[str, str],
        credential: Credential | None,
        *,
        public_only: bool = False,
        form: Mapping[str, str] | None = None,
        head: bool = False,
        first_byte: float | None = None,
    ) -> Answer:
        """Send a request for something that is not pinned, such as a listing of a hub.

        Args:
            url: Address; redirects are followed under the same rules as for files.
            headers: Header fields. They are sent along redirects too, so none may be secret.
            credential: Sent to its own origin only.
            public_only: Refuse addresses outside the public internet, because a public server named the URL.
            form: Sent with POST instead of GET; then no redirect is followed and no credential is sent.
            head: Whether only the head of the answer is requested (HEAD instead of GET).
            first_byte: Seconds for connecting, and again for the first byte, if less than the limits allow.

        Returns:
            The answer, whatever its status; the caller closes it.

        Raises:
            SourceError: No answer was received, or a redirect must not be followed.
            Cancelled: The run was cancelled.
        """
        from modelfetch.net.answers import Answer

        session = self._session_for(url)
        public_only = public_only or (self._allowed is not None and origin(url) not in self._allowed)
        with _asking(url):
            response, address, timer = session.open(
                url, headers, credential, public_only=public_only, form=form, head=head, first_byte=first_byte
            )
        answer = Answer(response, address, timer, self._cancel)
        answer.challenge = session.challenge(response, url, address)
        return answer

    def send(
        self,
        url: str,
        outgoing: Outgoing,
        credential: Credential | None,
        *,
        public_only: bool = False,
        is_named: bool = False,
    ) -> Answer:
        """Send a request with content, such as a part of an upload. No redirect is followed.

        Args:
            url: Address.
            outgoing: Method, header fields and content.
            credential: Sent to its own origin only.
            public_only: As for :meth:`open`.
            is_named: Whether a server named the URL, which may then contain a signature.

        Returns:
            The answer, whatever its status; the caller closes it.

        Raises:
            SourceError: No answer was received, or the content was taken too slowly.
            Cancelled: The run was cancelled.
        """
        from modelfetch.net.answers import Answer

        session = self._session_for(url)
        with _asking(url, is_named=is_named):
            response, timer, is_public = session.send(url, outgoing, credential, public_only=public_only)
        answer = Answer(response, url, timer, self._cancel)
        answer.is_public = is_public
        answer.challenge = session.challenge(response, url, url)
        return answer

    def close_idle(self) -> None:
        """Close the connections that have no request under way."""
        if self._session is not None:
            self._session.close_idle()

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            if self._session is not None:
                self._session.close()
            others = self._others
        for other in others:
            other.close()

    def _session_for(self, url: str) -> Session:
        """The session of the run, created at the first call.

        Trust anchors are read meanwhile in a thread of their own, if the first URL needs them.
        """
        with self._lock:
            if self._session is None:
                from modelfetch.net.tls import Trust

                trust = Trust()
                if is_secure(url):
                    trust.start()
                from modelfetch.net.session import Session

                self._session = Session(
                    self._limits, self._cancel, trust, self._clock, is_nearby=self._is_nearby
                )
            return self._session


def _asking(url: str, *, is_named: bool = False) -> AbstractContextManager[None]:
    """Note the address of a request for verbose output, if that was requested."""
    if tracing.active is None:
        return nullcontext()
    from modelfetch.net.exchange_trace import asking

    return asking(url, is_named=is_named)

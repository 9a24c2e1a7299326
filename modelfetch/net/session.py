"""All connections of a run, and the requests sent over them.

Redirects are followed here, not by httpx, because each one decides which credential and validator may be sent
and whether its target may be reached at all. Every response is checked by
:func:`modelfetch.net.responses.judge` before its body is used; a request is sent again in a plainer form
where that may help. A request goes directly to its server where possible, else through httpx.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from modelfetch import tracing
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import replace
from modelfetch.net import proxies
from modelfetch.net.body import Body
from modelfetch.net.connect import Addresses, Families
from modelfetch.net.credentials import Credential
from modelfetch.net.direct_transport import DirectTransport, parse_target
from modelfetch.net.errors import ClosingOnError, NamingHost
from modelfetch.net.fields import range_headers, with_etag
from modelfetch.net.heads import excerpt_of, response_head
from modelfetch.net.outgoing import GET, Outgoing, form_of
from modelfetch.net.responses import Accept, RangeRequest, judge, strong_etag
from modelfetch.net.time_limits import Clock, Limits, Memory, StallTimer
from modelfetch.net.tls import require_ssl
from modelfetch.net.urls import host_of, is_private_url, is_public, is_secure, origin, redirect_target

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.challenges import Challenge
    from modelfetch.net.httpx_transport import HttpxTransport
    from modelfetch.net.tls import Trust
    from modelfetch.net.transport import Response

MAX_REDIRECTS = 10
"""Redirects followed for one request; between curl's strict advice (5) and the default of httpx (20)."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Session:
    """Sends the requests of one run. May be used by several threads.

    Args:
        limits: Timeouts and minimum speed.
        cancel: Wakes blocked reads when the run is cancelled.
        trust: Trust anchors for TLS.
        clock: Returns monotonic seconds.
        is_nearby: See :class:`modelfetch.net.client.Client`.
    """

    def __init__(
        self, limits: Limits, cancel: Cancellation, trust: Trust, clock: Clock, *, is_nearby: bool = False
    ) -> None:
        self._limits = limits
        self._cancel = cancel
        self._trust = trust
        self._clock = clock
        self._is_nearby = is_nearby
        self._proxies = proxies.Proxies({}) if is_nearby else proxies.from_environment()
        self._public, self._any = (
            _Transports(limits, cancel, self._proxies, trust, families, public_only=public_only)
            for families in (Families(),)
            for public_only in (True, False)
        )
        """The first one is for redirects from the public internet. It has connections of its own: an open
        connection of the second one may lead into a private network, which is allowed for an address that
        the user configured, but not for such a redirect."""

    def prepare(self, url: str) -> None:
        """Wait until the trust anchors that ``url`` needs are read. Only requests raise errors in them."""
        if is_secure(url):
            self._trust.wait()

    def close(self) -> None:
        """Close every connection."""
        self._public.close()
        self._any.close()

    def close_idle(self) -> None:
        """See :meth:`modelfetch.net.client.Client.close_idle`."""
        self._public.direct.close_idle()
        self._any.direct.close_idle()

    def request(
        self, url: str, request: RangeRequest, *, credential: Credential | None, memory: Memory
    ) -> Body:
        """See :meth:`modelfetch.net.client.Client.request`."""
        timer = StallTimer(self._limits, self._clock, request.first_byte)
        response, accepted = self._request_until_accepted(url, request, credential, memory, timer)
        return self._body(response, accepted, timer, request.size)

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
    ) -> tuple[Response, str, StallTimer]:
        """Send a request whose answer is not a pinned file, and follow redirects.

        Args:
            url: Address.
            headers: Header fields; they are sent to every target of a redirect too, so none is secret.
            credential: Sent to its own origin only.
            public_only: See :meth:`modelfetch.net.client.Client.open`.
            form: See :meth:`modelfetch.net.client.Client.open`.
            head: See :meth:`modelfetch.net.client.Client.open`.
            first_byte: See :meth:`modelfetch.net.client.Client.open`.

        Returns:
            The response with any status, none of its body read; the URL it came from; and the timer that
            limits the reads.
        """
        timer = StallTimer(self._limits, self._clock, first_byte)
        if form is not None:  # no redirect is followed: its target must not receive the form
            return self._send(url, headers, timer, form_of(form), public=public_only), url, timer
        outgoing = Outgoing("HEAD") if head else GET
        response, address = self._follow(
            url, lambda _: headers, credential, timer, public=public_only, outgoing=outgoing
        )
        return response, address, timer

    def send(
        self, url: str, outgoing: Outgoing, credential: Credential | None, *, public_only: bool
    ) -> tuple[Response, StallTimer, bool]:
        """Send a request with content; see :meth:`modelfetch.net.client.Client.send`.

        Returns:
            The response, the timer that limits the reads, and whether it came from the public internet.
        """
        if public_only and is_private_url(url):
            raise SourceError(Fault.REDIRECT, f"leads into a private network ({host_of(url)})")
        window = max(self._limits.stall_timeout, outgoing.answer_seconds)
        timer = StallTimer(replace(self._limits, stall_timeout=window), self._clock)
        headers = {} if credential is None else credential.header_for(url)
        response = self._send(url, headers, timer, outgoing, public=public_only)
        with ClosingOnError(response):
            is_public = self._came_from_public(response, url)
        return response, timer, is_public

    def challenge(self, response: Response, url: str, address: str) -> Challenge | None:
        """What a 401 asks for; None if there is nothing that may be answered.

        Args:
            response: The response.
            url: Address of the request.
            address: Where the response came from, after redirects.
        """
        field = response.headers.get("www-authenticate", "")
        if response.status != 401 or not field or origin(address) != origin(url):
            return None
        from modelfetch.net.challenges import Challenge  # few servers ask for credentials

        return Challenge(field, self._came_from_public(response, address))

    def _body(self, response: Response, accepted: Accept, timer: StallTimer, size: int) -> Body:
        direct_from = self._limits.direct_from
        return Body(response, accepted, timer, self._cancel, size=size, direct_from=direct_from)

    def _request_until_accepted(
        self,
        url: str,
        request: RangeRequest,
        credential: Credential | None,
        memory: Memory,
        timer: StallTimer,
    ) -> tuple[Response, Accept]:
        """Send the request, again in plainer forms if necessary, until a response can be used."""
        while True:
            fields = partial(range_headers, request, memory)
            response, address = self._follow(url, fields, credential, timer)
            sent = with_etag(request, memory, address)
            with ClosingOnError(response):
                # First, while the connection of the response cannot have been closed or reused yet.
                challenge = self.challenge(response, url, address)
                head = response_head(response, sent, timer, redirected=address != url, challenge=challenge)
                verdict = judge(sent, head)
                if isinstance(verdict, Accept):
                    memory.etag, memory.etag_origin = strong_etag(response.headers), origin(address)
                    return response, verdict
            response.close()
            if tracing.active is not None:
                tracing.active.say(f"retry: {host_of(url)} is asked again in a plainer form")
            if sent.etag and not verdict.request.etag:
                memory.etag = ""
            request = replace(verdict.request, etag="")  # with_etag() adds it again where it is valid

    def _follow(
        self,
        url: str,
        fields: Callable[[str], dict[str, str]],
        credential: Credential | None,
        timer: StallTimer,
        *,
        public: bool = False,
        outgoing: Outgoing = GET,
    ) -> tuple[Response, str]:
        """Send a request and follow redirects.

        Args:
            url: Address of the first request.
            fields: Returns the header fields for a request to a URL, apart from the credential.
            credential: Sent to its own origin only.
            timer: Limits the time of all requests together.
            public: Whether already the first request must not lead into a private network.
            outgoing: Method of the requests; they have no content.

        Returns:
            The response, and the URL it came from.
        """
        first, first_host = url, host_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = dict(fields(url))  # a copy: the credential of one request must not reach the next one
            if credential is not None:
                headers |= credential.header_for(url)
            if public and is_private_url(url):
                raise SourceError(Fault.REDIRECT, f"leads into a private network ({host_of(url)})")
            with NamingHost(host_of(url), first_host):
                response = self._send(url, headers, timer, outgoing, public=public)
            with ClosingOnError(response):
                if response.status not in _REDIRECTS:
                    return response, url
                # Once public, always public: a chain of redirects must not hide where it began.
                public = public or self._came_from_public(response, url)
                url = redirect_target(url, response.location)
                if self._is_nearby and origin(url) != origin(first):
                    raise SourceError(Fault.REDIRECT, f"redirects to another host ({host_of(url)})")
                excerpt_of(response, timer)  # a body read to its end frees the connection for the next
            response.close()
        raise SourceError(Fault.REDIRECT, f"more than {MAX_REDIRECTS} redirects")

    def _send(
        self,
        url: str,
        headers: Mapping[str, str],
        timer: StallTimer,
        outgoing: Outgoing,
        *,
        public: bool,
    ) -> Response:
        """Send one request: directly if nothing speaks against it, else through httpx."""
        transports = self._public if public else self._any
        is_direct = outgoing is GET and not self._proxies.is_proxied(url)
        target = parse_target(url) if is_direct else None
        if target is None:
            return transports.through_httpx().send(url, headers, timer, outgoing)
        send = partial(transports.direct.send, target, headers, timer)
        if tracing.active is None:
            return send()
        from modelfetch.net.exchange_trace import send_directly

        return send_directly(tracing.active, url, headers, self._proxies, send)

    def _came_from_public(self, response: Response, url: str) -> bool:
        """Whether a response came from the public internet, by the address of the connection.

        Through a proxy that address is the proxy's, so the URL decides.
        """
        if self._proxies.is_proxied(url):
            return not is_private_url(url)
        return is_public(response.peer)


class _Transports:
    """Both transports, with connections to any address or to public ones only. Thread-safe."""

    def __init__(
        self,
        limits: Limits,
        cancel: Cancellation,
        through: proxies.Proxies,
        trust: Trust,
        families: Families,
        *,
        public_only: bool,
    ) -> None:
        addresses = Addresses(families, public_only=public_only)
        self.direct = DirectTransport(addresses, cancel, trust.context)
        self._arguments = limits, cancel, through, trust.context, families
        self._public_only = public_only
        self._httpx: HttpxTransport | None = None
        self._lock = threading.Lock()

    def through_httpx(self) -> HttpxTransport:
        """The transport of httpx, which is loaded at the first call."""
        with self._lock:
            if self._httpx is None:
                require_ssl()  # which httpx loads, also for requests without TLS
                from modelfetch.net.httpx_transport import HttpxTransport

                self._httpx = HttpxTransport(*self._arguments, public_only=self._public_only)
            return self._httpx

    def close(self) -> None:
        """Close every connection."""
        self.direct.close()
        with self._lock:
            if self._httpx is not None:
                self._httpx.close()

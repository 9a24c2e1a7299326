"""All connections of a run, and the requests sent over them.

Redirects are followed here, not by httpx, because each one decides which credential and validator may be sent
and whether its target may be reached at all. Every response is checked by
:func:`modelfetch.net.responses.judge` before its body is used; a request is sent again in a plainer form
where that may help. Small files are fetched over idle keep-alive connections where possible.
"""

from __future__ import annotations

import contextlib
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.net import proxies, raw_body
from modelfetch.net.body import Body
from modelfetch.net.challenges import Challenge
from modelfetch.net.connect import Families
from modelfetch.net.credentials import Credential
from modelfetch.net.errors import is_no_http, source_error, wants_credentials
from modelfetch.net.fields import (
    credential_sent,
    header_fields,
    location,
    may_be_used,
    range_headers,
    request_fields,
    with_etag,
)
from modelfetch.net.httpx_client import came_from_public, is_private_url, new_client
from modelfetch.net.keepalive import MAX_HEADERS, KeepAliveConnection, ends_connection, split_origin
from modelfetch.net.responses import Accept, RangeRequest, ResponseHead, judge, strong_etag
from modelfetch.net.time_limits import Clock, Limits, Memory, StallTimer
from modelfetch.net.urls import host_of, is_secure, origin, redirect_target

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.tls import Trust

MAX_REDIRECTS = 10
"""Redirects followed for one request; between curl's strict advice (5) and the default of httpx (20)."""
EXCERPT_BYTES = 8192
"""Bytes read of a body that cannot be used: enough to recognize error pages and Git LFS pointers. If that is
the whole body, its connection can be used again."""
EXCERPT_SECONDS = 0.5
"""Time limit for reading them: a new connection to a distant server takes about as long."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_ConnectionKey = tuple[str, Credential | None]
"""An origin as it is written in URLs, and the credential sent there."""


class Session:
    """Sends the requests of one run. May be used by several threads.

    Args:
        limits: Timeouts and minimum speed.
        cancel: Wakes blocked reads when the run is cancelled.
        trust: Trust anchors for TLS.
        clock: Returns monotonic seconds.
    """

    def __init__(self, limits: Limits, cancel: Cancellation, trust: Trust, clock: Clock) -> None:
        self._limits = limits
        self._cancel = cancel
        self._trust = trust
        self._clock = clock
        self._proxies = proxies.from_environment()
        families = Families()
        self._http, self._public_http = (
            new_client(
                httpx.Timeout(limits.stall_timeout, connect=limits.connect_timeout, pool=None),
                cancel,
                through=self._proxies,
                authorities=trust.context,
                families=families,
                public_only=public_only,
            )
            for public_only in (False, True)
        )
        """The second one is for redirects from the public internet. It has a connection pool of its own: an
        open connection of the first pool may lead into a private network, which is allowed for an address
        that the user configured, but not for such a redirect."""
        self._idle: defaultdict[_ConnectionKey, deque[KeepAliveConnection]] = defaultdict(deque)
        """Keep-alive connections without a request under way. ``pop`` and ``append`` of a deque are
        thread-safe."""

    def prepare(self, url: str) -> None:
        """Wait until the trust anchors that ``url`` needs are read. Only requests raise errors in them."""
        if is_secure(url):
            self._trust.wait()

    def close(self) -> None:
        """Close every connection."""
        self.close_idle()
        self._http.close()
        self._public_http.close()

    def close_idle(self) -> None:
        """See :meth:`modelfetch.net.client.Client.close_idle`."""
        for idle in list(self._idle.values()):
            with contextlib.suppress(IndexError):  # another thread may take the last one at the same time
                while idle:
                    idle.pop().close()

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
    ) -> tuple[httpx.Response, str, StallTimer]:
        """Send a request whose answer is not a pinned file, and follow redirects.

        Args:
            url: Address.
            headers: Header fields; they are sent to every target of a redirect too, so none is secret.
            credential: Sent to its own origin only.
            public_only: See :meth:`modelfetch.net.client.Client.open`.
            form: See :meth:`modelfetch.net.client.Client.open`.

        Returns:
            The response with any status, none of its body read; the URL it came from; and the timer that
            limits the reads.
        """
        timer = StallTimer(self._limits, self._clock)
        if form is not None:  # no redirect is followed: its target must not receive the form
            http = self._public_http if public_only else self._http
            return self._send(http, url, headers, timer, form), url, timer
        response, address = self._follow(url, lambda _: headers, credential, timer, public=public_only)
        return response, address, timer

    def challenge(self, response: httpx.Response, url: str, address: str) -> Challenge | None:
        """What a 401 asks for; None if there is nothing that may be answered.

        Args:
            response: The response.
            url: Address of the request.
            address: Where the response came from, after redirects.
        """
        field = response.headers.get("www-authenticate", "")
        if response.status_code != 401 or not field or origin(address) != origin(url):
            return None
        is_proxied = self._proxies.is_proxied(address)
        return Challenge(field, came_from_public(response, address, by_proxy=is_proxied))

    def fetch(
        self,
        url: str,
        size: int,
        credential: Credential | None,
        first_byte: float | None,
        count: Callable[[int], None] | None,
    ) -> bytes:
        """See :meth:`modelfetch.net.client.Client.fetch`."""
        timer = StallTimer(self._limits, self._clock, count=count)
        start, path = split_origin(url)
        idle = self._idle[start, credential]
        found = self._fetch_over_idle(idle, path, size, timer) if path and idle else None
        if found is not None:
            return found
        if first_byte is not None:
            timer = StallTimer(self._limits, self._clock, first_byte, count)
        response, accepted = self._request_until_accepted(
            url, RangeRequest(0, size), credential, Memory(), timer
        )
        body = self._body(response, accepted, timer, size)
        sock = self._reusable_socket(response, url, size) if path else None
        with _closing_on_error(response):
            if sock is None:
                with contextlib.closing(body):
                    return b"".join(bytes(piece) for piece in body)
            data = body.read()
        idle.append(KeepAliveConnection(sock, body, request_fields(response.request)))
        return data

    def _reusable_socket(self, response: httpx.Response, url: str, size: int) -> socket.socket | None:
        """The socket for further requests to the same origin; None if they must go through httpx.

        After a redirect the socket belongs to another origin. A proxy for http needs whole URLs in the
        request line (RFC 9112, 3.2.2), which keep-alive connections do not send.
        """
        needs_whole_url = response.request.url.scheme == "http" and self._proxies.is_proxied(url)
        if str(response.request.url) != url or needs_whole_url or ends_connection(header_fields(response)):
            return None
        return raw_body.socket_of(response, size)

    def _body(self, response: httpx.Response, accepted: Accept, timer: StallTimer, size: int) -> Body:
        direct_from = self._limits.direct_from
        return Body(response, accepted, timer, self._cancel, size=size, direct_from=direct_from)

    def _fetch_over_idle(
        self, idle: deque[KeepAliveConnection], path: str, size: int, timer: StallTimer
    ) -> bytes | None:
        """Fetch a small file over an idle connection.

        Returns:
            The file; None if it must be requested through httpx: no connection is left, the one used broke,
            or the response needs what only httpx can do, such as following a redirect.

        Raises:
            SourceError: The response cannot be used.
            Cancelled: The run was cancelled.
        """
        try:
            connection = idle.pop()
        except IndexError:  # another thread took the last one
            return None
        self._cancel.raise_if_cancelled()
        response = connection.request(path, size, timer)
        self._cancel.raise_if_cancelled()  # a socket woken by cancel() looks like one that the server closed
        if connection.is_open:
            idle.append(connection)
        if response is None or response[0].status in _REDIRECTS or response[0].status in (401, 403):
            return None
        verdict = judge(RangeRequest(0, size), response[0])
        return response[1] or None if isinstance(verdict, Accept) else None

    def _request_until_accepted(
        self,
        url: str,
        request: RangeRequest,
        credential: Credential | None,
        memory: Memory,
        timer: StallTimer,
    ) -> tuple[httpx.Response, Accept]:
        """Send the request, again in plainer forms if necessary, until a response can be used."""
        while True:
            fields = partial(range_headers, request, memory)
            response, address = self._follow(url, fields, credential, timer)
            sent = with_etag(request, memory, address)
            with _closing_on_error(response):
                # First, while the connection of the response cannot have been closed or reused yet.
                challenge = self.challenge(response, url, address)
                head = _response_head(response, sent, timer, redirected=address != url)
                verdict = judge(sent, replace(head, challenge=challenge))
                if isinstance(verdict, Accept):
                    memory.etag, memory.etag_origin = strong_etag(header_fields(response)), origin(address)
                    return response, verdict
            response.close()
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
    ) -> tuple[httpx.Response, str]:
        """Send a request and follow redirects.

        Args:
            url: Address of the first request.
            fields: Returns the header fields for a request to a URL, apart from the credential.
            credential: Sent to its own origin only.
            timer: Limits the time of all requests together.
            public: Whether already the first request must not lead into a private network.

        Returns:
            The response, and the URL it came from.
        """
        first_host = host_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = dict(fields(url))  # a copy: the credential of one request must not reach the next one
            if credential is not None:
                headers |= credential.header_for(url)
            if public and is_private_url(url):
                raise SourceError(Fault.REDIRECT, f"leads into a private network ({host_of(url)})")
            with _naming_host(host_of(url), first_host):
                response = self._send(self._public_http if public else self._http, url, headers, timer)
            with _closing_on_error(response):
                if response.status_code not in _REDIRECTS:
                    return response, url
                # Once public, always public: a chain of redirects must not hide where it began.
                public = public or came_from_public(response, url, by_proxy=self._proxies.is_proxied(url))
                url = redirect_target(url, location(response))
                _excerpt(response, timer)  # a body read to its end frees the connection for the next request
            response.close()
        raise SourceError(Fault.REDIRECT, f"more than {MAX_REDIRECTS} redirects")

    def _send(
        self,
        http: httpx.Client,
        url: str,
        headers: dict[str, str],
        timer: StallTimer,
        form: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send one request. A failed connection that was used before is replaced; this is not a retry.

        Servers close idle connections at any time, and bytes that an earlier response had too many are no
        HTTP response. Neither says anything about this request.
        """
        while True:
            self._cancel.raise_if_cancelled()
            fresh = False

            def trace(name: str, _info: dict[str, Any]) -> None:
                nonlocal fresh
                fresh = fresh or name.endswith(("connect_tcp.complete", "start_tls.complete"))

            timeout = {"connect": timer, "read": timer, "write": timer, "pool": None}
            proxy = self._proxies.proxy_for(url)
            try:
                request = http.build_request(
                    "GET" if form is None else "POST",
                    url,
                    headers=headers,
                    data=form,
                    extensions={"trace": trace, "timeout": timeout},
                )
                response = http.send(request, stream=True, auth=_no_auth)
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                self._cancel.raise_if_cancelled()
                failure = source_error(error, body=False, proxy=proxy)
                if not fresh and (failure.fault is Fault.CUT or is_no_http(error, failure)):
                    continue  # this ends: the pool has dropped that connection, and at last makes a fresh one
                raise failure from error
            with _closing_on_error(response):
                if len(response.headers.raw) > MAX_HEADERS:
                    raise SourceError(Fault.PROTOCOL, f"sent more than {MAX_HEADERS} header fields")
                if response.status_code == 407 and proxy is not None:
                    raise wants_credentials(proxy)
            return response


def _no_auth(request: httpx.Request) -> httpx.Request:
    """Keep httpx from adding credentials from URLs or .netrc: the headers have the right ones already."""
    return request


def _response_head(
    response: httpx.Response, request: RangeRequest, timer: StallTimer, *, redirected: bool
) -> ResponseHead:
    excerpt = "" if may_be_used(response, request.size) else _excerpt(response, timer)
    return ResponseHead(
        response.status_code, header_fields(response), redirected, excerpt, credential_sent(response)
    )


def _excerpt(response: httpx.Response, timer: StallTimer) -> str:
    """The beginning of a body that will not be used. Reading a small one to its end frees the connection."""
    data = b""
    # Failures do not matter here: the status alone decides, an excerpt only improves the message.
    with contextlib.suppress(httpx.HTTPError), timer.capped(EXCERPT_SECONDS):
        for piece in response.iter_raw():
            data += piece
            if len(data) > EXCERPT_BYTES:
                break
    return data[:EXCERPT_BYTES].decode("latin-1")


@contextlib.contextmanager
def _naming_host(host: str, first_host: str) -> Iterator[None]:
    """Store in a failure which host caused it, if that is another one than the source's own."""
    try:
        yield
    except SourceError as error:
        error.elsewhere = host if host != first_host else ""
        raise


@contextlib.contextmanager
def _closing_on_error(response: httpx.Response) -> Iterator[None]:
    try:
        yield
    except BaseException:
        response.close()
        raise

"""One exchange with a server: redirects by hand, every answer judged before it is used."""

from __future__ import annotations

import contextlib
import socket
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.net import proxies, raw_body
from modelfetch.net.body import Body
from modelfetch.net.connect import Families
from modelfetch.net.errors import is_no_http, source_error, wants_credentials
from modelfetch.net.httpx_client import came_from_public, leads_inside, new_client
from modelfetch.net.keepalive import MAX_HEADERS, KeepAliveConnection, is_last, split
from modelfetch.net.limits import Clock, Limits, Memory, StallTimer
from modelfetch.net.responses import Accept, Answer, Ask, judge, length_of, strong_etag
from modelfetch.net.urls import Credential, host_of, is_secure, origin, redirect_target

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.net.tls import Trust

MAX_REDIRECTS = 10
"""Redirects followed for one request; between curl's strict advice (5) and httpx's 20."""
EXCERPT_BYTES = 8192
"""How much of an unusable body is read: to recognise it, and to free the connection if that is all of it."""
EXCERPT_SECONDS = 0.5
"""How long is spent on that. A new connection costs about as much where it is dear."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_Way = tuple[str, Credential | None]
"""An origin as URLs have it, and who asks there."""


class Session:
    """The connections of one run, and what is asked over them."""

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
        """The second is for redirects from the public internet. It has connections of its own: one that the
        user's own address opened may lead where they must not."""
        self._idle: defaultdict[_Way, deque[KeepAliveConnection]] = defaultdict(deque)
        """Connections in which nobody asks anything right now."""

    def prepare(self, url: str) -> None:
        """Wait until trust anchors are read that ``url`` needs; what is wrong with them, its request says."""
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
            with contextlib.suppress(IndexError):  # others may take them at the same time
                while idle:
                    idle.pop().close()

    def open(self, url: str, ask: Ask, *, credential: Credential | None, memory: Memory) -> Body:
        """See :meth:`modelfetch.net.client.Client.open`."""
        timer = StallTimer(self._limits, self._clock, ask.first_byte)
        response, accepted = self._accepted(url, ask, credential, memory, timer)
        return self._body(response, accepted, timer, ask.size)

    def fetch(self, url: str, size: int, credential: Credential | None, first_byte: float | None) -> bytes:
        """See :meth:`modelfetch.net.client.Client.fetch`."""
        timer = StallTimer(self._limits, self._clock)
        start, path = split(url)
        idle = self._idle[start, credential]
        found = self._fetch_over_idle(idle, path, size, timer) if path and idle else None
        if found is not None:
            return found
        if first_byte is not None:
            timer = StallTimer(self._limits, self._clock, first_byte)
        response, accepted = self._accepted(url, Ask(0, size), credential, Memory(), timer)
        body = self._body(response, accepted, timer, size)
        sock = self._reusable_socket(response, url, size) if path else None
        with _closing_on_error(response):
            if sock is None:
                with contextlib.closing(body):
                    return b"".join(bytes(piece) for piece in body)
            data = body.read()
        idle.append(KeepAliveConnection(sock, body, _fields(response.request)))
        return data

    def _reusable_socket(self, response: httpx.Response, url: str, size: int) -> socket.socket | None:
        """The socket that more of the same may be asked over; None where that takes httpx, or nobody may.

        A redirected answer tells nothing of the origin that was asked, and a proxy wants to be told whole
        URLs.
        """
        is_told_all = response.request.url.scheme == "http" and self._proxies.is_proxied(url)
        if str(response.request.url) != url or is_told_all or is_last(_headers(response)):
            return None
        return raw_body.socket_of(response, size)

    def _body(self, response: httpx.Response, accepted: Accept, timer: StallTimer, size: int) -> Body:
        direct_from = self._limits.direct_from
        return Body(response, accepted, timer, self._cancel, size=size, direct_from=direct_from)

    def _fetch_over_idle(
        self, idle: deque[KeepAliveConnection], path: str, size: int, timer: StallTimer
    ) -> bytes | None:
        """Ask over a connection that is there already; None to ask over another one.

        Raises:
            SourceError: The answer is of no use.
            Cancelled: The run was cancelled.
        """
        try:
            connection = idle.pop()
        except IndexError:  # another thread was faster
            return None
        self._cancel.check()
        answered = connection.ask(path, size, timer)
        self._cancel.check()
        if connection.is_open:
            idle.append(connection)
        if answered is None or answered[0].status in _REDIRECTS or answered[0].status in (401, 403):
            return None
        verdict = judge(Ask(0, size), answered[0])
        return answered[1] or None if isinstance(verdict, Accept) else None

    def _accepted(
        self, url: str, ask: Ask, credential: Credential | None, memory: Memory, timer: StallTimer
    ) -> tuple[httpx.Response, Accept]:
        """Ask until an answer can be used."""
        while True:
            response, address = self._follow(url, ask, credential, memory, timer)
            asked = _with_etag(ask, memory, address)
            with _closing_on_error(response):
                verdict = judge(asked, _answer(response, asked, timer, redirected=address != url))
                if isinstance(verdict, Accept):
                    memory.etag, memory.etag_origin = strong_etag(_headers(response)), origin(address)
                    return response, verdict
            response.close()
            if asked.etag and not verdict.ask.etag:
                memory.etag = ""
            ask = replace(verdict.ask, etag="")  # each hop gets the validator that is its own, or none

    def _follow(
        self, url: str, ask: Ask, credential: Credential | None, memory: Memory, timer: StallTimer
    ) -> tuple[httpx.Response, str]:
        """Send the request, following redirects; the answer and the address it came from."""
        public, asked = False, host_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = _range_headers(_with_etag(ask, memory, url))
            if credential is not None:
                headers |= credential.header_for(url)
            if public and leads_inside(url):
                raise SourceError(Fault.REDIRECT, f"a redirect into a private network ({host_of(url)})")
            with _blaming(host_of(url), asked):
                response = self._send(self._public_http if public else self._http, url, headers, timer)
            with _closing_on_error(response):
                if response.status_code not in _REDIRECTS:
                    return response, url
                public = public or came_from_public(response, url, by_proxy=self._proxies.is_proxied(url))
                url = redirect_target(url, _location(response))
                _excerpt(response, timer)
            response.close()
        raise SourceError(Fault.REDIRECT, f"more than {MAX_REDIRECTS} redirects")

    def _send(
        self, http: httpx.Client, url: str, headers: dict[str, str], timer: StallTimer
    ) -> httpx.Response:
        """One request. A kept-alive connection that turns out to be of no use is replaced, uncounted.

        It had died meanwhile, or gave what is no HTTP: perhaps bytes that an earlier answer had too many.
        """
        while True:
            self._cancel.check()
            fresh = False

            def trace(name: str, _info: dict[str, Any]) -> None:
                nonlocal fresh
                fresh = fresh or name.endswith(("connect_tcp.complete", "start_tls.complete"))

            timeout = {"connect": timer, "read": timer, "write": timer, "pool": None}
            proxy = self._proxies.proxy_for(url)
            try:
                request = http.build_request(
                    "GET", url, headers=headers, extensions={"trace": trace, "timeout": timeout}
                )
                response = http.send(request, stream=True, auth=_no_auth)
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                self._cancel.check()
                failure = source_error(error, body=False, proxy=proxy)
                if not fresh and (failure.fault is Fault.CUT or is_no_http(error, failure)):
                    continue  # that connection is closed by now, so this ends
                raise failure from error
            with _closing_on_error(response):
                if len(response.headers.raw) > MAX_HEADERS:
                    raise SourceError(Fault.PROTOCOL, f"sent more than {MAX_HEADERS} header fields")
                if response.status_code == 407 and proxy is not None:
                    raise wants_credentials(proxy)
            return response


def _no_auth(request: httpx.Request) -> httpx.Request:
    """Keep httpx from making credentials up from URLs or files: ours are in the headers already."""
    return request


def _with_etag(ask: Ask, memory: Memory, url: str) -> Ask:
    if not (ask.start and ask.ranged and memory.etag and memory.etag_origin == origin(url)):
        return ask
    return replace(ask, etag=memory.etag)


def _range_headers(ask: Ask) -> dict[str, str]:
    headers = {"Range": f"bytes={ask.start}-{ask.last}"} if ask.ranged else {}
    return headers | ({"If-Range": ask.etag} if ask.etag else {})


def _location(response: httpx.Response) -> bytes | None:
    return next((value for name, value in response.headers.raw if name.lower() == b"location"), None)


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _fields(request: httpx.Request) -> bytes:
    """The header fields that were sent, but for the range."""
    return b"".join(b"%b: %b\r\n" % field for field in request.headers.raw if field[0].lower() != b"range")


def _answer(response: httpx.Response, ask: Ask, timer: StallTimer, *, redirected: bool) -> Answer:
    excerpt = "" if _may_be_used(response, ask.size) else _excerpt(response, timer)
    return Answer(response.status_code, _headers(response), redirected, excerpt, _sent(response))


def _sent(response: httpx.Response) -> str:
    """What proved who we are in the request that was answered, if anything did: redirects may lose it."""
    scheme, _, _ = response.request.headers.get("authorization", "").partition(" ")
    return {"": "", "Bearer": "token"}.get(scheme, "password")


def _may_be_used(response: httpx.Response, size: int) -> bool:
    """Whether an answer may hold the file; of any other, the beginning tells what it is."""
    ranged = response.headers.get("content-range")
    match response.status_code:
        case 200 if ranged is None:
            length = length_of(_headers(response))
            stated = "*" if length is None else str(length)
        case 200 | 206:
            stated = (ranged or "*").rpartition("/")[2].strip()
        case _:
            return False
    return stated in ("*", str(size))


def _excerpt(response: httpx.Response, timer: StallTimer) -> str:
    """The beginning of a body that will not be used. Reading a small one to its end frees the connection."""
    data = b""
    with contextlib.suppress(httpx.HTTPError), timer.capped(EXCERPT_SECONDS):
        for piece in response.iter_raw():
            data += piece
            if len(data) > EXCERPT_BYTES:
                break
    return data[:EXCERPT_BYTES].decode("latin-1")


@contextlib.contextmanager
def _blaming(host: str, asked: str) -> Iterator[None]:
    """Note in a failure that it is another host's than that of the source."""
    try:
        yield
    except SourceError as error:
        error.elsewhere = host if host != asked else ""
        raise


@contextlib.contextmanager
def _closing_on_error(response: httpx.Response) -> Iterator[None]:
    try:
        yield
    except BaseException:
        response.close()
        raise

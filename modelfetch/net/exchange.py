"""One exchange with a server: redirects by hand, every answer judged before it is used."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx

from modelfetch.errors import Fault, SourceError
from modelfetch.net import direct
from modelfetch.net.answers import Accept, Answer, Ask, judge, strong_etag
from modelfetch.net.body import Body
from modelfetch.net.cancel import Cancellation
from modelfetch.net.client import Limits, Memory
from modelfetch.net.connections import by_proxy, came_from_public, leads_inside, new_client
from modelfetch.net.failures import source_error
from modelfetch.net.persistent import MAX_HEADERS, Persistent, is_last, split
from modelfetch.net.urls import Credential, host_of, next_hop, origin

MAX_HOPS = 10
"""Redirects followed for one request; between curl's strict advice (5) and httpx's 20."""
EXCERPT_BYTES = 8192
"""How much of an unusable body is read: to recognise it, and to free the connection if that is all of it."""
EXCERPT_SECONDS = 0.5
"""How long is spent on that, give or take one read."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_Way = tuple[str, Credential | None]
"""An origin as URLs have it, and who asks there."""


class Exchange:
    """The connections of one run, and what is asked over them."""

    def __init__(self, limits: Limits, cancel: Cancellation, tls: ssl.SSLContext) -> None:
        self._limits = limits
        self._cancel = cancel
        self._http = new_client(
            httpx.Timeout(limits.stall_timeout, connect=limits.connect_timeout, pool=None), tls
        )
        self._kept: defaultdict[_Way, deque[Persistent]] = defaultdict(deque)
        """Connections in which nobody asks anything right now."""

    def close(self) -> None:
        """Close every connection."""
        for kept in self._kept.values():
            while kept:
                kept.pop().close()
        self._http.close()

    def open(self, url: str, ask: Ask, *, credential: Credential | None, memory: Memory) -> Body:
        """See :meth:`modelfetch.net.client.Client.open`."""
        response, accepted = self._accepted(url, ask, credential, memory)
        return Body(response, accepted, ask.size, self._limits, self._cancel)

    def fetch(self, url: str, size: int, credential: Credential | None) -> bytes:
        """See :meth:`modelfetch.net.client.Client.fetch`."""
        start, path = split(url)
        kept = self._kept[start, credential]
        found = self._by_kept(kept, path, size) if path and kept else None
        if found is not None:
            return found
        response, accepted = self._accepted(url, Ask(0, size), credential, Memory())
        body = Body(response, accepted, size, self._limits, self._cancel)
        sock = _lane_socket(response, url, size) if path else None
        with _closing_on_error(response):
            if sock is None:
                return b"".join(bytes(piece) for piece in body)
            data = body.read(size)
        kept.append(Persistent(sock, body, _fields(response.request), self._limits.stall_timeout))
        return data

    def _by_kept(self, kept: deque[Persistent], path: str, size: int) -> bytes | None:
        """Ask over a connection that is there already; None to ask over another one.

        Raises:
            SourceError: The answer is of no use.
            Cancelled: The run was cancelled.
        """
        try:
            connection = kept.pop()
        except IndexError:  # another thread was faster
            return None
        self._cancel.check()
        answered = connection.ask(path, size)
        self._cancel.check()
        if connection.is_open:
            kept.append(connection)
        if answered is None or answered[0].status in _REDIRECTS or answered[0].status in (401, 403):
            return None
        verdict = judge(Ask(0, size), answered[0])
        return answered[1] or None if isinstance(verdict, Accept) else None

    def _accepted(
        self, url: str, ask: Ask, credential: Credential | None, memory: Memory
    ) -> tuple[httpx.Response, Accept]:
        """Ask until an answer can be used."""
        while True:
            response, address = self._follow(url, ask, credential, memory)
            asked = _with_etag(ask, memory, address)
            with _closing_on_error(response):
                verdict = judge(asked, _answer(response, asked, redirected=address != url))
                if isinstance(verdict, Accept):
                    memory.etag, memory.etag_origin = strong_etag(_headers(response)), origin(address)
                    return response, verdict
            response.close()
            if asked.etag and not verdict.ask.etag:
                memory.etag = ""
            ask = replace(verdict.ask, etag="")  # each hop gets the validator that is its own, or none

    def _follow(
        self, url: str, ask: Ask, credential: Credential | None, memory: Memory
    ) -> tuple[httpx.Response, str]:
        """Send the request, following redirects; the answer and the address it came from."""
        public = False
        for _ in range(MAX_HOPS + 1):
            headers = _range_headers(_with_etag(ask, memory, url))
            if credential is not None:
                headers |= credential.header_for(url)
            if public and leads_inside(url):
                raise _into_private_network(url)
            response = self._send(url, headers)
            with _closing_on_error(response):
                if public and not came_from_public(response, url):
                    raise _into_private_network(url)
                if response.status_code not in _REDIRECTS:
                    return response, url
                public = public or came_from_public(response, url)
                url = next_hop(url, response.headers.get("location"))
                _excerpt(response)
            response.close()
        raise SourceError(Fault.REDIRECT, f"more than {MAX_HOPS} redirects")

    def _send(self, url: str, headers: dict[str, str]) -> httpx.Response:
        """One request. A kept-alive connection that had died meanwhile is replaced once, uncounted."""
        while True:
            self._cancel.check()
            fresh = False

            def trace(name: str, info: dict[str, Any]) -> None:
                nonlocal fresh
                if name.endswith(("connect_tcp.complete", "start_tls.complete")):
                    fresh = True
                    _watch(self._cancel, info["return_value"])

            try:
                request = self._http.build_request("GET", url, headers=headers, extensions={"trace": trace})
                response = self._http.send(request, stream=True, auth=_no_auth)
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                self._cancel.check()
                failure = source_error(error, body=False, proxied=by_proxy(url))
                if not fresh and failure.fault is Fault.CUT:
                    continue
                raise failure from error
            if len(response.headers.raw) > MAX_HEADERS:
                response.close()
                raise SourceError(Fault.PROTOCOL, f"sent more than {MAX_HEADERS} header fields")
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


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _lane_socket(response: httpx.Response, url: str, size: int) -> socket.socket | None:
    """The socket that more of the same may be asked over; None where that takes httpx, or nobody may.

    A redirected answer tells nothing of the origin that was asked, and a proxy wants to be told whole URLs.
    """
    is_proxied = response.request.url.scheme == "http" and by_proxy(url)
    if str(response.request.url) != url or is_proxied or is_last(_headers(response)):
        return None
    return direct.socket_of(response, size)


def _fields(request: httpx.Request) -> bytes:
    """The header fields that were sent, but for the range."""
    return b"".join(b"%b: %b\r\n" % field for field in request.headers.raw if field[0].lower() != b"range")


def _answer(response: httpx.Response, ask: Ask, *, redirected: bool) -> Answer:
    length = response.headers.get("content-length", str(ask.size))
    may_be_used = response.status_code == 206 or (response.status_code == 200 and length == str(ask.size))
    excerpt = "" if may_be_used else _excerpt(response)
    return Answer(response.status_code, _headers(response), redirected, excerpt, _sent(response))


def _sent(response: httpx.Response) -> str:
    """What proved who we are in the request that was answered, if anything did: redirects may lose it."""
    scheme, _, _ = response.request.headers.get("authorization", "").partition(" ")
    return {"": "", "Bearer": "token"}.get(scheme, "password")


def _excerpt(response: httpx.Response) -> str:
    """The beginning of a body that will not be used. Reading a small one to its end frees the connection."""
    data, until = b"", time.monotonic() + EXCERPT_SECONDS
    with contextlib.suppress(httpx.HTTPError):
        for piece in response.iter_raw():
            data += piece
            if len(data) > EXCERPT_BYTES or time.monotonic() > until:
                break
    return data[:EXCERPT_BYTES].decode("latin-1")


@contextlib.contextmanager
def _closing_on_error(response: httpx.Response) -> Iterator[None]:
    try:
        yield
    except BaseException:
        response.close()
        raise


def _watch(cancel: Cancellation, stream: Any) -> None:
    sock = stream.get_extra_info("socket")
    if isinstance(sock, socket.socket):
        cancel.watch(sock)


def _into_private_network(url: str) -> SourceError:
    """A redirect must not choose whom we attack (CVE-2026-5530)."""
    return SourceError(Fault.REDIRECT, f"a redirect into a private network ({host_of(url)})")
